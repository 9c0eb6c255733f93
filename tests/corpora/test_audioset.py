"""AudioSet's lists, labels by mid, clips by their many names, and parquet copies."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset, IterableDataset

from fastast_hf.corpora import CorpusError, is_multi_label, label_names, load_corpus, with_label_order

Write = Callable[..., None]
NAMES = ["Speech", "Male speech, man speaking", "Dog", "Rain"]
MIDS = ["/m/09x0r", "/m/05zppz", "/m/0bt9lr", "/m/06mb1"]
LABELS = "index,mid,display_name\n" + "".join(f'{i},{MIDS[i]},"{NAMES[i]}"\n' for i in (0, 2, 1, 3))
HEAD = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=3, num_segs=3, num_unique_labels=4\n"
HEAD += "# YTID, start_seconds, end_seconds, positive_labels\n"
BALANCED = [("--PJHxphWEs", 30.0, 40.0, [0, 1]), ("YaaaaaaaaaA", 0.0, 10.0, [2]), ("bbbbbbbbb_1", 2.5, 12.5, [3, 0])]
UNBALANCED = [("ccccccccccc", 5.0, 9.25, [1])]
EVAL = [("-eeeeeeeeee", 30.0, 40.0, [2, 3]), ("fffffffffff", 70.0, 80.0, [0])]
FILE_NAMES = [
    # YouTube id, start, end, names of the clip, names of other clips
    ("--PJHxphWEs", 30, 40, ["--PJHxphWEs", "Y--PJHxphWEs", "--PJHxphWEs_30.000", "--PJHxphWEs_30"], ["PJHxphWEs"]),
    ("--PJHxphWEs", 30, 40, ["--PJHxphWEs_30000_40000", "Y--PJHxphWEs_30.000_40.000", "--PJHxphWEs_30000"], []),
    ("--PJHxphWEs", 30, 40, ["--PJHxphWEs_30_40", "--PJHxphWEs_30.0_40.0"], ["--PJHxphWEs_10", "x--PJHxphWEs"]),
    ("bbbbbbbbb_1", 2.5, 12.5, ["bbbbbbbbb_1_2.5", "bbbbbbbbb_1_2500_12500"], ["bbbbbbbbb", "bbbbbbbbb_1_1"]),
    ("YaaaaaaaaaA", 0, 10, ["YaaaaaaaaaA", "YYaaaaaaaaaA", "YaaaaaaaaaA_0", "YaaaaaaaaaA_0_10000"], ["aaaaaaaaaA"]),
]
BAD_LISTS = [
    # segments, what is said
    ('aaaaaaaaaaa, 0.000, 10.000, "/m/09x0r,/m/none"\n', "line 4: unknown label '/m/none'"),
    ("aaaaaaaaaaa, 0.000, 10.000, /m/09x0r,/m/05zppz\n", "line 4: .* is not YTID, start, end"),
    ("YTID, start_seconds, end_seconds, positive_labels\n", "line 4: .* is not YTID, start, end"),
    ('aaaaaaaaaaa, 0.000, 10.000, ""\n', "line 4: unknown label ''"),
]
BAD_LABELS = [
    # class_labels_indices.csv, what is said
    ("index,display_name\n0,Dog\n", "column mid missing among index, display_name"),
    ("index,mid,display_name\n0,/m/1,Dog\n2,/m/2,Rain\n", "no list of classes numbered from 0"),
    ("index,mid,display_name\nx,/m/1,Dog\n", "no list of classes numbered from 0"),
    ("index,mid,display_name\n0,/m/1,Dog\n1,/m/2,Dog\n", "each with its own mid and name"),
    ("index,mid,display_name\n0,/m/1,Dog\n1,/m/1,Rain\n", "each with its own mid and name"),
    ("index,mid,display_name\n", "no list of classes"),
]

Segments = list[tuple[str, float, float, list[int]]]


def write_list(file: Path, segments: Segments) -> None:
    rows = [f'{ytid}, {a:.3f}, {b:.3f}, "{",".join(MIDS[i] for i in ids)}"\n' for ytid, a, b, ids in segments]
    file.write_text(HEAD + "".join(rows))


@pytest.fixture
def root(tmp_path: Path, write_clips: Write) -> Path:
    root = tmp_path / "AudioSet"
    root.mkdir()
    (root / "class_labels_indices.csv").write_text(LABELS)
    write_list(root / "balanced_train_segments.csv", BALANCED)
    write_list(root / "unbalanced_train_segments.csv", UNBALANCED)
    write_list(root / "eval_segments.csv", EVAL)
    write_clips(root / "clips", [f"{ytid}.flac" for ytid, *_ in BALANCED + UNBALANCED + EVAL])
    return root


@pytest.fixture
def copies(tmp_path: Path, write_parquet: Write) -> Path:
    """Both configurations, with their files and splits named as on the Hub."""
    folder = tmp_path / "copy"
    for name, segments in {"bal_train": BALANCED, "unbal_train": UNBALANCED, "eval": EVAL}.items():
        columns = {
            "video_id": [ytid for ytid, *_ in segments],
            "labels": [[MIDS[i] for i in ids] for *_, ids in segments],
            "human_labels": [[NAMES[i] for i in ids] for *_, ids in segments],
        }
        write_parquet(folder / "data" / name / "00.parquet", columns)
    splits = {
        "balanced": {"train": "bal_train", "test": "eval"},
        "full": {"bal_train": "bal_train", "unbal_train": "unbal_train", "eval": "eval"},
    }
    lines = ["---", "configs:"]
    for config, parts in splits.items():
        lines += [f"- config_name: {config}", "  data_files:"]
        for split, part in parts.items():
            lines += [f"  - split: {split}", f"    path: data/{part}/*.parquet"]
    (folder / "README.md").write_text("\n".join([*lines, "---", ""]))
    return folder


@pytest.mark.parametrize(("subset", "train"), [("balanced", BALANCED), ("full", BALANCED + UNBALANCED)])
def test_lists_make_the_splits(root: Path, subset: str, train: Segments) -> None:
    corpus = load_corpus("audioset", root, subset=subset)
    assert is_multi_label(corpus) and label_names(corpus) == NAMES
    assert {split: data["id"][:] for split, data in corpus.items()} == {
        "train": [ytid for ytid, *_ in train],
        "test": [ytid for ytid, *_ in EVAL],
    }
    assert corpus["train"]["labels"][:] == [ids for *_, ids in train]
    assert corpus.missing == {"train": 0, "test": 0}


@pytest.mark.parametrize(("ytid", "start", "end", "names", "others"), FILE_NAMES)
def test_clips_are_found_by_their_many_names(
    root: Path, write_clips: Write, ytid: str, start: float, end: float, names: list[str], others: list[str]
) -> None:
    write_list(root / "balanced_train_segments.csv", [(ytid, start, end, [0])])
    for file in (root / "clips").iterdir():
        if file.stem == ytid:
            file.unlink()
    write_clips(root, [f"{name}.wav" for name in others])
    assert load_corpus("audioset", root).missing["train"] == 1
    for name in names:
        clip = root / "deep" / "down" / f"{name}.wav"
        write_clips(clip.parent, [clip.name])
        row = load_corpus("audioset", root)["train"][0]
        assert (row["id"], row["audio"]["path"]) == (ytid, str(clip))
        clip.unlink()


def test_missing_clips_are_counted_by_split(root: Path) -> None:
    for ytid in ("--PJHxphWEs", "YaaaaaaaaaA", "-eeeeeeeeee"):
        (root / "clips" / f"{ytid}.flac").unlink()
    corpus = load_corpus("audioset", root, subset="full")
    assert corpus.missing == {"train": 2, "test": 1}
    assert corpus["train"]["id"][:] == ["bbbbbbbbb_1", "ccccccccccc"]


@pytest.mark.parametrize(("segments", "message"), BAD_LISTS)
def test_what_is_wrong_with_a_list_is_said(root: Path, segments: str, message: str) -> None:
    (root / "eval_segments.csv").write_text(HEAD + segments)
    with pytest.raises(CorpusError, match=f"eval_segments.csv, {message}") as caught:
        load_corpus("audioset", root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("labels", "message"), BAD_LABELS)
def test_what_is_wrong_with_the_labels_is_said(root: Path, labels: str, message: str) -> None:
    (root / "class_labels_indices.csv").write_text(labels)
    with pytest.raises(CorpusError, match=f"class_labels_indices.csv: .*{message}"):
        load_corpus("audioset", root)


def test_labels_may_lie_elsewhere(root: Path, tmp_path: Path) -> None:
    (root / "class_labels_indices.csv").rename(tmp_path / "labels.csv")
    with pytest.raises(CorpusError, match=r"class_labels_indices\.csv: cannot be read .* by --label-file"):
        load_corpus("audioset", root)
    assert label_names(load_corpus("audioset", root, labels=tmp_path / "labels.csv")) == NAMES
    with pytest.raises(CorpusError, match=r"labels given as names .* whose lists have mids"):
        load_corpus("audioset", root, labels=NAMES)


def test_missing_list_and_other_subset_are_refused(root: Path) -> None:
    (root / "unbalanced_train_segments.csv").unlink()
    with pytest.raises(CorpusError, match=r"unbalanced_train_segments\.csv: cannot be read"):
        load_corpus("audioset", root, subset="full")
    with pytest.raises(CorpusError, match="subset 'eval' of AudioSet; give balanced or full"):
        load_corpus("audioset", root, subset="eval")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("subset", ["balanced", "full"])
def test_copy_gives_what_the_folder_gives(
    root: Path, copies: Path, subset: str, by_name: bool, streaming: bool
) -> None:
    corpus = load_corpus("audioset", root, subset=subset)
    labels = NAMES if by_name else root / "class_labels_indices.csv"
    copy = load_corpus("audioset", hub_id=str(copies), streaming=streaming, subset=subset, labels=labels)
    assert list(copy) == list(corpus)
    for split, data in corpus.items():
        assert copy[split].features == data.features
        rows = list(copy[split])
        assert [(row["id"], row["labels"]) for row in rows] == list(zip(data["id"], data["labels"], strict=True))
        assert {row["audio"]["bytes"][:4] for row in rows} == {b"fLaC"}
    published = {"train": 22_160 if subset == "balanced" else 22_160 + 2_041_789, "test": 20_371}
    listed = {split: count - len(corpus[split]) for split, count in published.items()}
    assert copy.missing == ({"test": listed["test"]} if streaming else listed)
    assert isinstance(copy["train"], IterableDataset if streaming else Dataset) and isinstance(copy["test"], Dataset)


@pytest.mark.parametrize("streaming", [False, True])
def test_copy_is_brought_into_another_order(copies: Path, streaming: bool) -> None:
    corpus = load_corpus("audioset", hub_id=str(copies), streaming=streaming, labels=NAMES)
    ordered = with_label_order(corpus, NAMES[::-1])
    assert [row["labels"] for row in ordered["train"]] == [[3 - i for i in ids] for *_, ids in BALANCED]
    mapped = ordered["train"].map(lambda row: {"n": len(row["audio"]["bytes"])})
    assert all(row["n"] > 100 for row in mapped)


def test_copy_with_unknown_labels_is_refused_when_they_are_reached(copies: Path, write_parquet: Write) -> None:
    with pytest.raises(CorpusError, match="unknown label 'Rain' among 3"):
        load_corpus("audioset", hub_id=str(copies), labels=NAMES[:3])
    columns = {"video_id": ["a"], "labels": [[MIDS[0]]], "human_labels": [[NAMES[0]]]}
    write_parquet(copies / "data" / "eval" / "00.parquet", columns)
    rows = iter(load_corpus("audioset", hub_id=str(copies), labels=NAMES[:3], streaming=True)["train"])
    assert next(rows)["labels"] == [0, 1]
    with pytest.raises(CorpusError, match="unknown label 'Rain' among 3"):
        list(rows)


def test_copy_needs_labels_and_its_columns(copies: Path, write_parquet: Write) -> None:
    with pytest.raises(
        CorpusError, match=r"no list of the classes; give labels=class_labels_indices\.csv \(--label-file"
    ):
        load_corpus("audioset", hub_id=str(copies))
    for part in ("bal_train", "eval"):
        write_parquet(copies / "data" / part / "00.parquet", {"video_id": ["a"], "labels": [["/m/09x0r"]]})
    with pytest.raises(CorpusError, match="column human_labels missing among video_id, labels, audio"):
        load_corpus("audioset", hub_id=str(copies), labels=NAMES)


def test_copy_needs_its_splits(copies: Path) -> None:
    (copies / "README.md").write_text(
        "---\nconfigs:\n- config_name: balanced\n  data_files:\n"
        "  - split: train\n    path: data/bal_train/*.parquet\n---\n"
    )
    with pytest.raises(CorpusError, match="splits train; give a copy that has test or eval"):
        load_corpus("audioset", hub_id=str(copies), labels=NAMES)


def test_stream_that_says_its_size_counts_what_is_missing(copies: Path) -> None:
    card = (copies / "README.md").read_text().removesuffix("---\n")
    card += "dataset_info:\n- config_name: balanced\n  features:\n"
    card += "  - name: video_id\n    dtype: string\n  - name: audio\n    dtype: audio\n"
    card += "  - name: labels\n    sequence: string\n  - name: human_labels\n    sequence: string\n"
    card += "  splits:\n  - name: train\n    num_examples: 18685\n  - name: test\n    num_examples: 17142\n---\n"
    (copies / "README.md").write_text(card)
    corpus = load_corpus("audioset", hub_id=str(copies), streaming=True, labels=NAMES)
    assert corpus.missing == {"train": 22_160 - 18_685, "test": 20_371 - len(EVAL)}
    assert [row["labels"] for row in corpus["train"]] == [ids for *_, ids in BALANCED]


@pytest.mark.real_audio
@pytest.mark.skipif("FASTAST_TEST_AUDIO" not in os.environ, reason="FASTAST_TEST_AUDIO names no folder of recordings")
def test_official_labels_are_527(root: Path) -> None:
    labels = Path(os.environ["FASTAST_TEST_AUDIO"]) / "AudioSet" / "class_labels_indices.csv"
    corpus = load_corpus("audioset", root, labels=labels)
    names = label_names(corpus)
    assert len(names) == 527 and names[:2] == ["Speech", "Male speech, man speaking"]
    assert [names[i] for i in corpus["train"][0]["labels"]] == NAMES[:2]
