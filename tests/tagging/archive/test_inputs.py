"""What an archive is said to hold, and what is in its shards."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from archives import contents, write_folder, write_sound_table, write_tar
from pyarrow import parquet

from fastast_hf.tagging.archive.inputs import Shard, list_inputs, samples_of


def test_folders_patterns_lists_and_tables_name_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "sounds", {**contents(3), "notes.md": b"-"})
    files = [str(folder / f"clip {index}#.wav") for index in range(3)]
    names = [os.path.relpath(file, tmp_path) for file in files]
    (tmp_path / "list.txt").write_text("\n".join(names) + "\n\n")
    (tmp_path / "table.csv").write_text("file,label\n" + "".join(f"{name},dog\n" for name in names))
    parquet.write_table(pa.table({"wav": names}), tmp_path / "table.parquet")
    monkeypatch.chdir(tmp_path)
    for place, column in (("sounds", None), ("sounds/*.wav", None), ("list.txt", None), ("table.csv", None),
                          ("table.parquet", "wav"), (str(tmp_path / "so*"), None)):  # fmt: skip
        found = list_inputs([place], column)
        assert (found.files, found.errors, found.shards) == (files, [], []), place
    assert list_inputs(["sounds", "list.txt"]).files == files
    assert list_inputs(["sounds"]).left_out == {".md": 1}


def test_addresses_are_listed_as_paths_are() -> None:
    files = fsspec.filesystem("memory")
    for name in ("a/1.wav", "a/b/2.flac", "a/notes.md", "c/x.txt"):
        files.pipe_file(f"/archive/{name}", b"1.wav\nmemory://archive/a/1.wav\n")
    both = ["memory://archive/a/1.wav", "memory://archive/a/b/2.flac"]
    assert list_inputs(["memory://archive/a"]).files == both
    assert list_inputs(["memory://archive/a"]).left_out == {".md": 1}
    assert list_inputs(["memory://archive/**/*.wav"]).files == both[:1]
    assert list_inputs(["memory://archive/c/x.txt"]).files == ["memory://archive/c/1.wav", both[0]]
    assert list_inputs(["memory://archive/none.wav"]).files == ["memory://archive/none.wav"]
    assert "no audio in this folder" in list_inputs(["memory://archive/c"]).errors[0]


def test_tables_that_name_nothing_are_told(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path,label\na.wav,x\n,y\n")
    with pytest.raises(ValueError, match=r"has no column 'file': give one of path, label by --column"):
        list_inputs([str(table)])
    found = list_inputs([str(table)], "path")
    assert found.files == [str(tmp_path / "a.wav")]
    assert found.errors == [f"{table}: 1 rows name no file; fill them in, or leave them out"]
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"cut\.parquet can't be read"):
        list_inputs([str(tmp_path / "cut.parquet")])


def test_shards_give_each_recording_once_and_what_breaks_them(tmp_path: Path) -> None:
    files = contents(4)
    tar = str(write_tar(tmp_path / "0.tar", files))
    assert list_inputs([f"{tmp_path}/*.tar"]).shards == [Shard(tar)]
    assert list(samples_of(Shard(tar))) == [(f"{tar}#{name}", content, None) for name, content in files.items()]
    done = {f"{tar}#{name}" for name in list(files)[:3]}
    assert [name for name, _, _ in samples_of(Shard(tar), done)] == [f"{tar}#clip 3#.wav"]
    whole = Path(tar).read_bytes()
    Path(tar).write_bytes(whole[: whole.index(files["clip 1#.wav"]) + 100])
    first, broken = samples_of(Shard(tar))
    assert first == (f"{tar}#clip 0#.wav", files["clip 0#.wav"], None)
    assert broken[:2] == (tar, None) and "cannot be read to its end" in str(broken[2])
    (_, _, gone), *_ = samples_of(Shard(str(tmp_path / "none.tar")))
    assert gone is not None and "cannot be read" in gone
    (empty,) = samples_of(Shard(str(write_tar(tmp_path / "1.tar", {}))))
    assert "no audio in it" in str(empty[2])


def test_a_parquet_column_may_hold_sound(tmp_path: Path) -> None:
    files = contents(2)
    table = str(write_sound_table(tmp_path / "train.parquet", files))
    assert list_inputs([table], "audio").shards == [Shard(table, "audio")]
    named = [(f"{table}#{row}/{name}", content, None) for row, (name, content) in enumerate(files.items())]
    assert list(samples_of(Shard(table, "audio"))) == named
    parquet.write_table(pa.table({"audio": pa.array([b"x", None])}), table)
    assert list(samples_of(Shard(table, "audio"))) == [(f"{table}#0", b"x", None), (f"{table}#1", b"", None)]
