"""What is known of a checkpoint: its config, and the results files beside it. A card says nothing else in numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..loading.places import is_here
from ..loading.saved_weights import count_parameters
from ..model.feature_extraction_fastast import HOP_SECONDS
from ..tagging.tagger import BUNDLED_CHECKPOINT
from .card_schema import CONFIG, EXTRACTOR, RESULTS, check, check_evaluation, check_training
from .local_paths import without_folders
from .same_weights import check_results

TABLES = "results"  # the folder of what `fastast evaluate` wrote


@dataclass(frozen=True)
class CardFacts:
    """The files of a checkpoint's folder that a card is made of.

    Attributes:
        name: Of the folder.
        config: `config.json`.
        extractor: `preprocessor_config.json`.
        training: `results.json` of the training run; empty where there is none.
        tables: What `fastast evaluate` wrote into `results/`, by file name.
        parameters: Their number, from the files of weights.
        weights: Their digest, by which the rows of the tables that are theirs are known; empty where no file has one.
        bundled: Whether it is the one that comes with the package, which no name loads.
    """

    name: str
    config: dict[str, Any]
    extractor: dict[str, Any]
    training: dict[str, Any]
    tables: dict[str, dict[str, Any]]
    parameters: int
    weights: str = ""
    bundled: bool = False

    @classmethod
    def read(cls, folder: Path) -> CardFacts:
        """Read a checkpoint's folder.

        Raises:
            OSError: A file of a checkpoint is not there.
            ValueError: A file is not JSON, or lacks what a card says of it; the message names file and key. Or it has
                results of other weights.
        """
        tables = {path.name: without_folders(read_json(path)) for path in sorted((folder / TABLES).glob("[!.]*.json"))}
        for name, table in tables.items():
            check_evaluation(folder / TABLES / name, table)
        training = read_json(folder / RESULTS) if (folder / RESULTS).is_file() else {}
        if training:
            check_training(folder / RESULTS, training)
        results = {RESULTS: training} | {f"{TABLES}/{name}": table for name, table in tables.items()}
        config, extractor = read_json(folder / "config.json"), read_json(folder / "preprocessor_config.json")
        check(folder / "config.json", config, CONFIG)
        check(folder / "preprocessor_config.json", extractor, EXTRACTOR)
        return cls(
            name=folder.resolve().name,
            config=config,
            extractor=extractor,
            training=without_folders(training),
            tables=tables,
            parameters=count_parameters(folder),
            weights=check_results(folder, results),
            bundled=folder.resolve() == BUNDLED_CHECKPOINT.resolve(),
        )

    @property
    def started_here(self) -> bool:
        """Whether training began from a folder: as the run wrote down or, of an older one, as it looks now."""
        model = self.settings.get("model")
        return "model" in self.training["local"] if "local" in self.training else is_here(model)

    @property
    def settings(self) -> dict[str, Any]:
        """Of the training run."""
        return self.training.get("settings", {})


def read_json(path: Path) -> dict[str, Any]:
    """A file's content.

    Raises:
        OSError: No such file.
        ValueError: It is not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: give a folder that save_pretrained or a training run wrote")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): write it anew") from error


def seconds_of(frames: int) -> float:
    """How long so many frames of the front end are.

    Example:
        >>> seconds_of(1024)
        10.24
    """
    return frames * HOP_SECONDS
