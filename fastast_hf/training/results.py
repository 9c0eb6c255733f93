"""What is written down of a run: its settings, its scores, and the mean over folds."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import transformers

from ..hub.facts import RESULTS
from ..loading.places import is_here, short_name
from .arguments import CORPORA_OF

SPLIT = "split.csv"  # which clip of one's own data is where
_ENDS = 2**16  # bytes at either end of a file, which with its size tell it from others
# Settings that may name files and folders.
PLACES = (
    "model",
    "teacher",
    "teacher_labels",
    "teacher_scores",
    "imagenet_weights",
    "data",
    "extra_data",
    "audio_folder",
    "label_file",
)


def written_settings(settings: Sequence[Any]) -> dict[str, Any]:
    """What results tell of a run's settings, but for transformers'; to be called before it begins.

    Args:
        settings: Dataclasses.

    Returns:
        `settings`, and in `local` those of them that name a file or folder of this machine, by its last part alone.
    """
    parts = [part for part in settings if not isinstance(part, transformers.TrainingArguments)]
    written = {item.name: getattr(part, item.name) for part in parts for item in fields(part) if item.init}
    strange = [key for key, corpora in CORPORA_OF.items() if written.get("corpus") not in corpora]
    kept = {key: value for key, value in written.items() if key not in strange}
    local = [key for key in PLACES if is_here(kept.get(key))]
    return {"settings": kept | {key: short_name(kept[key]) for key in local}, "local": local}


def check_fold(checkpoint: str, fold: int | None) -> None:
    """Raise a ValueError for a checkpoint that was trained on what it would be tested on, as its results say."""
    results = Path(checkpoint) / RESULTS
    if fold is None or not results.is_file():
        return
    tested_on = json.loads(results.read_text()).get("fold")
    if tested_on is not None and tested_on != fold:
        raise ValueError(
            f"{checkpoint} was trained on the clips of fold {fold}, and kept from those of fold {tested_on}: give "
            f"--fold {tested_on}, or a folder of fold-1 to fold-5 with a checkpoint for each"
        )


def clips_trained_on(checkpoint: str) -> dict[str, str]:
    """The split of each clip, by its digest, that a checkpoint was trained (`train`) or chosen (`validation`) on.

    Empty where its folder has no `split.csv`. Of one without digests, a clip's name stands for them.
    """
    split = Path(checkpoint) / SPLIT
    if not split.is_file():
        return {}
    with split.open(encoding="utf-8", newline="") as opened:
        return {
            row.get("digest") or row["file"]: row["split"] for row in csv.DictReader(opened) if row["split"] != "test"
        }


def write_split(path: Path, corpus: Mapping[str, Any]) -> None:
    """Write which clip is in which split: a csv of `file`, as the corpus names it, `split` and `digest`."""
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(("file", "split", "digest"))
        writer.writerows((row["id"], split, clip_digest(row)) for split, rows in corpus.items() for row in rows)


def clip_digest(row: Mapping[str, Any]) -> str:
    """What tells a clip from others wherever its file lies; empty of a file that can't be opened."""
    audio = row["audio"]
    try:
        if audio["bytes"] is not None:
            content = len(audio["bytes"]), audio["bytes"][:_ENDS], audio["bytes"][-_ENDS:]
        else:
            with Path(audio["path"]).open("rb") as opened:
                size = opened.seek(0, 2)
                opened.seek(0)
                head = opened.read(_ENDS)
                opened.seek(max(0, size - _ENDS))
                content = size, head, opened.read()
    except OSError:
        return ""
    return hashlib.sha256(repr((*content, row.get("start"), row.get("end"))).encode()).hexdigest()[:16]


def describe(score: dict[str, float]) -> str:
    """Scores on a line, by the names that people know."""
    known = {"mean_average_precision": "mAP", "roc_auc": "ROC AUC", "d_prime": "d'"}
    return ", ".join(
        f"{known.get(key, key)} {value:.4g}" for key, value in score.items() if key not in ("epoch", "loss")
    )


def summarise_folds(root: Path, folds: Sequence[int | None]) -> dict[str, Any]:
    """Mean over the folds at the epoch that is best for their mean (AST's protocol), and at the last.

    Writes `results.json` in `root` and prints a line.
    """
    runs = [json.loads((root / f"fold-{fold}" / RESULTS).read_text()) for fold in folds]
    summary: dict[str, Any] = {"metric": runs[0]["metric"], "folds": list(folds), "best": None, "last": None}
    said = []
    for name in runs[0]["test"]:
        scores = [run["test"][name][summary["metric"]] for run in runs]
        mean = sum(scores) / len(scores)
        summary[f"{name}_weights"] = {"mean": mean, "folds": scores}
        said.append(f"{mean:.4f} with the {name} weights")
    epochs = [epoch["epoch"] for epoch in runs[0]["epochs"]]
    # A fold that stopped early has no score at the epochs of the others.
    if epochs and all([epoch["epoch"] for epoch in run["epochs"]] == epochs for run in runs):
        curves = [[epoch["score"] for epoch in run["epochs"]] for run in runs]
        means = [sum(scores) / len(scores) for scores in zip(*curves, strict=True)]
        best = max(range(len(means)), key=means.__getitem__)
        summary["best"] = {"epoch": epochs[best], "mean": means[best], "folds": [curve[best] for curve in curves]}
        summary["last"] = {"epoch": epochs[-1], "mean": means[-1], "folds": [curve[-1] for curve in curves]}
        said.append(f"{means[best]:.4f} after epoch {epochs[best]:g}, the best for the mean")
    write_json(root / RESULTS, summary)
    print(f"{root}, mean of {len(folds)} folds: {summary['metric']} {', '.join(said)}")
    return summary


def write_json(path: Path, content: Any) -> None:
    """Write a file that is either whole or not there."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
