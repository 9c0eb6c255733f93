"""Predictions of checkpoints at each r over a corpus, from which the paper's tables are made.

They are kept, one file for each checkpoint, fold, r and schedule, so that a sweep goes on where it stopped and
differences are tested on the same clips.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm

from ..corpora import Corpus, is_multi_label, label_names
from ..merging.complexity import Complexity, complexity
from ..model.configuration_fastast import FastASTConfig
from ..model.token_merging import merges_per_layer
from ..onnx.runtime import is_onnx_file
from ..tagging.pooling import pool_of
from ..tagging.score_settings import score_settings
from ..tagging.tagger import Tagger
from .predictions import Predictions, predict

# Of what scores depend on, what logits at a given r do.
STAMPED = ("weights", "dtype", "native_length", "preset", "config", "front_end")


@dataclass(frozen=True)
class Method:
    """A way of coming by a model for each r.

    Attributes:
        name: As the tables show it.
        checkpoint: A folder or Hub id; `{r}` and `{schedule}` in it are filled in. A folder that holds `fold-1` … is a
            checkpoint for each fold.
    """

    name: str
    checkpoint: str

    def folder(self, r: int | None, schedule: str, fold: int | None) -> str:
        """The checkpoint for one cell of the table."""
        place = self.checkpoint.replace("{r}", str(r)).replace("{schedule}", schedule)
        per_fold = Path(place) / f"fold-{fold}"
        return str(per_fold) if fold is not None and per_fold.is_dir() else place


# A cell of the table: method, schedule, and r, which is None for what the model or a preset merges by itself.
Planned = tuple[Method, str, int | None]


def planned(methods: Sequence[tuple[Method, Sequence[int | None]]], schedules: Sequence[str]) -> list[Planned]:
    """The cells to score: each method at its r in every schedule, and once at r = 0, where schedules agree."""
    return [
        (method, schedule, r)
        for method, r_values in methods
        for schedule in schedules
        for r in dict.fromkeys(r_values)
        if r or schedule == schedules[0]
    ]


@dataclass(frozen=True)
class Cell:
    """A method at one r and schedule: what it predicted for the clips of all folds together, and what it costs.

    Attributes:
        method: Whose checkpoints were scored.
        schedule: How merges are spread; `"per layer"` where each layer has a number of its own.
        tome_r: Tokens merged in every layer, on average over the layers.
        predictions: Of all folds together.
        cost: At the model's full length.
        softmax: Whether scores are made by softmax; else by sigmoid.
        config: Of the first fold's model.
        clips: The clips of each fold that were scored, by their places in the split.
        weights: The digests of its checkpoints' weights, one for each fold that has its own; none of an exported file.
    """

    method: Method
    schedule: str
    tome_r: int
    predictions: Predictions
    cost: Complexity
    softmax: bool
    config: FastASTConfig
    clips: Mapping[int | None, np.ndarray] = field(default_factory=dict)
    weights: tuple[str, ...] = ()


@dataclass
class Sweep:
    """What to score, where predictions are kept, and how to compute.

    Args:
        corpora: The corpus for each fold, by fold; `{None: corpus}` of a corpus without.
        methods: Whose checkpoints to score, each with the r to score them at; None for what they merge by themselves.
        folder: For predictions and results.
        split: Of the corpus.
        batch_size: Clips at once.
        device: `"cpu"`, `"cuda"` …; None for a GPU where there is one.
        dtype: As [`Tagger`] takes it.
        preset: As [`Tagger`] takes it.
        workers: Threads that read clips; None for one for each core.
        pool: How the windows of clips longer than a model's input are scored together, as of [`pooled`]; None for the
            checkpoint's own.
    """

    corpora: dict[int | None, Corpus]
    methods: Sequence[tuple[Method, Sequence[int | None]]]
    folder: Path
    split: str = "test"
    batch_size: int = 16
    device: str | None = None
    dtype: str | None = None
    preset: str = "exact"
    workers: int | None = None
    pool: str | None = None
    circumstances: dict[str, Any] = field(default_factory=dict)  # what it was computed with, once it is
    _configs: dict[str, FastASTConfig] = field(default_factory=dict, repr=False)
    _merging: dict[str, tuple[int, str, list[int]]] = field(default_factory=dict, repr=False)
    _activations: dict[str, str] = field(default_factory=dict, repr=False)
    _weights: dict[str, str] = field(default_factory=dict, repr=False)
    _clips: dict[int | None, str] = field(default_factory=dict, repr=False)  # stamps of the clips of each fold

    def cells(self, schedules: Sequence[str]) -> list[Cell]:
        """Predict with every method at its r and every schedule; what was predicted before is read back.

        Raises:
            ValueError: There is no such split, or a checkpoint does not fit the corpus, or is no AST.
            OSError: No such checkpoint.
        """
        for corpus in self.corpora.values():
            if self.split not in corpus:
                raise ValueError(f"there is no split {self.split!r} in this corpus: give one of {', '.join(corpus)}")
        cells = planned(self.methods, schedules)
        tasks = [(method.folder(r, plan, fold), fold, r, plan) for method, plan, r in cells for fold in self.corpora]
        order = sorted(range(len(tasks)), key=lambda index: tasks[index][0])  # each checkpoint is loaded once
        parts, loaded = {}, None
        for index in tqdm(order, unit="part", leave=False, disable=None):
            checkpoint, *place = tasks[index]
            if loaded is None or loaded[0] != checkpoint:
                loaded = (checkpoint, *self._load(checkpoint))
            parts[index] = self._predictions(*loaded[1:], *place)
        folds, made = len(self.corpora), []
        for n, (method, schedule, r) in enumerate(cells):
            own = range(n * folds, (n + 1) * folds)
            checkpoints = [tasks[index][0] for index in own]
            config = self._configs[checkpoints[0]]
            shown, spread, merges = self._merging[checkpoints[0]]
            if r is not None:
                shown, spread, merges = r, schedule, merges_per_layer(r, config.num_hidden_layers, schedule)
            made.append(
                Cell(
                    method,
                    spread,
                    shown,
                    _joined([parts[index] for index in own]),
                    complexity(config, merges),
                    self._activations[checkpoints[0]] != "sigmoid",
                    config,
                    {tasks[index][1]: parts[index].clips for index in own},
                    tuple(dict.fromkeys(self._weights[one] for one in checkpoints if one in self._weights)),
                )
            )
        return made

    @property
    def multi_label(self) -> bool:
        """Whether a clip of the corpus may have several labels."""
        return is_multi_label(next(iter(self.corpora.values())))

    @property
    def label_names(self) -> list[str]:
        """The corpus' classes."""
        return label_names(next(iter(self.corpora.values())))

    def _load(self, checkpoint: str) -> tuple[Tagger, str]:
        """A checkpoint, and a stamp that changes with its weights, front end and all else that logits depend on."""
        tagger = Tagger(
            checkpoint, batch_size=self.batch_size, device=self.device, dtype=self.dtype, preset=self.preset
        )
        config, exported = tagger.model.config, is_onnx_file(checkpoint)
        self._configs[checkpoint], self._activations[checkpoint] = config, tagger.activation
        merges = tagger.merges()
        schedule = "per layer" if isinstance(config.tome_r, list) else tagger.schedule
        self._merging[checkpoint] = round(sum(merges) / len(merges)), schedule, merges
        settings = score_settings(tagger, checkpoint)
        if not exported:
            self._weights[checkpoint] = settings["weights"]
        if not self.circumstances:
            self.circumstances = {
                "device": str(tagger.device),
                "dtype": "what it was exported in" if exported else tagger.dtype_name,
                "preset": tagger.preset,
                "attention": None if exported else config._attn_implementation,
            }
        stamp = {name: settings[name] for name in STAMPED}
        return tagger, json.dumps(stamp, sort_keys=True)

    def _predictions(self, tagger: Tagger, stamp: str, fold: int | None, r: int | None, schedule: str) -> Predictions:
        """Of one checkpoint on one fold, from the file where they are kept, or computed and kept."""
        pool = self.pool or pool_of(tagger.model.config)
        merging = [r, schedule if r else ""] if r is not None else tagger.merges()
        key = json.dumps([stamp, fold, merging, self.split, self._stamp_of_clips(fold), pool])
        path = self.folder / "predictions" / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.safetensors"
        try:
            kept = load_file(path)
            return Predictions(kept["logits"], kept["targets"], kept["clips"], int(kept["unreadable"][0]))
        except (OSError, SafetensorError):
            pass  # not there, or not whole
        merges = None if r is None else merges_per_layer(r, tagger.model.config.num_hidden_layers, schedule)
        predictions = predict(tagger, self.corpora[fold], self.split, merges, self.workers, pool)
        if predictions.unreadable:
            return predictions  # not kept: the clips may be mended
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(asdict(predictions) | {"unreadable": np.array([predictions.unreadable])}, partial)
        partial.replace(path)
        return predictions

    def _stamp_of_clips(self, fold: int | None) -> str:
        """Of the clips' rows, and the sizes and times of their files."""
        if fold not in self._clips:
            stamp = hashlib.sha256()
            for row in self.corpora[fold][self.split]:
                told = {name: value for name, value in row.items() if name != "audio"}
                stamp.update(json.dumps([told, *_of_sound(row["audio"])], default=str).encode())
            self._clips[fold] = stamp.hexdigest()
        return self._clips[fold]


def _of_sound(audio: Mapping[str, Any]) -> list[Any]:
    """A digest of bytes; of a file, its place, size and time of change."""
    if audio["bytes"] is not None:
        return [hashlib.sha256(audio["bytes"]).hexdigest()]
    place = Path(audio["path"]).absolute()
    try:
        found = place.stat()
    except OSError:  # which is told when it is read
        return [str(place)]
    return [str(place), found.st_size, found.st_mtime_ns]


def _joined(parts: Sequence[Predictions]) -> Predictions:
    """Those of all folds."""
    logits, targets, clips = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("logits", "targets", "clips")
    )
    return Predictions(logits, targets, clips, sum(part.unreadable for part in parts))
