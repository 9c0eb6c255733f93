"""Speech Commands' words, lists, variants and archive."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fastast_hf.corpora import Corpus, CorpusError, label_names, load_corpus, with_label_order

Write = Callable[..., None]
CLIPS = {
    "train": ["bed/a_nohash_0", "yes/a_nohash_0", "yes/a_nohash_1", "zero/d_nohash_0", "_silence_/1", "_unknown_/7"],
    "validation": ["bed/b_nohash_0", "go/b_nohash_0", "_silence_/2"],
    "test": ["down/c_nohash_0", "visual/c_nohash_0"],
}
VARIANTS = [
    # classes, the clips' classes by split
    (
        35,
        {
            "train": ["bed", "yes", "yes", "zero"],
            "validation": ["bed", "go"],
            "test": ["down", "visual"],
        },
    ),
    (
        12,
        {
            "train": ["_silence_", "_unknown_", "_unknown_", "yes", "yes", "_unknown_"],
            "validation": ["_unknown_", "go", "_silence_"],
            "test": ["down", "_unknown_"],
        },
    ),
]
# As in the checkpoint MIT/ast-finetuned-speech-commands-v2.
# fmt: off
AST_ORDER = [
    "backward", "follow", "five", "bed", "zero", "on", "learn", "two", "house", "tree", "dog", "stop", "seven",
    "eight", "down", "six", "forward", "cat", "right", "visual", "four", "wow", "no", "nine", "off", "three", "left",
    "marvin", "yes", "up", "sheila", "happy", "bird", "go", "one",
]
# fmt: on


@pytest.fixture
def root(tmp_path: Path, write_clips: Write) -> Path:
    root = tmp_path / "speech_commands"
    write_clips(root, [f"{clip}.wav" for clips in CLIPS.values() for clip in clips])
    write_clips(root, ["_background_noise_/pink_noise.wav"])
    (root / "validation_list.txt").write_text("".join(f"{clip}.wav\n" for clip in CLIPS["validation"]))
    (root / "testing_list.txt").write_text("".join(f"{clip}.wav\n" for clip in CLIPS["test"]))
    (root / "LICENSE").write_text("words\n")
    return root


def classes_of(corpus: Corpus) -> dict[str, list[str]]:
    names = label_names(corpus)
    return {split: [names[label] for label in data["label"]] for split, data in corpus.items()}


@pytest.mark.parametrize(("classes", "expected"), VARIANTS)
def test_lists_make_the_splits(root: Path, classes: int, expected: dict[str, list[str]]) -> None:
    corpus = load_corpus("speech_commands", root, classes=classes)
    assert classes_of(corpus) == expected
    assert corpus.missing == {"train": 0, "validation": 0, "test": 0}
    kept = {split: [c for c in clips if classes == 12 or c[0] != "_"] for split, clips in CLIPS.items()}
    assert {split: sorted(data["id"]) for split, data in corpus.items()} == {s: sorted(c) for s, c in kept.items()}


def test_words_are_in_alphabetical_order_and_variant_in_its_own(root: Path) -> None:
    assert label_names(load_corpus("speech_commands", root)) == sorted(AST_ORDER)
    names = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "_unknown_", "_silence_"]
    assert label_names(load_corpus("speech_commands", root, classes=12)) == names


def test_ids_follow_a_checkpoints_order(root: Path) -> None:
    corpus = load_corpus("speech_commands", root)
    ordered = with_label_order(corpus, AST_ORDER)
    assert classes_of(ordered) == classes_of(corpus)
    assert ordered["test"]["label"][:] == [14, 19]


@pytest.mark.parametrize(
    ("classes", "missing"), [(35, {"validation": 1, "test": 2}), (12, {"validation": 2, "test": 2})]
)
def test_listed_clips_that_are_not_there_are_counted(root: Path, classes: int, missing: dict[str, int]) -> None:
    with (root / "testing_list.txt").open("a") as file:
        file.write("marvin/x_nohash_0.wav\n\nyes/x_nohash_0.wav\n")
    (root / "_silence_" / "2.wav").unlink()
    (root / "bed" / "b_nohash_0.wav").unlink()
    assert load_corpus("speech_commands", root, classes=classes).missing == {"train": 0, **missing}


def test_clips_are_found_whatever_their_extension(root: Path, write_clips: Write) -> None:
    (root / "down" / "c_nohash_0.wav").unlink()
    write_clips(root, ["down/c_nohash_0.flac"])
    corpus = load_corpus("speech_commands", root)
    assert corpus["test"][0]["audio"]["path"] == str(root / "down" / "c_nohash_0.flac")
    assert corpus.missing["test"] == 0 and len(corpus["train"]) == 4


@pytest.mark.parametrize("classes", [35, 12])
def test_other_words_are_refused(root: Path, write_clips: Write, classes: int) -> None:
    (root / "testing_list.txt").write_text("maybe/c_nohash_0.wav\n")
    with pytest.raises(CorpusError, match="test clips: unknown label 'maybe'"):
        load_corpus("speech_commands", root, classes=classes)
    write_clips(root, ["hello/c_nohash_0.wav"])
    with pytest.raises(CorpusError, match="hello: unknown label 'hello'"):
        load_corpus("speech_commands", root, classes=classes)


def test_missing_list_is_named(root: Path) -> None:
    (root / "testing_list.txt").unlink()
    with pytest.raises(CorpusError, match=r"testing_list\.txt: cannot be read"):
        load_corpus("speech_commands", root)


@pytest.mark.parametrize("classes", [10, 30, "35", None])
def test_other_variants_are_refused(root: Path, classes: object) -> None:
    with pytest.raises(CorpusError, match="give 35 or 12"):
        load_corpus("speech_commands", root, classes=classes)


def test_hub_copy_is_refused_with_the_reason() -> None:
    with pytest.raises(CorpusError, match=r"4,890 clips of 12 classes.*speech_commands_v0\.02\.tar\.gz") as caught:
        load_corpus("speech_commands", hub_id="google/speech_commands")
    assert "\n" not in str(caught.value)


def pack(root: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root, ".")


def test_archive_is_unpacked_once_beside_it(root: Path, tmp_path: Path) -> None:
    archive = tmp_path / "packed" / "words.v2.tar.gz"
    archive.parent.mkdir()
    pack(root, archive)
    corpus = load_corpus("speech_commands", archive)
    assert classes_of(corpus) == classes_of(load_corpus("speech_commands", root))
    assert corpus["test"][0]["audio"]["path"].startswith(str(tmp_path / "packed" / "words.v2" / "down"))
    assert sorted(path.name for path in archive.parent.iterdir()) == ["words.v2", "words.v2.tar.gz"]
    archive.write_bytes(b"not read any more")
    assert classes_of(load_corpus("speech_commands", archive)) == classes_of(corpus)


def test_damaged_archive_leaves_nothing_behind(root: Path, tmp_path: Path) -> None:
    (tmp_path / "packed").mkdir()
    whole = tmp_path / "packed" / "whole.tar.gz"
    pack(root, whole)
    for name, content in [("cut", whole.read_bytes()[:-400]), ("other", b"no archive"), ("empty", b"")]:
        archive = tmp_path / "packed" / f"{name}.tar.gz"
        archive.write_bytes(content)
        with pytest.raises(CorpusError, match=f"{name}.tar.gz: no whole tar.gz archive") as caught:
            load_corpus("speech_commands", archive)
        assert "\n" not in str(caught.value)
    assert not [path for path in whole.parent.iterdir() if path.suffix != ".gz"]


def test_what_another_process_has_unpacked_is_used(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def be_second(temporary: Path, folder: Path) -> None:
        shutil.copytree(temporary, folder)
        raise OSError(39, "Directory not empty")

    pack(root, tmp_path / "words.tar.gz")
    monkeypatch.setattr(os, "replace", be_second)
    assert len(load_corpus("speech_commands", tmp_path / "words.tar.gz")["train"]) == 4
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.tar\.gz: no such archive"):
        load_corpus("speech_commands", tmp_path / "none.tar.gz")


def test_archive_of_a_full_disk_is_said(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    pack(root, tmp_path / "words.tar.gz")
    monkeypatch.setattr(tarfile.TarFile, "extractall", fail)
    with pytest.raises(CorpusError, match=r"cannot be unpacked beside it .*No space left.* where there is room"):
        load_corpus("speech_commands", tmp_path / "words.tar.gz")
    assert not (tmp_path / "words").exists()


@pytest.mark.real_audio
@pytest.mark.skipif("FASTAST_TEST_AUDIO" not in os.environ, reason="FASTAST_TEST_AUDIO names no folder of recordings")
@pytest.mark.parametrize(("classes", "sizes"), [(35, (3284, 316, 446)), (12, (3564, 360, 493))])
def test_real_recordings_have_their_splits(classes: int, sizes: tuple[int, int, int]) -> None:
    root = Path(os.environ["FASTAST_TEST_AUDIO"]) / "speech_commands_v0.02_test_set"
    corpus = load_corpus("speech_commands", root, classes=classes)
    assert tuple(len(corpus[split]) for split in ("train", "validation", "test")) == sizes
    assert not any(corpus.missing.values())
    for data in corpus.values():
        assert set(data["label"]) == set(range(classes)) or classes == 35
        for row in data.select(range(0, len(data), 50)):
            folder = Path(row["audio"]["path"]).parent.name
            name = label_names(corpus)[row["label"]]
            assert name == folder or (name == "_unknown_" and folder not in label_names(corpus))
