"""The page: complete, self-contained, escaped, honest about what is missing."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pyasr.base.artifact import read_json, read_jsonl, write_json, write_jsonl
from pyasr.base.errors import DataError
from pyasr.report import write_report
from pyasr.report.collect import collect
from pyasr.report.examples import Example
from pyasr.report.page import render

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Checker(html.parser.HTMLParser):
    """Collects text and attributes, and notes tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        self.text += data


def parse(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def example(true_phones: bool = False, name: str = "AH") -> Example:
    frames = np.random.default_rng(0).normal(size=(150, 64)).astype(np.float32)
    phones = [("SIL", 0.0, 0.2), (name, 0.2, 0.5), ("N", 0.5, 1.2), ("SIL", 1.2, 1.5)]
    words = [("<ONE>", 0.2, 1.2)]
    return Example("utt-1", "spk0", "<ONE>", "tri", frames, words, phones, phones[1:3] if true_phones else [])


def test_everything_is_there(exp: Path, tmp_path: Path) -> None:
    write_report(exp, tmp_path / "report.html")
    page = parse((tmp_path / "report.html").read_text())
    wer = read_json(exp / "results.json")["wer"]
    for system, conditions in wer.items():
        for condition, entry in conditions.items():
            assert system in page.text and condition in page.text
            assert f"{entry['wer']:.2f}" in page.text and f"{entry['ci95'][0]:.1f}–{entry['ci95'][1]:.1f}" in page.text
    for text in (
        "spk7",
        "4 min 00 s",
        "1.3 GB",
        "leaves 498",
        "max_leaves = 500",
        "0123456789ab",
        "word not in the lexicon",
    ):
        assert text in page.text
    assert page.text.count("No alignments yet") == 1 and "No results" not in page.text


def test_self_contained(exp: Path) -> None:
    page = render(collect(exp), [example()])
    links = parse(page).links
    assert sum(link.startswith("data:image/") for link in links) == 3
    assert all(link.startswith(("data:image/", "#")) for link in links)
    assert "@import" not in page and "url(" not in page and "<script" not in page


def test_same_run_same_page(exp: Path) -> None:
    assert render(collect(exp), [example()]) == render(collect(exp), [example()])


def test_user_text_is_escaped(exp: Path) -> None:
    """In every place where a user's text is shown: title, systems, utterances, words, skips, figures."""
    evil = "<script>alert('x')</script>"
    results = read_json(exp / "results.json")
    results |= {"recipe": evil, "wer": {"<em>$x_1": results["wer"]["mono"]}}
    write_json(exp / "results.json", results)
    (exp / "score" / "mono").rename(exp / "score" / "<em>$x_1")
    path = exp / "score" / "<em>$x_1" / "clean.jsonl"
    rows = read_jsonl(path)
    rows[0] |= {"id": f"{evil}1", "speaker": f"{evil}2", "ref": f"{evil}3", "hyp": f"{evil}4", "sub": 99}
    del rows[0]["aligned"]
    write_jsonl(path, rows)
    write_jsonl(exp / "data" / "skipped.jsonl", [{"id": f"{evil}5", "reason": f"{evil}6: <img src=x>"}])
    page = parse(render(collect(exp), [example(name="<em>$\\frac$")]))
    assert "script" not in page.tags and "em" not in page.tags
    assert all(f"{evil}{number}" in page.text for number in range(1, 7)) and "<em>$x_1" in page.text
    assert "x" not in page.links


def test_nothing_there(tmp_path: Path) -> None:
    write_report(tmp_path / "none", tmp_path / "report.html")
    page = parse((tmp_path / "report.html").read_text())
    for text in (
        "No results yet",
        "No scored utterances",
        "No alignments yet",
        "No training log",
        "No stage has ended",
    ):
        assert text in page.text


@pytest.mark.parametrize("gone", ["results.json", "score", "gmm", "stages", "data"])
def test_a_part_is_missing(exp: Path, gone: str) -> None:
    path = exp / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    parse(render(collect(exp), []))


def test_missing_condition(exp: Path) -> None:
    results = read_json(exp / "results.json")
    del results["wer"]["mono"]["snr5"]
    write_json(exp / "results.json", results)
    page = render(collect(exp), [])
    assert '<td class="missing">–</td>' in page


def test_damaged_artifact_is_named(exp: Path, tmp_path: Path) -> None:
    path = exp / "score" / "tri" / "snr10.jsonl"
    path.write_text(path.read_text()[:-30])
    with pytest.raises(DataError, match=r"snr10\.jsonl:48"):
        write_report(exp, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_log_without_iterations(exp: Path) -> None:
    write_jsonl(exp / "gmm" / "tri" / "log.jsonl", [])
    with pytest.raises(DataError, match="training log of tri"):
        render(collect(exp), [])


def test_failed_utterances_are_listed(exp: Path) -> None:
    path = exp / "score" / "tri" / "clean.jsonl"
    rows = read_jsonl(path)
    rows[3]["failed"] = "no path through the graph: beam 13"
    write_jsonl(path, rows)
    text = parse(render(collect(exp), [])).text
    assert "decoding: tri, clean: 1" in text and "no path through the graph" in text


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --hide-scrollbars --disable-quic --no-first-run"
    " --disable-background-networking --disable-component-update --disable-sync"
).split()
MEASURE = """<script>
addEventListener("load", () => {
  const wide = [...document.querySelectorAll("section")].filter(s => s.getBoundingClientRect().right > innerWidth);
  const blank = [...document.images].filter(i => !i.complete || i.naturalWidth === 0);
  document.title = `width=${innerWidth} overflow=${document.documentElement.scrollWidth - innerWidth}`
    + ` wide=${wide.length} images=${document.images.length} blank=${blank.length}`;
});
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [500, 1200])  # the narrowest window that headless Chromium makes, and a wide one
def test_in_chromium(exp: Path, tmp_path: Path, width: int) -> None:
    """Every figure is drawn, nothing sticks out of the screen of a phone, and the screenshot is not blank."""
    page = tmp_path / "report.html"
    page.write_text(render(collect(exp), [example(), example(true_phones=True)]) + MEASURE)
    shot = tmp_path / "shot.png"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},2000"]
    subprocess.run([*command, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True, timeout=60)
    dom = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], check=True, capture_output=True, text=True, timeout=60
    )
    title = re.search(r"<title>(.*?)</title>", dom.stdout)[1]
    assert title == f"width={width} overflow=0 wide=0 images=4 blank=0"
    import matplotlib.image

    pixels = matplotlib.image.imread(shot)
    assert pixels.shape[1] == width and pixels[..., :3].std() > 0.05


def _network_log(exp: Path, **last: object) -> None:
    rows = [
        {
            **{"lr": 1e-3 * 0.5 ** (n // 3), "dev_loss": 2.0 / (n + 1), "dev_accuracy": 50.0 + n, "ended": ""},
            **{"loss_transcribed": 2.0 / (n + 1), "frames_transcribed": 900},
            **{"loss_untranscribed": 1.0, "frames_untranscribed": 1900},
        }
        for n in range(6)
    ]
    rows[-1] |= {"ended": "dev", **last}
    write_jsonl(exp / "train" / "student" / "log.jsonl", rows)


def test_sequence_training_has_its_criterion_and_wer(exp: Path) -> None:
    assert "Sequence training" not in parse(render(collect(exp), [])).text
    _network_log(exp)
    rates = (12.0, 10.5, 11.0)
    rows = [{"sub_epoch": n - 1, "lr": 1e-4, "dev_wer": wer, "density": 7.25} for n, wer in enumerate(rates)]
    rows[1]["dev_expected_accuracy"] = 81.5
    write_jsonl(exp / "train" / "student_smbr" / "log.jsonl", rows)
    text = parse(render(collect(exp), [])).text
    assert "Sequence training" in text and "10.50 % (kept)" in text and "81.50 %" in text and "7.2" in text
    assert "12.00 % (kept)" not in text
    write_jsonl(exp / "train" / "student_smbr" / "log.jsonl", [{"lr": 1.0}])
    with pytest.raises(DataError, match="the training log of student_smbr has no WER on dev"):
        render(collect(exp), [])


def test_networks_are_drawn_with_why_they_ended(exp: Path) -> None:
    before = parse(render(collect(exp), []))
    _network_log(exp, dev_loss=9.0)
    page = parse(render(collect(exp), []))
    assert len(page.links) == len(before.links) + 1 and "Networks" not in before.text
    for text in ("student", "0.4000", "54.00 %", "dev stopped improving"):
        assert text in page.text
    write_jsonl(exp / "train" / "student" / "log.jsonl", [{"dev_loss": 1.0}])
    with pytest.raises(DataError, match="the training log of student has no sub-epochs"):
        render(collect(exp), [])
