from pyasr.train.options import PhaseOptions, TrainSections


def test_the_student_shares_all_that_is_not_its_own():
    sections = TrainSections(
        supervised={"network": {"units": 7}, "optimiser": {"lr": 0.5}, "batch_s": 9.0},
        student={"phases": [{"untranscribed": 3.0}], "transcribed_lr_factor": 2.0, "loss": {"tail": "renormalise"}},
    )
    student, supervised = sections.of_student(), sections.supervised
    assert student.phases == (PhaseOptions(untranscribed=3.0),) and supervised.phases == (PhaseOptions(),)
    assert student.transcribed_lr_factor == 2.0 and student.loss.tail == "renormalise"
    same = set(type(student).model_fields) - {"phases", "transcribed_lr_factor", "loss"}
    assert all(getattr(student, name) == getattr(supervised, name) for name in same)


def test_sections_keep_their_presets_when_a_key_is_changed():
    sections = TrainSections(teacher={"network": {"dropout": 0.3}}, supervised={"batch_s": 5.0})
    assert sections.teacher.network.bidirectional and sections.teacher.network.dropout == 0.3
    assert not sections.supervised.network.bidirectional and sections.supervised.network.delay_frames == 3


def test_absent_options_of_the_student_leave_no_trace():
    """So that the fingerprints of students trained before there were such options stay."""
    assert not {"untranscribed_share", "dist"} & TrainSections().model_dump()["student"].keys()
    given = TrainSections(student={"untranscribed_share": 0.5, "dist": {"method": "bmuf"}}).model_dump()["student"]
    assert given["untranscribed_share"] == 0.5 and given["dist"]["method"] == "bmuf"
