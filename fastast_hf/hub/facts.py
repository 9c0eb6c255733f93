"""What is known of a checkpoint: its config, and the results files beside it. A card says nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..loading.bundled import short_name_of
from ..loading.checkpoint import check_size
from ..loading.saved_weights import digest_of_folder, tensor_sizes
from ..model.configuration_fastast import FastASTConfig
from ..model.feature_extraction_fastast import HOP_SECONDS, FastASTFeatureExtractor

RESULTS = "results.json"  # of the training run
TABLES = "results"  # the folder of what `fastast evaluate` wrote
METRICS = {"accuracy": "accuracy", "mean_average_precision": "mAP"}  # as they are written
# What a card needs of a run's results, of a table and of each of its rows.
_RUN = ("settings", "training", "clips", "metric", "test")
_TABLE = ("corpus", "classes", "split", "dtype", "level", "batch_size", "rows")
_MERGING = ("method", "schedule", "tome_r", "tokens_in", "tokens_out", "gmacs", "mac_ratio")
_ROW = (*_MERGING, "metric", "score", "low", "high", "clips")
# Settings of a run that a card tells of elsewhere, or that say nothing to others.
_TOLD = {"corpus", "data", "hub_id", "streaming", "extra_data", "label_file", "imagenet_weights", "model", "teacher"}
_TOLD |= {"audio_folder", "frames", "mean", "std", "resume", "cache_teacher", "teacher_labels", "teacher_scores"}


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
    """What a card is made of."""

    place: str  # what loads the checkpoint: `USER/NAME`, or a folder's name
    license: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)  # of the model
    extractor: Mapping[str, Any] = field(default_factory=dict)  # config of the front end
    training: Mapping[str, Any] = field(default_factory=dict)  # results of the run; empty where there are none
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of `fastast evaluate`, by file name
    parameters: int = 0  # their number
    weights: str = ""  # their digest, by which a table's rows are known to be theirs; empty where no file has one
    bundled: str = ""  # its short name, if it comes with the package
    recipe: str | None = None  # the name of the one that is to make the checkpoint; None for one that is there
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the recipe, or of the training run

    @classmethod
    def read(cls, folder: Path, repo_id: str | None = None, license_id: str | None = None) -> CardFacts:
        """The facts of a checkpoint's folder; an OSError or ValueError names the file that is not as it should be."""
        training = read_json(folder / RESULTS) if (folder / RESULTS).is_file() else {}
        if training:
            _check(folder / RESULTS, training, _RUN)
            _check(folder / RESULTS, training["settings"], ("corpus",))
            for scores in training["test"].values():
                _check(folder / RESULTS, scores, (training["metric"],))
        tables = {path.name: read_json(path) for path in sorted((folder / TABLES).glob("[!.]*.json"))}
        for name, table in tables.items():
            _check(folder / TABLES / name, table, _TABLE)
            for row in table["rows"]:
                _check(folder / TABLES / name, row, _ROW)
        config = FastASTConfig.from_pretrained(folder.resolve())
        check_size(folder, config)
        return cls(
            place=repo_id or folder.resolve().name,
            license=license_id,
            config=config.to_dict(),
            extractor=FastASTFeatureExtractor.from_dict(read_json(folder / "preprocessor_config.json")).to_dict(),
            training=training,
            tables=tables,
            parameters=sum(tensor_sizes(folder)),
            weights=check_weights(folder, {RESULTS: training} | {f"{TABLES}/{n}": t for n, t in tables.items()}),
            bundled="" if repo_id else short_name_of(folder.resolve()) or "",
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
        """The Hub's name of what training began from."""
        start = self.settings.get("model")
        local = "model" in self.training.get("local", ())
        is_name = isinstance(start, str) and re.fullmatch(r"(?!timm/)[\w.-]+/[\w.-]+", start)  # timm's are others
        return start if is_name and not local else None

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
    return CORPORA.get(name, Corpus("own data" if name in ("csv", "datasets") else name))


def read_json(path: Path) -> dict[str, Any]:
    """A file's content; an OSError where there is none, a ValueError where it is not a JSON object."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: give a folder that save_pretrained or a training run wrote")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is not a JSON object ({error}): write it anew") from error


def check_weights(folder: Path, results: Mapping[str, Mapping[str, Any]]) -> str:
    """The digest of the folder's weights, empty where no results have one; a ValueError for results of others.

    A table may compare several checkpoints: the folder's has to be one of them. Results without a digest, written by
    hand or by an older version, are accepted. `results` has the files by their names in the folder.
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
