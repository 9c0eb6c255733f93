"""A report for each row of a score table, and thresholds for the checkpoint that was scored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import ConcatDataset, Subset

from ..corpora import Corpus, is_multi_label
from ..reports.measures import best_thresholds
from ..reports.of_model import write_model_report
from ..reports.report import PAGE
from ..tagging.activation import activated
from ..training.reporting import keep_thresholds, tuned_on
from .sweep import Cell


def write_reports(
    cells: Sequence[Cell], corpora: Mapping[int | None, Corpus], split: str, stem: Path, facts: Mapping[str, Any]
) -> list[Path]:
    """Write a folder for each cell: beside the table, and called by it.

    Args:
        cells: Scored.
        corpora: By fold.
        split: That was scored.
        stem: Of the table's files.
        facts: That the table was written with.

    Returns:
        The pages.
    """
    pages: list[Path] = []
    for cell in cells:
        rows: Any = ConcatDataset([Subset(corpora[fold][split], own.tolist()) for fold, own in cell.clips.items()])
        names = [corpora[fold][split]["id"][clip] for fold, own in cell.clips.items() for clip in own.tolist()]
        told = {
            "corpus": f"{facts['title']}, split {split}",
            "r": f"{cell.tome_r} ({cell.schedule})" if cell.tome_r else "0",
            "computed in": facts["dtype"],
            "thresholds": tuned_on(cell.config, split),
            "left out": ", ".join(f"{count} {why}" for why, count in _left_out(cell, facts).items() if count),
        }
        place = f"{stem.name}-report"
        if len(cells) > 1:
            named = f"r{cell.tome_r} {cell.schedule if cell.tome_r else ''}"
            if len({one.method.name for one in cells}) > 1:
                named += f" {cell.method.name}"
            place += "-" + re.sub(r"[\W_]+", "-", named.lower()).strip("-")
        if stem.parent / place / PAGE in pages:  # of names that differ in signs alone
            place += f"-{len(pages) + 1}"
        pages.append(
            write_model_report(
                stem.parent / place,
                cell.config,
                "softmax" if cell.softmax else "sigmoid",
                cell.predictions.logits,
                cell.predictions.targets,
                is_multi_label(next(iter(corpora.values()))),
                rows,
                names,
                f"{facts['checkpoints'][cell.method.name]} on {facts['title']}",
                told,
            )
        )
    return pages


def _left_out(cell: Cell, facts: Mapping[str, Any]) -> dict[str, int]:
    return {"unreadable": cell.predictions.unreadable, "missing": facts["missing"]}


def tune_thresholds(cells: Sequence[Cell], checkpoint: str, split: str) -> list[float]:
    """Write the thresholds with the best F1 on the clips that were scored into a checkpoint's config.json.

    The cells' config has them, too, for the reports.

    Args:
        cells: That checkpoint's; the one at its own r counts, or else the first.
        checkpoint: Its folder.
        split: That was scored.

    Raises:
        ValueError: It is no folder, or gives one label for each clip.
    """
    if not Path(checkpoint).is_dir():
        raise ValueError(f"--tune-thresholds writes into a checkpoint's folder, and {checkpoint} is none")
    cell = next((one for one in cells if one.tome_r == one.config.tome_r), cells[0])
    if cell.softmax:
        raise ValueError(f"--tune-thresholds is for models that give any number of labels, and {checkpoint} gives one")
    scores = activated(torch.from_numpy(cell.predictions.logits).double(), "sigmoid").numpy()
    thresholds = best_thresholds(cell.predictions.targets, scores)
    keep_thresholds(Path(checkpoint), thresholds, split)
    cell.config.thresholds, cell.config.thresholds_split = thresholds, split
    return thresholds
