"""The page: whole in itself, with the wrong clips to listen to; and the csv files beside it."""

from __future__ import annotations

import base64
import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from small_corpora import write_tone

from fastast_hf.reports.report import write_report

LABELS = ["dog", "rain & wind", "<siren>"]
SCORES = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.7, 0.2], [0.25, 0.1, 0.65]]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"clip, {number}.wav" for number in range(4)]
    for number, path in enumerate(paths):
        write_tone(path, 300 + 100 * number, seconds=1)
    return paths


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def sounds(page: str) -> list[Any]:
    found = re.findall(r'src="data:audio/mpeg;base64,([^"]*)"', page)
    return [soundfile.read(io.BytesIO(base64.b64decode(sound))) for sound in found]


def test_a_page_holds_its_pictures_and_sounds_and_asks_for_nothing_else(tmp_path: Path, files: list[Path]) -> None:
    page = write_report([0, 0, 1, 1], SCORES, LABELS, files, tmp_path / "out", facts={"r": 20, "fold": None})
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 2
    samples = sounds(text)
    assert len(samples) == 2  # clips 1 and 3 are wrong
    assert all(rate == 16000 and abs(len(sound) / rate - 1) < 0.2 for sound, rate in samples)
    assert not re.findall(r'(?:src|href)="(?!data:)|https?://|@import|url\(', text)
    assert "rain &amp; wind" in text and "&lt;siren&gt;" in text and "<siren>" not in text
    assert "r: 20" in text and "fold" not in text and "50.0 %" in text


def test_wrong_clips_and_classes_are_in_csv_files(tmp_path: Path, files: list[Path]) -> None:
    write_report([0, 0, 1, 1], SCORES, LABELS, files, tmp_path / "out", names=list("abcd"))
    assert read(tmp_path / "out" / "wrong.csv") == [
        {"file": str(files[3]), "clip": "d", "true": "rain & wind", "given": "<siren>", "score": "0.650",
         "score_of_true": "0.100"},
        {"file": str(files[1]), "clip": "b", "true": "dog", "given": "rain & wind", "score": "0.600",
         "score_of_true": "0.300"},
    ]  # fmt: skip
    classes = read(tmp_path / "out" / "classes.csv")
    assert [row["label"] for row in classes] == LABELS and classes[0]["recall"] == "0.5"


def test_clips_with_several_labels_tell_what_was_missed_and_given_wrongly(tmp_path: Path, files: list[Path]) -> None:
    targets = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]
    page = write_report(targets, SCORES, LABELS, files, tmp_path / "out", thresholds=[0.5, 0.5, 0.5])
    rows = read(tmp_path / "out" / "wrong.csv")
    assert [(row["true"], row["given"], row["missed"], row["given_wrongly"]) for row in rows] == [
        ("dog; rain & wind", "rain & wind", "dog 0.300", ""),
        ("", "<siren>", "", "<siren> 0.650"),
    ]
    assert "the checkpoint&#39;s own" in page.read_text()


def test_there_is_no_more_sound_in_the_page_than_there_is_room_for(tmp_path: Path, files: list[Path]) -> None:
    wrong = [1, 1, 0, 0]
    whole = write_report(wrong, SCORES, LABELS, files, tmp_path / "out").read_text()
    one = len(re.findall(r"data:audio[^\"]*", whole)[0])
    assert len(sounds(whole)) == 3
    few = write_report(wrong, SCORES, LABELS, files, tmp_path / "out", audio_megabytes=1.5 * one / 1e6).read_text()
    assert len(sounds(few)) == 1 and "1 can be played" in few
    none = write_report(wrong, SCORES, LABELS, files, tmp_path / "out", audio_megabytes=0).read_text()
    assert not sounds(none)


def test_a_sound_that_can_not_be_read_is_left_out(
    tmp_path: Path, files: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    files[1].write_bytes(b"broken")
    page = write_report([0, 0, 1, 1], SCORES, LABELS, files, tmp_path / "out")
    assert len(sounds(page.read_text())) == 1 and "left out of the report: " in caplog.text


def test_a_report_without_mistakes_says_so(tmp_path: Path, files: list[Path]) -> None:
    text = write_report([0, 1, 1, 2], SCORES, LABELS, files, tmp_path / "out").read_text()
    assert "<p>None.</p>" in text and "<p>Nothing.</p>" in text
    assert read(tmp_path / "out" / "wrong.csv") == []


def test_many_classes_have_a_table_of_pairs_and_no_picture(tmp_path: Path, files: list[Path]) -> None:
    labels = [f"class {number}" for number in range(61)]
    shares = np.full((4, 61), 1 / 61)
    text = write_report([0, 1, 2, 3], shares, labels, files, tmp_path / "out").read_text()
    assert text.count("data:image/png") == 1 and "<td>class 3</td><td>class 0</td>" in text


def test_as_many_files_as_clips_are_wanted(tmp_path: Path, files: list[Path]) -> None:
    with pytest.raises(ValueError, match="4 clips have 3 files and 3 names: give one for each"):
        write_report([0, 0, 1, 1], SCORES, LABELS, files[:3], tmp_path / "out")


@pytest.mark.slow
def test_a_person_finds_and_plays_a_wrong_clip(tmp_path: Path, files: list[Path], browser: Any) -> None:
    page = write_report([1, 0, 1, 0], SCORES, LABELS, files, tmp_path / "out", names=["a", "b", "c", "hit"])
    browser.get(page.as_uri())
    browser.find_element("css selector", "input").send_keys("hit")
    rows = browser.find_elements("css selector", "#wrong tbody tr")
    (shown,) = [row for row in rows if row.is_displayed()]
    assert shown.text.startswith("hit")
    play = """const sound = arguments[0], done = arguments[1];
        sound.onerror = () => done(-1); sound.ondurationchange = () => done(sound.duration); sound.load();"""
    sound = shown.find_element("css selector", "audio")
    browser.execute_script("arguments[0].preload = 'auto'", sound)
    assert browser.execute_async_script(play, sound) == pytest.approx(1.0, abs=0.2)
    browser.set_window_size(400, 900)
    assert browser.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_names_are_text_on_the_page_and_in_pictures_and_no_formulas_in_tables(
    tmp_path: Path, files: list[Path]
) -> None:
    script = "<script>alert(1)</script>"
    labels, names = [script, "a$\\frac{$", "=1+1"], [f"{script}.wav", "=cmd.wav", "-2.wav", "@sum.wav"]
    page = write_report([0, 0, 1, 1], SCORES, labels, files, tmp_path / "out", names=names, title=script)
    text = page.read_text()
    assert script not in text and text.count("&lt;script&gt;") > 3
    assert "a$\\frac{$" in text and text.count("data:image/png;base64,") == 2
    assert read(tmp_path / "out" / "wrong.csv")[0]["given"] == "'=1+1"
    assert [row["clip"] for row in read(tmp_path / "out" / "wrong.csv")] == ["'@sum.wav", "'=cmd.wav"]
    assert "'=1+1" in (tmp_path / "out" / "classes.csv").read_text()
