"""The file of results: whole rows whatever the name and wherever a run was killed; parts merged; settings apart."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from full_disk import room_for

from fastast_hf.tagging.results_file import Appender, Output, read_file

KINDS = [".csv", ".jsonl"]
NAMES = ["a.wav", "été 雨.wav", "two\nlines.wav", 'quo"te, comma\\.wav', "byte\udcff.wav", "re\rturn.wav"]
SETTINGS = {"model": None, "r": 8}
CSV = b"file,label_1,score_1,error\n"
ROW = b"a.wav,yes,0.5,\n"
ERROR = ValueError("b.wav: empty file (0 bytes), or so; fetch it again")
REFUSED: list[tuple[dict[str, bytes], dict[str, Any], bool, str]] = [
    # files there, settings there, resume, what is said
    ({"out.csv": CSV}, SETTINGS, False, "out.csv exists: add --resume"),
    ({"out.csv.part3": CSV}, SETTINGS, False, "out.csv.part3 exists: add --resume"),
    ({"out.csv": CSV + ROW}, {**SETTINGS, "r": 20}, True, "begun with r 20 and not 8: go on with"),
    ({"out.csv": CSV}, {**SETTINGS, "top_k": 3}, True, "begun with top_k 3 and not None"),
    ({"out.csv.part0": CSV + ROW}, {"model": "m", "r": 8}, True, "begun with model m and not None"),
    ({"out.csv": CSV + ROW}, {}, True, "has no out.csv.settings.json beside it"),
    ({"out.csv": b"clip;class\n"}, SETTINGS, True, "holds something else than fastast's results"),
    ({"out.csv": b"\x00\n\n"}, SETTINGS, True, "holds something else than fastast's results"),
]


def labels(*scores: float) -> list[dict[str, Any]]:
    return [{"label": f"sound, {index}", "score": score} for index, score in enumerate(scores)]


def write(path: Path, names: list[str], kind: str) -> bytes:
    with Appender(path, kind, 2) as appender:
        for name in names:
            appender.add(name, labels(0.75, 0.125))
    return path.read_bytes()


def names_in(path: Path) -> list[str]:
    return [record.name for record in read_file(path)[1]]


@pytest.mark.parametrize("kind", KINDS)
def test_any_name_is_read_back(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{kind}"
    content = write(path, NAMES, kind)
    assert names_in(path) == NAMES
    if kind == ".csv":
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            header, *rows = csv.reader(file)
        assert header == ["file", "label_1", "score_1", "label_2", "score_2", "error"]
        assert rows == [[name, "sound, 0", "0.75", "sound, 1", "0.125", ""] for name in NAMES]
    else:
        expected = [{"file": name, "labels": labels(0.75, 0.125)} for name in NAMES]
        assert [json.loads(line) for line in content.splitlines()] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_byte_it_goes_on_to_the_same_file(kind: str, tmp_path: Path) -> None:
    whole = write(tmp_path / f"whole{kind}", NAMES, kind)
    path = tmp_path / f"out{kind}"
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        done = names_in(path)
        assert done == NAMES[: len(done)]
        assert write(path, NAMES[len(done) :], kind) == whole


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [1, 10])
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_it_good(
    missing: int, kind: str, tmp_path: Path
) -> None:
    whole = write(tmp_path / f"whole{kind}", NAMES, kind)
    path = tmp_path / f"out{kind}"
    with pytest.raises(OSError, match=rf"out\{kind}"), room_for(len(whole) - missing):
        write(path, NAMES, kind)
    assert names_in(path) == NAMES[:-1]
    assert write(path, NAMES[-1:], kind) == whole


@pytest.mark.parametrize("kind", KINDS)
def test_parts_become_one_file_in_the_order_of_the_folder(kind: str, tmp_path: Path) -> None:
    output = Output(tmp_path / f"out{kind}")
    order = [f"clip{index}.wav" for index in range(9)]
    whole = write(tmp_path / f"whole{kind}", ["earlier.wav", *order], kind)
    write(output.path, [order[3], "earlier.wav", order[0]], kind)
    write(output.part(0), order[1::3], kind)
    write(output.part(10), [*order[2::3], *order[6:7], order[0]], kind)  # the last was done before: not doubled
    with output.part(10).open("ab") as file:
        file.write(b"half a li")
    (tmp_path / f"out{kind}.partner").write_text("of the user")
    assert output.merge(order) == (10, 0)
    assert output.path.read_bytes() == whole
    assert output.parts() == [] and (tmp_path / f"out{kind}.partner").is_file()


def test_a_file_that_is_in_order_is_left_alone(tmp_path: Path) -> None:
    output = Output(tmp_path / "out.csv")
    write(output.path, NAMES, ".csv")
    before = output.path.stat()
    assert output.merge(NAMES) == (len(NAMES), 0)
    after = output.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(("there", "earlier", "resume", "said"), REFUSED)
def test_what_may_not_be_written_to_is_refused_and_stays(
    there: dict[str, bytes], earlier: dict[str, Any], resume: bool, said: str, tmp_path: Path
) -> None:
    for name, content in there.items():
        (tmp_path / name).write_bytes(content)
    if earlier:
        (tmp_path / "out.csv.settings.json").write_text(json.dumps(earlier))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=said), Output(tmp_path / "out.csv") as output:
        output.begin(SETTINGS, resume)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_lock_goes_at_the_end_though_it_was_taken_twice(tmp_path: Path) -> None:
    with Output(tmp_path / "out.csv") as output:
        output.open(resume=False)
        output.begin(SETTINGS, resume=False)
    assert not output._lock.is_locked and not (tmp_path / "out.csv.lock").exists()


@pytest.mark.parametrize("content", [b"garbage{", b"[1]", b"null"])
def test_damaged_settings_are_told_from_missing_ones(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_bytes(CSV + ROW)
    (tmp_path / "out.csv.settings.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"has a damaged out\.csv\.settings\.json beside it"):
        Output(tmp_path / "out.csv").begin(SETTINGS, resume=True)


@pytest.mark.parametrize("kind", KINDS)
def test_errors_stand_in_the_file_and_give_way_to_labels(kind: str, tmp_path: Path) -> None:
    output = Output(tmp_path / f"out{kind}")
    with Appender(output.path, kind, 1) as appender:
        appender.add("a.wav", labels(0.5))
        appender.add("b.wav", ERROR)
        appender.add("c.wav", ERROR)
    if kind == ".csv":
        rows = list(csv.DictReader(output.path.open(newline="")))
    else:
        rows = [json.loads(line) for line in output.path.read_text().splitlines()]
    assert [row.get("error") or None for row in rows] == [None, str(ERROR), str(ERROR)]
    output.settings_path.write_text(json.dumps(SETTINGS))
    assert output.begin(SETTINGS, resume=True) == {"a.wav"}
    assert output.merge(["a.wav", "b.wav", "c.wav"]) == (1, 2)
    with Appender(output.part(0), kind, 1) as appender:
        appender.add("c.wav", labels(0.25))
        appender.add("b.wav", ERROR)
    assert output.merge(["a.wav", "b.wav", "c.wav"]) == (2, 1)
    assert names_in(output.path) == ["a.wav", "b.wav", "c.wav"]


def test_a_file_of_other_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_bytes(b"file,label_1,score_1\na.wav,yes,0.5\n")
    with pytest.raises(ValueError, match="has other columns than are written now"):
        Appender(tmp_path / "out.csv", ".csv", 1)


def test_only_one_run_writes_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with Output(path) as output:
        output.begin(SETTINGS, resume=False)
        with Output(path) as other, pytest.raises(ValueError, match="is being written by another run: wait for it"):
            other.open(resume=True)
    with Output(path) as output:
        output.begin(SETTINGS, resume=True)
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv.settings.json"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_removed_while_it_is_written_is_an_error(replaced: bool, tmp_path: Path) -> None:
    output = Output(tmp_path / "out.csv")
    with Appender(output.path, ".csv", 1) as appender:
        appender.add("a.wav", labels(0.5))
        output.path.rename(tmp_path / "elsewhere.csv")
        if replaced:
            output.path.write_bytes(CSV)
        with pytest.raises(OSError, match=r"out\.csv was removed or replaced while it was written"):
            appender.add("b.wav", labels(0.5))
    with pytest.raises(OSError, match=r"out\.csv lacks 2 results that were written"):
        output.merge(["a.wav", "b.wav"])


def test_going_on_tells_what_is_done_in_the_file_and_in_all_parts(tmp_path: Path) -> None:
    output = Output(tmp_path / "new" / "out.jsonl")
    assert output.begin(SETTINGS, resume=False) == set()
    assert json.loads(output.settings_path.read_text()) == SETTINGS
    write(output.path, ["a"], ".jsonl")
    write(output.part(0), ["b", "c"], ".jsonl")
    write(output.part(7), ["d"], ".jsonl")
    assert output.begin(SETTINGS, resume=True) == {"a", "b", "c", "d"}


@pytest.mark.parametrize("name", ["out.json", "out", "out.csv.gz"])
def test_another_ending_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"written as \.csv, \.jsonl or \.parquet"):
        Output(Path(name))
