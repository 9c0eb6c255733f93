"""Finding audio files in folders."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import soundfile
from sounds import tone

from fastast_hf.audio import AUDIO_EXTENSIONS, find_audio, load_audio


def make_tree(folder: Path, names: tuple[str, ...]) -> None:
    """Empty files, with their folders."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_searched_in_natural_order_without_hidden_files(tmp_path: Path) -> None:
    wanted = ("b/clip1.wav", "b/clip2.WAV", "b/clip10.wav", "b/deep/er/x.opus", "c.aiff", "d10/a.mp3", "d10/a.ogg")
    make_tree(
        tmp_path, (*wanted[::-1], "notes.txt", ".hidden.wav", ".git/x.wav", "b/._clip1.wav", "wav", "b/video.mp4")
    )
    (tmp_path / "folder.wav").mkdir()
    assert [file.relative_to(tmp_path).as_posix() for file in find_audio(tmp_path).files] == list(wanted)


def test_a_link_to_nothing_is_listed_so_that_it_is_heard_of(tmp_path: Path) -> None:
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    assert find_audio([tmp_path]).files == [tmp_path / "gone.wav"]


def test_a_hidden_folder_is_searched_when_asked_for(tmp_path: Path) -> None:
    make_tree(tmp_path, (".cache/x.wav",))
    assert find_audio([tmp_path / ".cache"]).files == [tmp_path / ".cache" / "x.wav"]


def test_files_are_kept_as_given_missing_and_twice(tmp_path: Path) -> None:
    make_tree(tmp_path, ("in/2.wav", "in/1.wav", "notes.txt"))
    given = ["z.wav", str(tmp_path / "in"), tmp_path / "notes.txt", "z.wav", "x" * 5000, tmp_path / "in" / "1.wav"]
    expected = ["z.wav", tmp_path / "in/1.wav", tmp_path / "in/2.wav", tmp_path / "notes.txt"]
    expected += ["z.wav", "x" * 5000, tmp_path / "in/1.wav"]
    assert find_audio(given).files == [Path(path) for path in expected]


def test_one_path_instead_of_a_list_is_that_path(tmp_path: Path) -> None:
    make_tree(tmp_path, ("a.wav",))
    assert find_audio(str(tmp_path)).files == find_audio(tmp_path).files == [tmp_path / "a.wav"]


def test_a_folder_without_audio_is_an_error_that_says_what_was_looked_for(tmp_path: Path) -> None:
    make_tree(tmp_path, ("notes.txt", ".hidden.wav"))
    (error,) = find_audio(tmp_path).errors
    message = str(error)
    assert message.startswith(f"{tmp_path}: no audio in this folder (1 .txt); looked for") and "\n" not in message
    assert all(extension in message for extension in AUDIO_EXTENSIONS)


def test_whatever_libsndfile_decodes_is_found_and_the_rest_is_counted(tmp_path: Path) -> None:
    """Those of its formats that can be written from memory, under the names that people give them."""
    endings = [
        "wav",
        "wave",
        "aif",
        "aifc",
        "au",
        "snd",
        "w64",
        "rf64",
        "caf",
        "flac",
        "ogg",
        "mp3",
        "sph",
        "voc",
        "sf",
    ]
    others = {"aifc": "AIFF", "aif": "AIFF", "snd": "AU", "sph": "NIST", "sf": "IRCAM", "wave": "WAV"}
    for ending in endings:
        kind = others.get(ending, ending.upper())
        soundfile.write(tmp_path / f"a.{ending}", tone(), 16000, format=kind)
    make_tree(tmp_path, ("b.m4a", "b/c.M4A", "notes.txt", "README"))
    found = find_audio(tmp_path)
    assert sorted(file.suffix for file in found.files) == sorted(f".{ending}" for ending in endings)
    assert [len(load_audio(file)) > 7000 for file in found.files] == [True] * len(endings)
    assert found.describe_left_out().startswith("left out 4 files of kinds that libsndfile does not read: 2 .m4a, 1 ")
    assert dict(found.left_out) == {".m4a": 2, ".txt": 1, "": 1} and found.errors == []


def test_links_are_followed_once_and_loops_are_seen(tmp_path: Path) -> None:
    make_tree(tmp_path, ("in/b/x.wav", "far/y.wav"))
    folder = tmp_path / "in"
    for name, target in (("a", "b"), ("b/up", ".."), ("self", "."), ("c", "../far"), ("d", "../far"), ("e", "e")):
        (folder / name).symlink_to(target)
    found = find_audio(folder)
    assert found.files == [folder / "b/x.wav", folder / "c/y.wav"]
    assert found.errors == [] and dict(found.left_out) == {"": 1}


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path, ("a/x.wav", "b/y.wav"))
    scandir = os.scandir

    def denied(path: str) -> Any:
        if path.endswith("b"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr("os.scandir", denied)  # permissions do not keep root out
    found = find_audio(tmp_path)
    assert found.files == [tmp_path / "a/x.wav"]
    assert list(map(str, found.errors)) == [
        f"{tmp_path / 'b'}: this folder can't be listed (Permission denied); check its permissions"
    ]


def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tree(tmp_path, ("a.wav",))
    monkeypatch.chdir(tmp_path)
    found = find_audio(["", "a.wav"])
    assert found.files == [Path("a.wav")]
    assert list(map(str, found.errors)) == ["'': an empty name; give a file or folder"]
