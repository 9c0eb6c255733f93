"""Folders, lists and copies as they are found, and the one line said about those that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fastast_hf.corpora import CorpusError
from fastast_hf.corpora.sources import check_folder, files_by_stem, load_hub, read_table

Write = Callable[..., None]
TABLES = [
    # what the file holds, what is said
    (b"a,c\n1,2\n", "column b missing among a, c; wanted a, b"),
    (b"", "column a, b missing among none"),
    (b"a,b\n1,2\n3\n", "line 3: not the 2 values"),
    (b"a,b\n1,2,3\n", "line 2: not the 2 values"),
    (b"a,b\n\xff,2\n", "no text in UTF-8"),
    (b'a,b\n1,"' + 200_000 * b"x", "no csv"),
    (None, "cannot be read .No such file"),
]


@pytest.mark.parametrize(("content", "message"), TABLES)
def test_what_is_wrong_with_a_table_is_said_in_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "table.csv"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(CorpusError, match=message) as caught:
        list(read_table(file, ("a", "b")))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_table_is_read_with_byte_order_mark_quotes_and_more_columns(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes('\ufeffa,b,more\r\n1,"x, y",0\r\n'.encode())
    assert [row for _, row in read_table(file, ("b", "a"))] == [{"a": "1", "b": "x, y", "more": "0"}]


def test_files_are_found_at_any_depth_and_behind_links(tmp_path: Path, write_clips: Write) -> None:
    write_clips(tmp_path / "corpus", ["a.wav", "sub/deep/-b_1.5.FLAC", "a.ogg", ".hidden.wav", ".hidden/c.wav"])
    write_clips(tmp_path / "elsewhere", ["d.wav"])
    (tmp_path / "corpus" / "notes.txt").touch()
    (tmp_path / "corpus" / "link").symlink_to(tmp_path / "elsewhere")
    found = files_by_stem(tmp_path / "corpus")
    names = {stem: file.relative_to(tmp_path / "corpus").as_posix() for stem, file in found.items()}
    assert names == {"a": "a.ogg", "-b_1.5": "sub/deep/-b_1.5.FLAC", "d": "link/d.wav"}


def test_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    check_folder(tmp_path, "clips")
    with pytest.raises(CorpusError, match="is a file, not a folder; give the folder that holds clips"):
        check_folder(tmp_path / "file", "clips")
    with pytest.raises(CorpusError, match="no such folder"):
        check_folder(tmp_path / "none", "clips")


def test_copy_comes_with_undecoded_audio(tmp_path: Path, write_parquet: Write) -> None:
    write_parquet(tmp_path / "copy" / "train.parquet", {"name": ["a", "b"]})
    for streaming in (False, True):
        rows = list(load_hub(str(tmp_path / "copy"), ("name", "audio"), streaming=streaming)["train"])
        assert [row["audio"]["bytes"][:4] for row in rows] == [b"fLaC", b"fLaC"]


@pytest.mark.parametrize("streaming", [False, True])
def test_copy_with_other_columns_is_refused(tmp_path: Path, write_parquet: Write, streaming: bool) -> None:
    write_parquet(tmp_path / "copy" / "train.parquet", {"name": ["a", "b"]})
    with pytest.raises(CorpusError, match="column fold missing among name, audio; wanted fold, audio"):
        load_hub(str(tmp_path / "copy"), ("fold", "audio"), streaming=streaming)


@pytest.mark.parametrize("streaming", [False, True])
def test_copy_that_cannot_be_loaded_is_one_line(tmp_path: Path, write_parquet: Write, streaming: bool) -> None:
    write_parquet(tmp_path / "copy" / "train.parquet", {"name": ["a"]})
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "train.parquet").write_bytes(b"PAR1 and no more")
    cases = [("nobody/nothing", None), (str(tmp_path / "none"), None), (str(tmp_path / "copy"), "full")]
    for hub_id, config in [*cases, (str(tmp_path / "damaged"), None)]:
        with pytest.raises(CorpusError, match="cannot be loaded from the Hub") as caught:
            load_hub(hub_id, ("name", "audio"), config, streaming)
        assert hub_id in str(caught.value) and "\n" not in str(caught.value)
