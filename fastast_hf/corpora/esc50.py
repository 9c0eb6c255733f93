"""ESC-50: 2,000 environmental recordings of 5 s in 50 classes and five folds (Piczak, ACM Multimedia 2015)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset

from .corpus import Clip, Corpus, CorpusError, build_corpus, replace_labels
from .sources import check_folder, files_by_stem, load_hub, read_table

FOLDS = (1, 2, 3, 4, 5)
_COLUMNS = ("filename", "fold", "target", "category")


def load_esc50(root: Path | None = None, hub_id: str | None = None, fold: int | None = None) -> Corpus:
    """Load ESC-50, or a subset in its layout such as ESC-10.

    Classes are numbered by the official `target`; where a subset leaves gaps in it they are closed. A clip's `id` is
    its file name without extension, and any audio extension will do.

    Args:
        root: The official folder, with `audio/` and `meta/esc50.csv`.
        hub_id: A parquet copy with one split and the columns of the csv, such as `ashraq/esc50`. It is downloaded
            whole even for streaming, as it takes all rows to know the classes.
        fold: 1 to 5: that fold is `test`, the others are `train`. None: all clips are `train`.

    Raises:
        CorpusError: If the fold is not among these, or the folder or the copy is not as described.
    """
    if fold is not None and (isinstance(fold, bool) or fold not in FOLDS):
        raise CorpusError(f"fold {fold!r}; give one of {', '.join(map(str, FOLDS))}, or None for all clips")
    if hub_id is not None:
        return _load_copy(hub_id, fold)
    assert root is not None
    check_folder(root, "audio/ and meta/esc50.csv")
    if not (root / "audio").is_dir():
        raise CorpusError(f"{root}: has no folder audio/; give the folder that holds audio/ and meta/esc50.csv")
    table = root / "meta" / "esc50.csv"
    rows = [_parse(where, row) for where, row in read_table(table, _COLUMNS)]
    names, ids = _classes(str(table), rows)
    files = files_by_stem(root / "audio")
    splits: dict[str, list[Clip]] = {split: [] for split in _splits(str(table), rows, fold)}
    for row in rows:
        stem = Path(row["filename"]).stem
        splits[_split_of(row, fold)].append(Clip(stem, files.get(stem), ids[row["target"]]))
    return build_corpus(splits, names, root / "audio")


def _load_copy(hub_id: str, fold: int | None) -> Corpus:
    copy = load_hub(hub_id, (*_COLUMNS, "audio"))
    if list(copy) != ["train"]:
        raise CorpusError(f"{hub_id}: splits {', '.join(copy)}; give a copy of ESC-50 whose one split is train")
    data: Dataset = copy["train"]
    listed = data.select_columns(list(_COLUMNS))  # without the audio, which takes long to read
    rows = [_parse(f"{hub_id}, row {index}", row) for index, row in enumerate(listed)]
    names, ids = _classes(hub_id, rows)
    data = data.select_columns(["audio", "target"]).rename_column("target", "label")
    data = data.add_column("id", [Path(row["filename"]).stem for row in rows])
    data = replace_labels(data.select_columns(["id", "audio", "label"]), ids, names)
    splits = {
        split: data.select([i for i, row in enumerate(rows) if _split_of(row, fold) == split])
        for split in _splits(hub_id, rows, fold)
    }
    return Corpus(splits, dict.fromkeys(splits, 0))


def _parse(where: str, row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        parsed = {**row, "fold": int(row["fold"]), "target": int(row["target"])}
    except (TypeError, ValueError):
        raise CorpusError(
            f"{where}: fold {row['fold']!r} and target {row['target']!r}; both must be whole numbers, mend the row"
        ) from None
    if parsed["fold"] not in FOLDS:
        raise CorpusError(f"{where}: fold {parsed['fold']}; ESC-50 has the folds 1 to 5, mend the row")
    return parsed


def _classes(source: str, rows: Iterable[Mapping[str, Any]]) -> tuple[list[str], dict[int, int]]:
    """Class names in the order of the targets, and the id of each target."""
    pairs = sorted({(row["target"], row["category"]) for row in rows})
    targets, names = [target for target, _ in pairs], [name for _, name in pairs]
    if not pairs:
        raise CorpusError(f"{source}: no rows; give the list of ESC-50's clips")
    if len(set(targets)) < len(pairs) or len(set(names)) < len(pairs):
        raise CorpusError(
            f"{source}: target and category do not belong to each other one to one; fetch the list again"
        )
    return names, {target: index for index, target in enumerate(targets)}


def _splits(source: str, rows: Iterable[Mapping[str, Any]], fold: int | None) -> list[str]:
    seen: dict[str, int] = {}
    for row in rows:
        if row["filename"] in seen:
            folds_of = f"{seen[row['filename']]} and {row['fold']}"
            raise CorpusError(f"{source}: {row['filename']} is listed twice, in folds {folds_of}; list each clip once")
        seen[row["filename"]] = row["fold"]
    folds = sorted({row["fold"] for row in rows})
    if fold is not None and (fold not in folds or len(folds) == 1):
        raise CorpusError(
            f"{source}: fold {fold} to test on and folds {', '.join(map(str, folds))} listed; give a listed fold and "
            "a corpus with others to train on"
        )
    return ["train"] if fold is None else ["train", "test"]


def _split_of(row: Mapping[str, Any], fold: int | None) -> str:
    return "test" if row["fold"] == fold else "train"
