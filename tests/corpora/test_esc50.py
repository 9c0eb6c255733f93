"""ESC-50's folds, classes and lists, from the folder and from a parquet copy."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_corpora import write_esc50

from fastast_hf.audio import load_audio
from fastast_hf.corpora import CorpusError, label_names, load_corpus, with_label_order

Write = Callable[..., None]
HEADER = "filename,fold,target,category,esc10,src_file,take"
CLASSES = {10: "rain", 0: "dog", 41: "chainsaw"}  # gaps, and not in alphabetical order
ROWS = [(f"{fold}-{100 + fold}-A-{target}", fold, target) for fold in range(1, 6) for target in CLASSES]
BAD_TABLES = [
    # csv, what is said
    ("filename,target,category\na.wav,0,dog\n", "column fold missing among filename, target, category"),
    (f"{HEADER}\na.wav,one,0,dog,True,1,A\n", "line 2: fold 'one' and target '0'; both must be whole numbers"),
    (f"{HEADER}\na.wav,1,0,dog,True,1,A\nb.wav,2,0,cat,True,1,A\n", "target and category do not belong"),
    (f"{HEADER}\na.wav,1,0,dog,True,1,A\nb.wav,2,1,dog,True,1,A\n", "target and category do not belong"),
    (f"{HEADER}\n", "no rows"),
    (f"{HEADER}\na.wav,2,0,dog,True,1,A\nb.wav,3,1,cat,True,1,A\n", "fold 1 to test on and folds 2, 3 listed"),
    (f"{HEADER}\na.wav,1,0,dog,True,1,A\nb.wav,1,1,cat,True,1,A\n", "fold 1 to test on and folds 1 listed"),
]


@pytest.fixture
def root(tmp_path: Path, write_clips: Write) -> Path:
    """A folder whose table says .wav where the clips are .ogg and .flac."""
    root = tmp_path / "ESC"
    lines = [f"{stem}.wav,{fold},{target},{CLASSES[target]},True,{100 + fold},A" for stem, fold, target in ROWS]
    (root / "meta").mkdir(parents=True)
    (root / "meta" / "esc50.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    write_clips(root / "audio", [stem + (".ogg" if fold == 1 else ".flac") for stem, fold, _ in ROWS])
    return root


@pytest.fixture
def copy(tmp_path: Path, write_parquet: Write) -> Path:
    columns: dict[str, list[Any]] = {
        "filename": [f"{stem}.wav" for stem, _, _ in ROWS],
        "fold": [fold for _, fold, _ in ROWS],
        "target": [target for _, _, target in ROWS],
        "category": [CLASSES[target] for _, _, target in ROWS],
        "esc10": [True for _ in ROWS],
        "src_file": [100 + fold for _, fold, _ in ROWS],
        "take": ["A" for _ in ROWS],
    }
    write_parquet(tmp_path / "copy" / "data" / "train-00000-of-00001.parquet", columns)
    return tmp_path / "copy"


@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5])
def test_fold_is_for_testing_and_the_others_for_training(root: Path, fold: int) -> None:
    corpus = load_corpus("esc50", root, fold=fold)
    assert {split: len(data) for split, data in corpus.items()} == {"train": 12, "test": 3}
    assert corpus["test"]["id"][:] == [stem for stem, of, _ in ROWS if of == fold]
    assert corpus["train"]["id"][:] == [stem for stem, of, _ in ROWS if of != fold]
    assert corpus.missing == {"train": 0, "test": 0}


def test_without_fold_all_clips_are_for_training(root: Path) -> None:
    corpus = load_corpus("esc50", root)
    assert list(corpus) == ["train"] and len(corpus["train"]) == 15


def test_classes_are_in_the_order_of_targets_without_their_gaps(root: Path) -> None:
    data = load_corpus("esc50", root)["train"]
    assert label_names(data) == ["dog", "rain", "chainsaw"]
    assert data["label"][:] == [[0, 10, 41].index(target) for _, _, target in ROWS]


def test_clips_are_found_whatever_their_extension(root: Path) -> None:
    paths = [Path(row["audio"]["path"]) for row in load_corpus("esc50", root, fold=1)["test"]]
    assert [path.name for path in paths] == [f"{stem}.ogg" for stem, fold, _ in ROWS if fold == 1]
    assert load_audio(paths[0]).shape == (1600,)


def test_missing_clips_are_counted(root: Path) -> None:
    for stem, fold, target in ROWS:
        if target == 41 and fold in (1, 2, 3):
            (root / "audio" / f"{stem}{'.ogg' if fold == 1 else '.flac'}").unlink()
    corpus = load_corpus("esc50", root, fold=1)
    assert corpus.missing == {"train": 2, "test": 1}
    assert {split: len(data) for split, data in corpus.items()} == {"train": 10, "test": 2}
    assert label_names(corpus) == ["dog", "rain", "chainsaw"]


@pytest.mark.parametrize("fold", [0, 6, "1", 1.5, True])
def test_other_folds_are_refused(root: Path, fold: Any) -> None:
    with pytest.raises(CorpusError, match=f"fold {fold!r}; give one of 1, 2, 3, 4, 5"):
        load_corpus("esc50", root, fold=fold)


@pytest.mark.parametrize(("table", "message"), BAD_TABLES)
def test_what_is_wrong_with_the_table_is_said(root: Path, table: str, message: str) -> None:
    (root / "meta" / "esc50.csv").write_text(table)
    with pytest.raises(CorpusError, match=message):
        load_corpus("esc50", root, fold=1)


def test_missing_table_and_clips_are_named(root: Path) -> None:
    (root / "audio").rename(root / "elsewhere")
    with pytest.raises(CorpusError, match="has no folder audio/"):
        load_corpus("esc50", root)
    (root / "audio").mkdir()
    with pytest.raises(CorpusError, match="audio: none of the 15 clips"):
        load_corpus("esc50", root)
    (root / "meta" / "esc50.csv").unlink()
    with pytest.raises(CorpusError, match=r"esc50\.csv: cannot be read"):
        load_corpus("esc50", root)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("fold", [None, 1, 3])
def test_copy_gives_what_the_folder_gives(root: Path, copy: Path, fold: int | None, streaming: bool) -> None:
    corpus = load_corpus("esc50", root, fold=fold)
    other = load_corpus("esc50", hub_id=str(copy), fold=fold, streaming=streaming)
    assert list(other) == list(corpus) and other.missing == corpus.missing
    for split, data in corpus.items():
        assert other[split].features == data.features
        rows = list(other[split])
        found = [(row["id"], row["label"]) for row in rows]
        expected = list(zip(data["id"], data["label"], strict=True))
        assert (sorted(found) == sorted(expected)) if streaming else (found == expected)
        assert {row["audio"]["bytes"][:4] for row in rows} == {b"fLaC"}


def test_copy_is_brought_into_another_order(copy: Path) -> None:
    corpus = load_corpus("esc50", hub_id=str(copy), fold=3)
    ordered = with_label_order(corpus, ["chainsaw", "dog", "rain"])
    assert ordered["test"]["label"][:] == [(i + 1) % 3 for i in corpus["test"]["label"]]
    assert ordered["test"]["id"][:] == corpus["test"]["id"][:]


def test_copy_with_other_splits_is_refused(tmp_path: Path, write_parquet: Write) -> None:
    for split in ("train", "test"):
        columns = {"filename": ["a.wav"], "fold": [1], "target": [0], "category": ["dog"]}
        write_parquet(tmp_path / "copy" / f"{split}.parquet", columns)
    with pytest.raises(CorpusError, match="splits train, test; give a copy of ESC-50 whose one split is train"):
        load_corpus("esc50", hub_id=str(tmp_path / "copy"))


@pytest.mark.real_audio
@pytest.mark.skipif("FASTAST_TEST_AUDIO" not in os.environ, reason="FASTAST_TEST_AUDIO names no folder of recordings")
def test_esc10_has_400_clips_in_five_folds() -> None:
    root = Path(os.environ["FASTAST_TEST_AUDIO"]) / "ESC-10"
    tested = set()
    for fold in range(1, 6):
        corpus = load_corpus("esc50", root, fold=fold)
        assert (len(corpus["train"]), len(corpus["test"])) == (320, 80)
        assert corpus.missing == {"train": 0, "test": 0}
        assert [corpus["test"]["label"][:].count(i) for i in range(10)] == [8] * 10
        tested |= set(corpus["test"]["id"])
    assert len(tested) == 400
    assert label_names(corpus)[:3] == ["dog", "rooster", "rain"] and len(label_names(corpus)) == 10


@pytest.mark.parametrize("fold", [1, 3])
def test_a_clip_that_is_listed_in_two_folds_is_refused_whichever_is_tested(fold: int, tmp_path: Path) -> None:
    root = write_esc50(tmp_path)
    table = root / "meta" / "esc50.csv"
    table.write_text(table.read_text() + "1-0-A-0.wav,2,0,dog,True,0,A\n")
    with pytest.raises(CorpusError, match=r"esc50.csv: 1-0-A-0.wav is listed twice, in folds 1 and 2"):
        load_corpus("esc50", root, fold=fold)


def test_a_fold_that_esc50_has_not_is_refused(tmp_path: Path) -> None:
    root = write_esc50(tmp_path)
    table = root / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("5-0-A-0.wav,5,", "5-0-A-0.wav,9,"))
    with pytest.raises(CorpusError, match=r"line 18: fold 9; ESC-50 has the folds 1 to 5"):
        load_corpus("esc50", root, fold=1)
