"""Finding audio files in folders."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastast_hf.audio.files import AUDIO_EXTENSIONS, AudioError, find_audio_files


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
    assert [file.relative_to(tmp_path).as_posix() for file in find_audio_files([tmp_path])] == list(wanted)


def test_a_link_to_nothing_is_listed_so_that_it_is_heard_of(tmp_path: Path) -> None:
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    assert find_audio_files([tmp_path]) == [tmp_path / "gone.wav"]


def test_a_hidden_folder_is_searched_when_asked_for(tmp_path: Path) -> None:
    make_tree(tmp_path, (".cache/x.wav",))
    assert find_audio_files([tmp_path / ".cache"]) == [tmp_path / ".cache" / "x.wav"]


def test_files_are_kept_as_given_missing_and_twice(tmp_path: Path) -> None:
    make_tree(tmp_path, ("in/2.wav", "in/1.wav", "notes.txt"))
    given = ["z.wav", str(tmp_path / "in"), tmp_path / "notes.txt", "z.wav", "x" * 5000, tmp_path / "in" / "1.wav"]
    expected = ["z.wav", tmp_path / "in/1.wav", tmp_path / "in/2.wav", tmp_path / "notes.txt"]
    expected += ["z.wav", "x" * 5000, tmp_path / "in/1.wav"]
    assert find_audio_files(given) == [Path(path) for path in expected]


def test_one_path_instead_of_a_list_is_that_path(tmp_path: Path) -> None:
    make_tree(tmp_path, ("a.wav",))
    assert find_audio_files(str(tmp_path)) == find_audio_files(tmp_path) == [tmp_path / "a.wav"]


def test_a_folder_without_audio_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    make_tree(tmp_path, ("notes.txt", ".hidden.wav"))
    with pytest.raises(AudioError, match=re.escape(str(tmp_path))) as caught:
        find_audio_files([tmp_path])
    assert "\n" not in str(caught.value)
    assert all(extension in str(caught.value) for extension in AUDIO_EXTENSIONS)
