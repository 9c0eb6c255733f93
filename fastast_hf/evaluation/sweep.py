"""Predictions of checkpoints at each r over a corpus, from which the paper's tables are made.

They are kept, one file for each checkpoint, fold, r and schedule, so that a sweep goes on where it stopped and
differences are tested on the same clips.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ..corpora import Corpus, is_multi_label, label_names, with_label_order
from ..loading.checkpoint import front_end_of, load_classifier
from ..loading.saved_weights import weights_digest
from ..merging.complexity import Complexity, complexity
from ..metrics import UNREADABLE
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..model.modeling_fastast import FastASTForAudioClassification
from ..model.token_merging import merges_per_layer
from ..tagging.pooling import pool_of, pooled_logits
from ..training.inputs.batches import ClipDataset, collate


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

    def folder(self, r: int, schedule: str, fold: int | None) -> str:
        """The checkpoint for one cell of the table."""
        place = self.checkpoint.replace("{r}", str(r)).replace("{schedule}", schedule)
        per_fold = Path(place) / f"fold-{fold}"
        return str(per_fold) if fold is not None and per_fold.is_dir() else place


Planned = tuple[Method, str, int]  # a cell of the table: method, schedule, r


def planned(methods: Sequence[tuple[Method, Sequence[int]]], schedules: Sequence[str]) -> list[Planned]:
    """The cells to score: each method at its r in every schedule, and once at r = 0, where schedules agree."""
    return [
        (method, schedule, r)
        for method, r_values in methods
        for schedule in schedules
        for r in dict.fromkeys(r_values)
        if r or schedule == schedules[0]
    ]


@dataclass(frozen=True)
class Predictions:
    """Logits and targets (N, classes) of the clips of a split, and how many clips could not be read."""

    logits: np.ndarray
    targets: np.ndarray
    unreadable: int


@dataclass(frozen=True)
class Cell:
    """A method at one r and schedule: what it predicted for the clips of all folds together, and what it costs.

    `weights` are the digests of its checkpoints' weights, one for each fold that has its own.
    """

    method: Method
    schedule: str
    tome_r: int
    predictions: Predictions
    cost: Complexity
    softmax: bool
    weights: tuple[str, ...] = ()


@dataclass
class Sweep:
    """What to score, where predictions are kept, and how to compute.

    Args:
        corpora: The corpus for each fold, by fold; `{None: corpus}` of a corpus without.
        methods: Whose checkpoints to score, each with the r to score them at.
        folder: For predictions and results.
        split: Of the corpus.
        batch_size: Clips at once.
        device: `"cpu"`, `"cuda"` …
        workers: Processes that decode.
        pool: How the windows of clips longer than a model's input are scored together, as of [`pooled`]; None for
            the checkpoint's own.
    """

    corpora: dict[int | None, Corpus]
    methods: Sequence[tuple[Method, Sequence[int]]]
    folder: Path
    split: str = "test"
    batch_size: int = 16
    device: str = "cpu"
    workers: int = 0
    pool: str | None = None
    _configs: dict[str, Any] = field(default_factory=dict, repr=False)
    _weights: dict[str, str] = field(default_factory=dict, repr=False)

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
            checkpoints = [checkpoint for checkpoint, *_ in tasks[n * folds : (n + 1) * folds]]
            config = self._configs[checkpoints[0]]
            joined = _joined([parts[n * folds + fold] for fold in range(folds)])
            softmax = config.problem_type != "multi_label_classification"
            weights = tuple(dict.fromkeys(self._weights[checkpoint] for checkpoint in checkpoints))
            made.append(Cell(method, schedule, r, joined, complexity(config, r, schedule), softmax, weights))
        return made

    @property
    def multi_label(self) -> bool:
        """Whether a clip of the corpus may have several labels."""
        return is_multi_label(next(iter(self.corpora.values())))

    @property
    def label_names(self) -> list[str]:
        """The corpus' classes."""
        return label_names(next(iter(self.corpora.values())))

    @property
    def attention(self) -> str | None:
        """Attention implementation that was scored with."""
        return next((config._attn_implementation for config in self._configs.values()), None)

    def _load(self, checkpoint: str) -> tuple[FastASTForAudioClassification, FastASTFeatureExtractor, str]:
        """Model, front end, and a stamp that changes with either."""
        model = load_classifier(checkpoint).to(self.device).eval()
        extractor = front_end_of(model.config, checkpoint)
        self._configs[checkpoint] = model.config
        self._weights[checkpoint] = weights_digest(model.state_dict().values())
        parts = (self._weights[checkpoint], extractor.to_json_string(), model.config.to_json_string())
        return model, extractor, hashlib.sha256("".join(parts).encode()).hexdigest()

    def _predictions(
        self,
        model: FastASTForAudioClassification,
        extractor: FastASTFeatureExtractor,
        stamp: str,
        fold: int | None,
        r: int,
        schedule: str,
    ) -> Predictions:
        """Of one checkpoint on one fold, from the file where they are kept, or computed and kept."""
        pool = self.pool or pool_of(model.config)
        key = json.dumps([stamp, fold, r, schedule if r else "", self.split, self._stamp_of_clips(fold), pool])
        path = self.folder / "predictions" / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.safetensors"
        try:
            kept = load_file(path)
            return Predictions(kept["logits"], kept["targets"], int(kept["unreadable"][0]))
        except (OSError, SafetensorError):
            pass  # not there, or not whole
        corpus = self.corpora[fold]
        predictions = predict(model, extractor, corpus, self.split, r, schedule, self.batch_size, self.workers, pool)
        if predictions.unreadable:
            return predictions  # not kept: the clips may be mended
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(asdict(predictions) | {"unreadable": np.array([predictions.unreadable])}, partial)
        partial.replace(path)
        return predictions

    def _stamp_of_clips(self, fold: int | None) -> str:
        """Of the clips' ids and labels."""
        clips = self.corpora[fold][self.split]
        label = "labels" if is_multi_label(self.corpora[fold]) else "label"
        return hashlib.sha256(json.dumps([list(clips["id"]), list(clips[label])]).encode()).hexdigest()


@torch.inference_mode()
def predict(
    model: FastASTForAudioClassification,
    extractor: FastASTFeatureExtractor,
    corpus: Corpus,
    split: str = "test",
    tome_r: int | Sequence[int] = 0,
    schedule: str = "constant",
    batch_size: int = 16,
    workers: int = 0,
    pool: str | None = None,
) -> Predictions:
    """Logits of a split at one r, in the model's order of labels; of longer clips, from the scores of their windows.

    Raises:
        ValueError: The model's labels are not the corpus'.
    """
    names = [model.config.id2label[index] for index in range(model.config.num_labels)]
    clips = ClipDataset(
        with_label_order(corpus, names)[split],
        len(label_names(corpus)),
        extractor.sampling_rate,
        extractor.samples_of(extractor.max_length),
    )
    merges = merges_per_layer(tome_r, model.config.num_hidden_layers, schedule)
    multi_label, pool = model.config.problem_type == "multi_label_classification", pool or pool_of(model.config)
    logits, targets = [], []
    for batch in DataLoader(clips, batch_size, num_workers=workers, collate_fn=collate):
        readable = batch["labels"][:, 0] != UNREADABLE
        if readable.any():
            parts = []
            for part in zip(*(batch[name].split(batch_size) for name in ("waveforms", "num_samples")), strict=True):
                features, _ = extractor.spectrogram(part[0].to(model.device), part[1])
                features = extractor.normalize(features) if extractor.do_normalize else features
                parts.append(model(features.to(model.dtype), tome_r=merges).logits.float().cpu())
            whole = pooled_logits(torch.cat(parts), batch["windows"].tolist(), multi_label, pool)
            logits.append(whole[readable].numpy())
            targets.append(batch["labels"][readable].numpy())
    if not logits:
        raise ValueError(f"none of the {len(clips)} clips of the {split} split can be read: check the corpus' folder")
    joined = np.concatenate(targets)
    return Predictions(np.concatenate(logits), joined, len(clips) - len(joined))


def _joined(parts: Sequence[Predictions]) -> Predictions:
    """Those of all folds."""
    logits, targets = np.concatenate([p.logits for p in parts]), np.concatenate([p.targets for p in parts])
    return Predictions(logits, targets, sum(part.unreadable for part in parts))
