"""What a run ends with: its predictions on the test clips, thresholds for several labels, and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Subset

from ..corpora import is_multi_label
from ..hub.facts import read_json
from ..metrics import UNREADABLE
from ..reports.measures import best_thresholds
from ..reports.of_model import write_model_report
from ..tagging.activation import activated, activation_of
from .inputs.batches import ClipDataset
from .results import write_json
from .trainer import FastASTTrainer

REPORT = "report"  # a folder in that of the run
CHOSEN_ON_TEST = "the best on these test clips, for there are no others: the scores are too good"


class Tested(NamedTuple):
    """Logits and targets (N, classes) of the clips that could be read, their places among all, and the scores."""

    clips: ClipDataset
    logits: np.ndarray
    targets: np.ndarray
    places: np.ndarray
    scores: dict[str, float]


def predict(trainer: FastASTTrainer, clips: Any, name: str = "test") -> Tested:
    """What the model as it is says of clips; of its scores, the timings are left out."""
    output = trainer.predict(clips, metric_key_prefix=name)
    trainer.log(output.metrics or {})
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    targets = np.asarray(output.label_ids)
    places = np.flatnonzero((targets != UNREADABLE).any(axis=1))
    scores = {
        key.removeprefix(f"{name}_"): value
        for key, value in (output.metrics or {}).items()
        if not any(part in key for part in ("runtime", "per_second", "jit"))
    }
    return Tested(clips, np.asarray(logits, dtype=np.float32)[places], targets[places], places, scores)


def tune_thresholds(trainer: FastASTTrainer, tested: Tested, folder: Path) -> None:
    """Put the thresholds with the best F1 on the validation clips into the config of a model for several labels.

    Args:
        trainer: Whose model is trained.
        tested: What it says of the test clips, which are the validation clips where there are no others.
        folder: The run's, where the config is saved.
    """
    if not is_multi_label(tested.clips.split) or trainer.eval_dataset is trainer.test_dataset:
        return
    known = tested if trainer.test_dataset is None else predict(trainer, trainer.eval_dataset, "validation")
    config = config_of(trainer)
    scores = activated(torch.from_numpy(known.logits).double(), activation_of(config))
    config.thresholds, config.thresholds_split = best_thresholds(known.targets, scores.numpy()), "validation"
    if trainer.args.should_save:
        keep_thresholds(folder, config.thresholds, config.thresholds_split)


def keep_thresholds(checkpoint: Path, thresholds: Sequence[float], split: str) -> None:
    """Write thresholds, and the split they were tuned on, into a checkpoint's config.json, in its labels' order."""
    config = checkpoint / "config.json"
    write_json(config, read_json(config) | {"thresholds": list(thresholds), "thresholds_split": split})


def tuned_on(config: Any, split: str) -> str | None:
    """What a report on a split says of where a model's thresholds come from; None where nobody knows."""
    own = getattr(config, "thresholds_split", None)
    if own is None or getattr(config, "thresholds", None) is None:
        return None
    too_good = ", which is scored here: precision, recall and F1 are too good" if own == split else ""
    return f"tuned on the {own} split{too_good}"


def write_report(trainer: FastASTTrainer, tested: Tested, folder: Path, facts: Mapping[str, Any]) -> Path:
    """Write the report on the test clips into the run's folder."""
    rows: Any = tested.clips.split
    readable: Any = Subset(rows, tested.places.tolist())
    split = "test" if trainer.test_dataset is not None else "validation"
    left_out = len(rows) - len(tested.places)
    return write_model_report(
        folder / REPORT,
        config_of(trainer),
        activation_of(config_of(trainer)),
        tested.logits,
        tested.targets,
        is_multi_label(rows),
        readable,
        [rows[place]["id"] for place in tested.places.tolist()],
        folder.resolve().name,
        {
            **facts,
            "split": split,
            "r": trainer.merging,
            "left out": f"{left_out} unreadable" if left_out else None,
            "thresholds": tuned_on(config_of(trainer), split),
            "epoch": CHOSEN_ON_TEST if chosen_on(trainer) == "test" else None,
        },
    )


def chosen_on(trainer: FastASTTrainer) -> str | None:
    """The split that the best epoch was chosen on; None where the last one is kept."""
    if not trainer.args.load_best_model_at_end:
        return None
    return "test" if trainer.eval_dataset is trainer.test_dataset else "validation"


def config_of(trainer: FastASTTrainer) -> Any:
    """That of the model, which may be wrapped."""
    return trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False).config
