"""`fastast embed`, and parquet files of `fastast classify`: whole at the end, and gone on with after a stop."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from fastast_hf import Tagger
from fastast_hf.cli.main import main
from fastast_hf.tagging import recordings

SPEECH = Path(__file__).parents[1] / "data" / "speech"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five clips, one of two windows, and one that can't be read."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for index, name in enumerate(("yes_rms", "down_rms", "go_rms", "no_rms")):
        shutil.copy(SPEECH / f"{name}.wav", folder / f"clip{index}.wav")
    shutil.copy(SPEECH.parent / "computed" / "chirp_100hz_to_7khz.wav", folder / "clip4.wav")
    (folder / "empty.wav").write_bytes(b"")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A command with the bundled checkpoint: exit code, stdout, stderr."""

    def run(command: str, *arguments: object) -> tuple[int, str, str]:
        try:
            code = main([command, "--device", "cpu", "--batch-size", "1", *map(str, arguments)])
        except SystemExit as exit:  # the parser's
            code = int(exit.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by the names of their files."""
    rows = parquet.read_table(path).to_pylist()
    assert len({row["file"] for row in rows}) == len(rows)
    return {Path(row.pop("file")).name: row for row in rows}


def test_vectors_are_the_taggers_and_errors_are_rows(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.parquet"
    code, printed, errors = run("embed", folder, "-o", out, "--r", 8)
    assert code == 2 and errors.count("\n") == 1 and errors.startswith("fastast embed: ") and "empty file" in errors
    assert printed.startswith(
        f"{out}: 5 embedded, 1 failed; tome_r=8: 146 tokens enter the first layer, 58 the last; "
    )
    rows = read(out)
    assert list(rows) == [*(f"clip{index}.wav" for index in range(5)), "empty.wav"]
    assert rows["empty.wav"]["embedding"] is None and "empty file" in rows["empty.wav"]["error"]
    expected = Tagger(tome_r=8, device="cpu", batch_size=1).embed([folder / name for name in list(rows)[:5]])
    assert np.allclose([rows[f"clip{index}.wav"]["embedding"] for index in range(5)], expected, atol=1e-6)
    assert str(parquet.read_schema(out).field("embedding").type) == "fixed_size_list<element: float>[192]"


def test_tokens_are_a_row_for_each_window(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert run("embed", folder, "-o", out, "--tokens", "--r", 20)[0] == 2
    rows = parquet.read_table(out).to_pylist()
    expected = Tagger(tome_r=20, device="cpu").embed(folder / "clip4.wav", tokens=True)
    windows = [row for row in rows if Path(row["file"]).name == "clip4.wav"]
    assert [row["window"] for row in windows] == list(range(len(expected.sizes)))
    assert np.allclose([row["embeddings"] for row in windows], expected.embeddings, atol=1e-5)
    assert np.array_equal([row["sizes"] for row in windows], expected.sizes)
    assert rows[-1]["error"] and rows[-1]["embeddings"] is None


@pytest.mark.parametrize("command", ["embed", "classify"])
def test_a_stopped_run_goes_on_and_loses_nothing(
    command: str, run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    assert run(command, folder, "-o", whole)[0] == 2
    windows, read_files = Tagger.windows, []

    def stop_at_third(self: Tagger, source: Any) -> Any:
        read_files.append(source.name)
        if source.name == "clip2.wav" and len(read_files) <= 6:
            raise KeyboardInterrupt
        return windows(self, source)

    monkeypatch.setattr(recordings, "READ_AHEAD_BATCHES", 1)
    with monkeypatch.context() as patched:
        patched.setattr(Tagger, "windows", stop_at_third)
        assert run(command, folder, "-o", out, "--workers", 0)[0] == 130
    assert not out.exists()
    assert "out.parquet.jsonl exists: add --resume" in run(command, folder, "-o", out)[2]
    code, printed, _ = run(command, folder, "-o", out, "--resume")
    assert code == 2 and f"{out}: 5 " in printed and ", 2 of them before, 1 failed" in printed
    assert parquet.read_table(out).equals(parquet.read_table(whole))
    code, _, errors = run(command, folder, "-o", out)
    assert code == 2 and "out.parquet exists: add --resume" in errors
    (tmp_path / "out.parquet.jsonl").unlink()
    code, _, errors = run(command, folder, "-o", out, "--resume")
    assert code == 2 and "from which --resume goes on, does not" in errors and out.exists()


def test_labels_and_vectors_are_not_mixed(run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert run("classify", folder, "-o", out)[0] == 2
    code, _, errors = run("embed", folder, "-o", out, "--resume")
    assert code == 2 and "was begun with" in errors and "embeddings None and not pooled" in errors


def test_parquet_has_the_columns_of_csv(run: Run, folder: Path, tmp_path: Path) -> None:
    for kind in ("csv", "parquet"):
        assert run("classify", folder, "-o", tmp_path / f"out.{kind}", "--top-k", 2, "--threshold", 0.1)[0] == 2
    with (tmp_path / "out.csv").open(newline="") as file:
        expected = list(csv.DictReader(file))
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [list(row) for row in rows] == [list(row) for row in expected]
    for row, of_csv in zip(rows, expected, strict=True):
        for column, value in row.items():
            if column.startswith("score"):
                assert ("" if value is None else f"{value:.6g}") == of_csv[column]
            else:
                assert (value or "") == of_csv[column]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_all_scores_are_a_column_for_each_class(kind: str, run: Run, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out.{kind}"
    assert run("classify", folder, "-o", out, "--all-scores")[0] == 2
    tagger = Tagger(top_k=None, device="cpu")
    names = list(tagger.model.config.id2label.values())
    if kind == "csv":
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
    elif kind == "parquet":
        rows = parquet.read_table(out).to_pylist()
    else:
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        rows = [{"file": line["file"], **line.get("scores", {}), "error": line.get("error")} for line in lines]
    assert set(rows[0]) == {"file", *names, "error"} and "empty file" in rows[-1]["error"]
    for row in rows[:-1]:
        expected = {label["label"]: label["score"] for label in tagger(row["file"])}
        assert [float(row[name]) for name in names] == pytest.approx([expected[name] for name in names], abs=1e-5)
    code, printed, _ = run("classify", folder, "-o", out, "--all-scores", "--resume")
    assert code == 2 and "5 labelled, 5 of them before, 1 failed" in printed


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["embed", "-o", "out.csv"], "out.csv: vectors are written as .parquet"),
        (["embed"], "the following arguments are required: -o/--output"),
        (["classify", "--all-scores"], "--all-scores writes every score to --output: give that"),
        (["classify", "--all-scores", "-o", "out.csv", "--top-k", "3"], "and no --top-k or --threshold"),
    ],
)
def test_what_can_not_be_written_is_one_line(command: list[str], said: str, run: Run, folder: Path) -> None:
    code, printed, errors = run(command[0], folder, *command[1:])
    assert (code, printed, errors.count("\n")) == (2, "", 1) and said in errors


def test_without_pyarrow_it_says_what_to_install(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, errors = run("embed", folder, "-o", tmp_path / "out.parquet")
    assert (code, errors.count("\n")) == (2, 1) and "needs pyarrow: in a clone of fastast_hf, pip install" in errors


def test_a_name_that_is_no_text_is_a_row(run: Run, tmp_path: Path) -> None:
    name = tmp_path / "byte\udcff.wav"
    try:
        shutil.copy(SPEECH / "yes_rms.wav", name)
    except OSError:
        pytest.skip("such a name can't be here")
    assert run("embed", name, "-o", tmp_path / "out.parquet")[0] == 0
    assert [row["file"] for row in parquet.read_table(tmp_path / "out.parquet").to_pylist()] == [
        str(tmp_path / "byte\\udcff.wav")
    ]
