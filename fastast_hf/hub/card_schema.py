"""What a card needs of its files, so that one that is broken is named together with what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = "results.json"  # of the training run
METRICS = {"accuracy": "accuracy", "mean_average_precision": "mAP (macro)"}  # as they are written
Schema = dict[str, Any]

NUMBER, TEXT, COUNT = (int, float), str, int
CONFIG: Schema = {"hidden_size": COUNT, "num_hidden_layers": COUNT, "id2label": dict}
EXTRACTOR: Schema = {
    "max_length": COUNT,
    "sampling_rate": COUNT,
    "num_mel_bins": COUNT,
    "mean": NUMBER,
    "std": NUMBER,
}
TRAINING: Schema = {
    "settings": {"corpus": TEXT},
    "clips": dict,
    "training": {
        "learning_rate": NUMBER,
        "num_train_epochs": NUMBER,
        "max_steps": COUNT,
        "per_device_train_batch_size": COUNT,
        "gradient_accumulation_steps": COUNT,
        "weight_decay": NUMBER,
        "seed": COUNT,
        "bf16": bool,
        "fp16": bool,
        "world_size": COUNT,
    },
    "metric": METRICS,
    "test": dict,
}
WRITTEN_SINCE: Schema = {"weights": TEXT, "local": list}  # which older runs lack
EVALUATION: Schema = {
    "corpus": TEXT,
    "classes": COUNT,
    "split": TEXT,
    "dtype": TEXT,
    "level": NUMBER,
    "batch_size": COUNT,
    "rows": list,
}
ROW: Schema = {
    "method": TEXT,
    "schedule": TEXT,
    "tome_r": COUNT,
    "tokens_in": COUNT,
    "tokens_out": COUNT,
    "gmacs": NUMBER,
    "mac_ratio": NUMBER,
    "metric": METRICS,
    "score": NUMBER,
    "low": NUMBER,
    "high": NUMBER,
    "clips": COUNT,
}
WANTED = {NUMBER: "a number", TEXT: "a text", COUNT: "a whole number", bool: "true or false", dict: "an object"}


def check_training(path: Path, content: Any) -> None:
    """Raise a ValueError that names what a training run's results lack."""
    check(path, content, TRAINING | {key: kind for key, kind in WRITTEN_SINCE.items() if key in content})
    for stage in content.get("earlier_stages") or []:
        check(path, stage, {"clips": {"train": COUNT}}, "earlier_stages.")
    if not content["test"]:
        raise ValueError(f"{path}: 'test' is empty: give the results of a run that was tested")
    for weights, score in content["test"].items():
        check(path, score, {content["metric"]: NUMBER}, f"test.{weights}.")


def check_evaluation(path: Path, content: Any) -> None:
    """Raise a ValueError that names what a table of `fastast evaluate` lacks."""
    check(path, content, EVALUATION)
    if not content["rows"]:
        raise ValueError(f"{path} has no rows: give what fastast evaluate wrote")
    for index, row in enumerate(content["rows"]):
        check(path, row, ROW | ({"weights": list} if "weights" in row else {}), f"rows.{index}.")


def check(path: Path, content: Any, schema: Schema, within: str = "") -> None:
    """Raise a ValueError for the first key that is not there, or is something else.

    Args:
        path: Of the file, for the error.
        content: Of the file, or of the part of it that `within` names.
        schema: A type, a tuple of types, the choices, or another schema by key.
        within: Keys above it, each with a dot behind.
    """
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: {within.rstrip('.') or 'its content'} is no object: write the file anew")
    for key, wanted in schema.items():
        value, name = content.get(key), repr(f"{within}{key}")
        if key not in content:
            raise ValueError(f"{path} has no {name}: write it anew, or remove it for a card without it")
        if wanted is METRICS:
            if value not in METRICS:
                raise ValueError(f"{path}: {name} is {value!r}: one of {', '.join(METRICS)} is wanted")
        elif isinstance(wanted, dict):
            check(path, value, wanted, f"{within}{key}.")
        elif not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            what = WANTED.get(wanted, "a list")
            raise ValueError(f"{path}: {name} is {value!r}: {what} is wanted; write the file anew, or remove it")
