"""AudioSet: ten-second clips with one or more of 527 labels (Gemmeke et al., ICASSP 2017)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset, concatenate_datasets

from .corpus import Clip, Corpus, CorpusError, StreamingCorpus, build_corpus, replace_labels
from .sources import check_folder, files_by_stem, load_hub, load_hub_splits, read_table, read_text

LABELS = "class_labels_indices.csv"
_BALANCED, _UNBALANCED, _EVAL = (f"{part}_segments.csv" for part in ("balanced_train", "unbalanced_train", "eval"))
_TABLES = {
    "balanced": {"train": [_BALANCED], "test": [_EVAL]},
    "full": {"train": [_BALANCED, _UNBALANCED], "test": [_EVAL]},
}
_SEGMENTS = {_BALANCED: 22_160, _UNBALANCED: 2_041_789, _EVAL: 20_371}  # as published
# The Hub copy's full configuration names its splits otherwise than its balanced one.
_SPLIT_NAMES = {"train": ("train", "bal_train", "unbal_train"), "test": ("test", "eval")}


def load_audioset(
    root: Path | None = None,
    hub_id: str | None = None,
    streaming: bool = False,
    subset: str = "balanced",
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
) -> Corpus | StreamingCorpus:
    """Load AudioSet: `train` is the balanced or the full training set, `test` the evaluation set.

    Some clips are no longer available, and `missing` counts them: an mAP computed without them cannot
    be compared to a published one. A Hub copy is compared to the published sizes. Classes are display names in the
    official order.

    Args:
        root: A folder with the official segment lists (`balanced_train_segments.csv`, `eval_segments.csv`, for the
            full set also `unbalanced_train_segments.csv`) and, at any depth, the clips. They are named after the
            YouTube id, with or without a leading Y, alone or followed by `_start` or `_start_end` in seconds or
            milliseconds.
        hub_id: A parquet copy such as `agkphysics/AudioSet`.
        streaming: Stream the Hub copy's training clips instead of downloading them, 2.4 TB for the full set; those of
            the evaluation set are downloaded, 24 GB. Folders are streamed by `load_corpus`.
        subset: "balanced" or "full".
        labels: The official `class_labels_indices.csv`; by default the one in `root`. For a Hub copy, which has none,
            also the display names in order, such as a checkpoint's.

    Raises:
        CorpusError: If the subset is neither, a list or the labels are missing or malformed, a label is unknown, or
            the copy is not as described; for a stream, unknown labels show when they are reached.
    """
    if subset not in _TABLES:
        raise CorpusError(f"subset {subset!r} of AudioSet; give {' or '.join(_TABLES)}")
    if hub_id is not None:
        return _load_copy(hub_id, streaming, subset, labels)
    assert root is not None
    check_folder(root, f"{_BALANCED}, {_EVAL} and the clips")
    if labels is not None and not isinstance(labels, (str, os.PathLike)):
        raise CorpusError(f"labels given as names for {root}, whose lists have mids; give {LABELS}, which has both")
    if labels is None and not (root / LABELS).is_file():
        raise CorpusError(
            f"{root / LABELS}: cannot be read (no such file); the lists have mids, and a checkpoint's label map has "
            "only names: put the file there, or say where it is by --label-file (labels=)"
        )
    names, ids = read_labels(Path(labels) if labels is not None else root / LABELS)
    rows = {
        split: [row for table in tables for row in _read_segments(root / table, ids)]
        for split, tables in _TABLES[subset].items()
    }
    files = files_by_stem(root)
    clips = {
        split: [Clip(ytid, _find(files, ytid, start, end), classes) for ytid, start, end, classes in listed]
        for split, listed in rows.items()
    }
    return build_corpus(clips, names, root, multi_label=True)


def _load_copy(hub_id: str, streaming: bool, subset: str, labels: Any) -> Corpus | StreamingCorpus:
    if labels is None:
        raise CorpusError(
            f"{hub_id}: a Hub copy has no list of the classes; give labels={LABELS} (--label-file), or their names in "
            "order (--model, a checkpoint that knows them)"
        )
    if isinstance(labels, (str, os.PathLike)):
        column, (names, ids) = "labels", read_labels(Path(labels))
    else:
        column, names = "human_labels", list(labels)
        ids = {name: index for index, name in enumerate(names)}
    columns = ("video_id", "audio", column)
    copy = load_hub(hub_id, columns, config=subset, streaming=streaming)
    splits: dict[str, Any] = {}
    missing = {}
    for split, known in _SPLIT_NAMES.items():
        found = [name for name in known if name in copy]
        if not found:
            raise CorpusError(f"{hub_id}: splits {', '.join(copy)}; give a copy that has {' or '.join(known)}")
        whole = load_hub_splits(hub_id, found, columns, subset) if streaming and split != "train" else copy
        parts = [whole[name] for name in found]
        data = concatenate_datasets([part.select_columns(list(columns)) for part in parts])
        data = data.rename_columns({"video_id": "id"} | ({column: "labels"} if column != "labels" else {}))
        splits[split] = replace_labels(data, ids, names)
        sizes = [_size(part) for part in parts]
        if None not in sizes:
            published = sum(_SEGMENTS[table] for table in _TABLES[subset][split])
            missing[split] = max(0, published - sum(size or 0 for size in sizes))
    return StreamingCorpus(splits, missing) if streaming else Corpus(splits, missing)


def _size(data: Dataset | IterableDataset) -> int | None:
    """The number of rows; None for a stream that does not say."""
    if isinstance(data, Dataset):
        return len(data)
    split = (data.info.splits or {}).get(str(data.split))
    return split.num_examples if split else None


def read_labels(file: Path) -> tuple[list[str], dict[str, int]]:
    """Display names of `class_labels_indices.csv` in the order of `index`, and the id of each mid."""
    rows = [row for _, row in read_table(file, ("index", "mid", "display_name"))]
    try:
        rows.sort(key=lambda row: int(row["index"]))
        numbered = [int(row["index"]) for row in rows] == list(range(len(rows)))
    except ValueError:
        numbered = False
    names, ids = [row["display_name"] for row in rows], {row["mid"]: index for index, row in enumerate(rows)}
    if not rows or not numbered or len(set(names)) < len(rows) or len(ids) < len(rows):
        raise CorpusError(f"{file}: no list of classes numbered from 0, each with its own mid and name; give {LABELS}")
    return names, ids


def _read_segments(file: Path, ids: dict[str, int]) -> Iterator[tuple[str, float, float, list[int]]]:
    """YouTube id, start and end in seconds and classes of each segment."""
    reader = csv.reader(io.StringIO(read_text(file), newline=""), skipinitialspace=True)
    try:
        for row in reader:
            if not row or row[0].startswith("#"):
                continue
            where = f"{file}, line {reader.line_num}"
            try:
                ytid, start, end, mids = row
                yield ytid, float(start), float(end), [ids[mid.strip()] for mid in mids.split(",")]
            except KeyError as error:
                raise CorpusError(f"{where}: unknown label {error.args[0]!r}; give {LABELS} with this mid") from None
            except ValueError:
                raise CorpusError(
                    f'{where}: {",".join(row)[:80]!r} is not YTID, start, end, "mid,mid"; fetch the official list'
                ) from None
    except csv.Error as error:
        raise CorpusError(f"{file}: no csv ({error}); fetch the official list") from None


def _find(files: dict[str, Path], ytid: str, start: float, end: float) -> Path | None:
    return next((files[stem] for stem in _stems(ytid, start, end) if stem in files), None)


def _stems(ytid: str, start: float, end: float) -> Iterator[str]:
    """The names that a segment's clip goes by."""
    for prefix in ("", "Y"):
        yield prefix + ytid
        for form, scale in (("{:.3f}", 1), ("{:.0f}", 1000), ("{:.1f}", 1), ("{:g}", 1)):
            first, last = form.format(scale * start), form.format(scale * end)
            yield from (f"{prefix}{ytid}_{first}", f"{prefix}{ytid}_{first}_{last}")
