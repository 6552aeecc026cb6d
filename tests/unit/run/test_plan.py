import dataclasses
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pyasr.run.cli import app
from pyasr.run.plan import (
    GLOO_MESSAGE_S,
    METHODS,
    PAYLOAD,
    Costs,
    Work,
    bytes_sent,
    plan,
    ring_all_reduce_s,
    speed_up,
    step_compute_s,
    step_s,
)

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"

WORK = Work(hours=1e6, annotated_hours=7000)
SLOW = Costs(link_bytes_s=12.5e6, delay_s=0.0)


def test_a_ring_by_hand():
    """Four workers, 8 bytes, 2 bytes/s, half a second a message: six messages of 2 bytes, a second and a half each."""
    assert ring_all_reduce_s(8, 4, 2.0, 0.5) == 6 * (1.0 + 0.5)


def test_a_step_by_hand():
    rates = {"encode_rate": 1e6, "code_rate": 1e5, "decode_rate": 1e5, "link_bytes_s": 1e4 / PAYLOAD, "delay_s": 0.0}
    costs = Costs(density=0.01, bits_per_word=8.0, **rates)
    # 1e6 weights, 2 workers: encode 1 s, compress 1e4 words 0.1 s, decode 2e4 0.2 s, 1e4 bytes and an eighth 1.125 s
    assert step_s("gtc", 2, 1e6, 5.0, WORK, costs) == pytest.approx(7.425)
    # 4e6 bytes at 1e4 bytes/s: 400 s, of which 2/3 of 5 s are hidden; once in 50 steps for bmuf
    assert step_s("ddp", 2, 1e6, 5.0, WORK, costs) == pytest.approx(5 + 400 - 10 / 3)
    assert step_s("bmuf", 2, 1e6, 5.0, WORK, costs) == pytest.approx(5 + 400 / 50)
    # 11 matrices of 400 x 100: vectors of 4400, P of 8800 and Q of 2200 floats
    assert step_s("powersgd", 2, 440_000, 5.0, WORK, costs) == pytest.approx(5 + 4 * (4400 + 8800 + 2200) / 1e4)


def test_a_step_waits_for_its_frames_where_the_cores_are_slower_than_the_gpu():
    costs = Costs(flops=6e12, feed_rate=1e3, cores=4)
    assert step_compute_s(1e6, WORK, costs) == 2048 / 4e3
    assert step_compute_s(1e9, WORK, costs) == pytest.approx(2.048)


def test_the_model_fitted_at_1_gbit_s_holds_at_100_mbit_s():
    """Seconds and bytes that benchmarks/network.py measured between real processes, within a quarter."""
    fit = runpy.run_path(str(BENCHMARKS / "fit.py"), run_name="fit")
    rows = fit["read"](BENCHMARKS / "network.csv")
    assert fit["fitted"]([row for row in rows if row.mbit == 1000]) == pytest.approx(GLOO_MESSAGE_S, rel=0.01)
    checked = [row for row in rows if row.mbit == 100]
    assert {(row.hosts, row.method) for row in checked} == {(row.hosts, row.method) for row in rows}
    for row in checked:
        seconds, sent = row.modelled(GLOO_MESSAGE_S)
        assert seconds == pytest.approx(row.seconds, rel=0.25) and sent == pytest.approx(row.bytes, rel=0.25), row


@pytest.mark.parametrize("method", METHODS)
def test_one_worker_exchanges_nothing_and_none_is_faster_than_all(method):
    assert speed_up(method, 1, 24e6, WORK, Costs()) == 1.0
    assert 0 < speed_up(method, 64, 24e6, WORK, Costs()) <= 64


def test_on_a_slow_link_those_who_exchange_less_win():
    ups = {method: speed_up(method, 16, 24e6, WORK, SLOW) for method in METHODS}
    assert ups["ddp"] < ups["bmuf"] and ups["ddp"] < ups["gtc"]
    sent = {method: bytes_sent(method, 4, 24e6, WORK, SLOW) for method in METHODS}
    assert sent["ddp"] / sent["gtc"] > 800


def test_a_plan_scales():
    one, two = plan(WORK, 32, Costs()), plan(dataclasses.replace(WORK, hours=2e6), 32, Costs())
    by_name = {stage.name: stage for stage in one}
    assert [stage.name for stage in one] == ["audio", "teacher", "label", "student", "student_smbr"]
    assert by_name["label"].disk_bytes == 1.2e11 * 50
    doubled = {stage.name: stage for stage in two}
    assert doubled["label"].days == pytest.approx(2 * by_name["label"].days)
    assert doubled["teacher"] == by_name["teacher"]


def test_the_command_shows_what_it_assumes(tmp_path):
    arguments = ["plan", "--hours", "1000000", "--gpus", "64", "--plot", str(tmp_path / "speed.svg")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "student_smbr" in shown.output and "H100" in shown.output
    assert all(field.name in shown.output for field in [*dataclasses.fields(Costs), *dataclasses.fields(Work)])
    assert (tmp_path / "speed.svg").stat().st_size > 1000
