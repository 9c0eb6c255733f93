"""`fastast demo`: the labels of the clips, and the table of speeds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastast_hf import Tagger
from fastast_hf.cli import demo
from fastast_hf.cli.main import main

DATA = Path(__file__).parents[1] / "data"
CLIPS = sorted((DATA / "speech").glob("yes_*.wav"))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "ROUNDS", 1)
    monkeypatch.setattr(demo, "CLIPS_PER_BATCH", 2)


def test_both_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(CLIPS) == 3
    assert main(["demo", *map(str, CLIPS)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].split() == ["file", "1st", "2nd", "3rd"]
    assert [line.split()[0] for line in lines[2:5]] == [str(clip) for clip in CLIPS]
    assert lines[6].startswith("3 labelled; tome_r=")
    (heading,) = [index for index, line in enumerate(lines) if line.startswith("The model alone, 2 clips at once, ")]
    assert re.split("  +", lines[heading + 2]) == ["model", "tokens left", "ms per clip", "speed-up"]
    rows = [re.split("  +", line) for line in lines[heading + 4 : -2]]
    assert lines[-2:] == [
        "",
        f"medians of {demo.ROUNDS} rounds; a speed-up is the median of the ratios within a round",
    ]
    assert [row[0] for row in rows] == ["stock AST", *(f"FastAST, tome_r={r}" for r in demo.R_VALUES)]
    tokens = [int(row[1]) for row in rows]
    assert tokens[0] == tokens[1] and tokens[1:] == sorted(set(tokens), reverse=True)
    assert all(float(row[2]) > 0 for row in rows)
    assert rows[0][3] == "1.00×" and all(re.fullmatch(r"\d+\.\d\d×", row[3]) for row in rows)


def test_a_bad_clip_is_one_line_beside_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = tmp_path / "gone.wav"
    assert main(["demo", str(gone), str(CLIPS[0])]) == 2
    out, err = capsys.readouterr()
    assert err == f"fastast demo: {gone}: no such file; check the path\n"
    assert str(gone) not in out and str(CLIPS[0]) in out
    assert "The model alone, 1 clip at once" in out


def test_without_a_clip_there_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, said in ((tmp_path, "no audio in this folder"), (tmp_path / "gone.wav", "no such file")):
        assert main(["demo", str(path)]) == 2
        out, err = capsys.readouterr()
        assert "1st" not in out and err.count("\n") == 1 and said in err


def test_an_exported_file_is_one_line_and_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio")
    assert main(["demo", "--model", "model.onnx"]) == 2
    assert capsys.readouterr() == (
        "",
        "fastast demo: model.onnx does not tell what it merges: give the checkpoint that it was exported from\n",
    )


def test_the_readme_shows_what_the_bundled_checkpoint_says() -> None:
    root = Path(__file__).parents[2]
    shown = re.findall(r"^(tests/data/speech/\S+)\s+(\S+) (0\.\d+)", (root / "README.md").read_text(), re.MULTILINE)
    assert len(shown) == 3
    for (file, label, score), (best, *_) in zip(shown, Tagger()([root / file for file, *_ in shown]), strict=True):
        assert (best["label"], best["score"]) == (label, pytest.approx(float(score), abs=0.005)), file
