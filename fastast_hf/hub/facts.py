"""What is known of a checkpoint: its config, and the results files beside it. A card says nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

from ..loading.places import is_here
from ..loading.saved_weights import count_parameters, digest_of_folder
from ..model.feature_extraction_fastast import HOP_SECONDS
from ..tagging.tagger import BUNDLED_CHECKPOINT

RESULTS = "results.json"  # of the training run
TABLES = "results"  # the folder of what `fastast evaluate` wrote
METRICS = {"accuracy": "accuracy", "mean_average_precision": "mAP"}  # as they are written
_CONFIG = ("hidden_size", "num_hidden_layers", "id2label")
_EXTRACTOR = ("max_length", "sampling_rate", "num_mel_bins", "mean", "std")
_TRAINING = ("settings", "training", "clips", "metric", "test")
_TABLE = ("corpus", "classes", "split", "dtype", "level", "batch_size", "rows")
_ROW = (
    "method",
    "schedule",
    "tome_r",
    "tokens_in",
    "tokens_out",
    "gmacs",
    "mac_ratio",
    "metric",
    "score",
    "low",
    "high",
)
# Settings of a run that a card tells of elsewhere, or that say nothing to others.
_TOLD = {"corpus", "data", "hub_id", "streaming", "extra_data", "label_file", "imagenet_weights", "model", "teacher"}
_TOLD |= {"frames", "mean", "std", "resume", "cache_teacher", "teacher_labels", "teacher_scores"}


class Corpus(NamedTuple):
    """A corpus' title, its id on the Hub, the license of all of it if there is one, and its license in words."""

    title: str
    hub_id: str | None = None
    license: str | None = None
    terms: str | None = None


CORPORA = {
    "esc50": Corpus("ESC-50", "ashraq/esc50", "cc-by-nc-3.0", "cc-by-nc-3.0, not for commercial use"),
    "speech_commands": Corpus("Speech Commands V2", "google/speech_commands", "cc-by-4.0", "cc-by-4.0"),
    "audioset": Corpus("AudioSet", "agkphysics/AudioSet", None, "cc-by-4.0 for the labels, not for the clips"),
}


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of.

    Attributes:
        place: What loads the checkpoint: `USER/NAME`, or a folder's name.
        license: That is shown.
        config: `config.json`.
        extractor: `preprocessor_config.json`.
        training: `results.json` of the training run; empty where there is none.
        tables: What `fastast evaluate` wrote into `results/`, by file name.
        parameters: Their number.
        weights: Their digest, by which rows of tables are known to be theirs; empty where no file has one.
        bundled: Whether it is the checkpoint that comes with the package, which no name loads.
        recipe: The name of the recipe that is to make the checkpoint; None for one that is there.
        settings: Of the recipe, or of the training run.
    """

    place: str
    license: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    extractor: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    parameters: int = 0
    weights: str = ""
    bundled: bool = False
    recipe: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, repo_id: str | None = None, license_id: str | None = None) -> CardFacts:
        """The facts of a checkpoint's folder.

        Raises:
            OSError: A file of a checkpoint is not there.
            ValueError: A file is not JSON, lacks something, or holds results of other weights; the message names it.
        """
        config, extractor = read_json(folder / "config.json"), read_json(folder / "preprocessor_config.json")
        _check(folder / "config.json", config, _CONFIG)
        _check(folder / "preprocessor_config.json", extractor, _EXTRACTOR)
        training = read_results(folder / RESULTS) if (folder / RESULTS).is_file() else {}
        if training:
            _check(folder / RESULTS, training, _TRAINING)
            _check(folder / RESULTS, training["settings"], ("corpus",))
            for scores in training["test"].values():
                _check(folder / RESULTS, scores, (training["metric"],))
        tables = {path.name: read_results(path) for path in sorted((folder / TABLES).glob("[!.]*.json"))}
        for name, table in tables.items():
            _check(folder / TABLES / name, table, _TABLE)
            for row in table["rows"]:
                _check(folder / TABLES / name, row, (*_ROW, "high", "clips"))
        return cls(
            place=repo_id or folder.resolve().name,
            license=license_id,
            config=config,
            extractor=extractor,
            training=training,
            tables=tables,
            parameters=count_parameters(folder),
            weights=check_weights(folder, {RESULTS: training} | {f"{TABLES}/{n}": t for n, t in tables.items()}),
            bundled=repo_id is None and folder.resolve() == BUNDLED_CHECKPOINT.resolve(),
            settings=training.get("settings", {}),
        )

    @property
    def title(self) -> str:
        """The name without its owner."""
        return self.place.rpartition("/")[2]

    @property
    def corpus(self) -> Corpus | None:
        """That it was trained on, or will be."""
        return corpus_of(self.settings["corpus"]) if "corpus" in self.settings else None

    @property
    def labels(self) -> list[str]:
        """In their order."""
        names = self.config.get("id2label", {})
        return [str(names[key]) for key in sorted(names, key=int)]

    @property
    def seconds(self) -> float:
        """That the model hears at a time."""
        return self.extractor["max_length"] * HOP_SECONDS

    @property
    def other_r(self) -> int:
        """An r to show how another one is chosen."""
        return 0 if merges(self.config.get("tome_r")) else 8

    @property
    def trained_r(self) -> Any:
        """The r of training: that of the settings, or what the model began with."""
        given = self.settings.get("tome_r")
        return self.config.get("tome_r", 0) if given in (None, []) else given[0] if len(given) == 1 else given

    @property
    def base_model(self) -> str | None:
        """What training began from, unless it was a folder: as the run wrote down or, of an older one, as it looks."""
        start = self.settings.get("model")
        local = "model" in self.training["local"] if "local" in self.training else is_here(start)
        return None if local else start

    @property
    def shown_settings(self) -> dict[str, Any]:
        """A recipe's, or those of a run that had an effect: `decay_start` has none without `decay`, say."""
        if self.recipe:
            return dict(self.settings)
        return {
            name: value
            for name, value in {**self.settings, **self.training.get("training", {})}.items()
            if value and value != -1 and name not in _TOLD and self.settings.get(name.partition("_")[0], True)
        }

    def own_row(self, table: Mapping[str, Any]) -> Mapping[str, Any]:
        """A table's row at the checkpoint's own r, or its first one; of several checkpoints, of this one's rows."""
        r, schedule = self.config.get("tome_r", 0), self.config.get("tome_schedule", "constant")
        rows = [row for row in table["rows"] if self.weights in row.get("weights", ())] or table["rows"]
        own = [row for row in rows if row["tome_r"] == r and (not r or row["schedule"] == schedule)]
        return (own or rows)[0]


def merges(r: Any) -> bool:
    """Whether anything is merged at this r, or list of one per layer."""
    return any(r) if isinstance(r, list) else bool(r)


def corpus_of(name: str) -> Corpus:
    """A corpus by the name that settings and tables have for it."""
    return CORPORA.get(name, Corpus(name))


def read_json(path: Path) -> dict[str, Any]:
    """A file's content.

    Raises:
        OSError: No such file.
        ValueError: It is not a JSON object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: give a folder that save_pretrained or a training run wrote")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not a JSON object ({error}): write it anew") from error


def read_results(path: Path) -> dict[str, Any]:
    """[`read_json`] of results: paths, which older versions wrote down, are cut to their last part."""
    content = read_json(path)
    for key in ("settings", "checkpoints"):
        if isinstance(content.get(key), dict):
            content[key] = {name: _last_part(value) for name, value in content[key].items()}
    return content


def check_weights(folder: Path, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Refuse results that were measured with other weights: before the model was trained again, say.

    A table may compare several checkpoints: the folder's has to be one of them. Results without a digest, written by
    hand or by an older version, are accepted. `results` has the files by their names in the folder.

    Returns:
        The digest of the folder's weights; empty where no results have one.

    Raises:
        ValueError: A file is of other weights.
    """
    own = ""
    for name, content in results.items():
        digests = {content["weights"]} if "weights" in content else set()
        digests |= {digest for row in content.get("rows", ()) for digest in row.get("weights", ())}
        own = own or (digest_of_folder(folder) if digests else "")
        if digests and own not in digests:
            again = "train" if name == RESULTS else "evaluate"
            raise ValueError(
                f"{folder / name} is of other weights than those in {folder}: {again} again, or remove it"
            )
    return own


def _check(path: Path, content: Any, keys: Iterable[str]) -> None:
    """Raise a ValueError for a file that lacks something."""
    for key in keys:
        if not isinstance(content, Mapping) or content.get(key) in (None, [], {}):
            raise ValueError(f"{path} has no {key!r}: write it anew, or remove it for a card without it")
    if "metric" in content and content["metric"] not in METRICS:
        raise ValueError(f"{path} has the metric {content['metric']!r}: one of {', '.join(METRICS)} is wanted")


def _last_part(value: Any) -> Any:
    is_path = isinstance(value, str) and re.match(r"[/\\~.]|[A-Za-z]:[/\\]", value)
    return PureWindowsPath(value).name if is_path else value
