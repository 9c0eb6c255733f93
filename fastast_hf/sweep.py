"""Table 1 of the paper for any checkpoint and corpus: the score at each r, with what it costs and an interval.

Predictions are kept, one file for each checkpoint, fold, r and schedule, so that a sweep goes on where it stopped and
differences are tested on the same clips.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
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

from .complexity import complexity
from .corpora import Corpus, is_multi_label, label_names, with_label_order
from .feature_extraction_fastast import FastASTFeatureExtractor
from .metrics import (
    UNREADABLE,
    bootstrap_interval,
    paired_difference_interval,
    resampled_accuracy,
    resampled_mean_average_precision,
)
from .modeling_fastast import FastASTForAudioClassification
from .runs import RESULTS
from .tagging import load_classifier
from .token_merging import merges_per_layer
from .training_data import ClipDataset, collate

INFERENCE, TRAINED, RANDOM = "Inf", "Train+Inf", "random r"


@dataclass(frozen=True)
class Method:
    """A way of coming by a model for each r.

    Attributes:
        name: `"Inf"`: one checkpoint, merging only now. `"Train+Inf"`: a checkpoint trained at each r. `"random r"`:
            one checkpoint trained with r drawn at random.
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


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """A cell of the table. Scores and intervals are shares, of 1.

    Attributes:
        method: See [`Method`].
        schedule: How r is spread over the layers.
        tome_r: Tokens merged in every layer.
        tokens_in: Entering the first layer.
        tokens_out: Left after the last.
        gmacs: 10^9 multiply-accumulates for a clip.
        mac_ratio: Those of r = 0 over these.
        metric: accuracy, or mean_average_precision.
        score: Over the clips of all folds together.
        low: Of the score's 95 % bootstrap interval over clips.
        high: Of the same.
        change: The score less that of the method "Inf" (else the first) at r = 0.
        change_low: Of the change's 95 % interval, on the same clips.
        change_high: Of the same.
        clips: Scored.
        unreadable: Left out because they could not be read.
        front_end_samples_per_sec: Clips a second from waveform to spectrogram.
        model_samples_per_sec: From there to logits.
        samples_per_sec: From waveform to logits.
    """

    method: str
    schedule: str
    tome_r: int
    tokens_in: int
    tokens_out: int
    gmacs: float
    mac_ratio: float
    metric: str
    score: float
    low: float
    high: float
    change: float
    change_low: float
    change_high: float
    clips: int
    unreadable: int
    front_end_samples_per_sec: float | None = None
    model_samples_per_sec: float | None = None
    samples_per_sec: float | None = None


@dataclass(frozen=True)
class Predictions:
    """Logits and targets (N, classes) of the clips of a test split, and how many could not be read."""

    logits: np.ndarray
    targets: np.ndarray
    unreadable: int

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """Those of all folds."""
        return cls(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.targets for part in parts]),
            sum(part.unreadable for part in parts),
        )


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
    """

    corpora: dict[int | None, Corpus]
    methods: Sequence[tuple[Method, Sequence[int]]]
    folder: Path
    split: str = "test"
    batch_size: int = 16
    device: str = "cpu"
    workers: int = 0
    _loaded: dict[str, Any] = field(default_factory=dict, repr=False)
    _configs: dict[str, Any] = field(default_factory=dict, repr=False)

    def rows(self, schedules: Sequence[str]) -> list[SweepRow]:
        """Score every method at its r and every schedule; what was scored before is read back.

        Raises:
            ValueError: A checkpoint that does not fit the corpus, or is no AST.
            OSError: No such checkpoint.
        """
        for corpus in self.corpora.values():
            if self.split not in corpus:
                raise ValueError(f"there is no split {self.split!r} in this corpus: give one of {', '.join(corpus)}")
        cells = [
            (method, schedule, r)
            for method, r_values in self.methods
            for schedule in schedules
            for r in dict.fromkeys(r_values)
            if r or schedule == schedules[0]  # at r = 0 schedules are the same
        ]
        tasks = [
            (method.folder(r, schedule, fold), fold, r, schedule)
            for method, schedule, r in cells
            for fold in self.corpora
        ]
        for checkpoint, fold, *_ in tasks:
            if self.split == "test":
                check_fold(checkpoint, fold)
        by_checkpoint = defaultdict(list)  # each is loaded once
        for index, task in enumerate(tasks):
            by_checkpoint[task[0]].append(index)
        order = [index for indices in by_checkpoint.values() for index in indices]
        parts = {i: self._predictions(*tasks[i]) for i in tqdm(order, unit="part", leave=False, disable=None)}
        folds = len(self.corpora)
        predicted = [Predictions.joined([parts[n * folds + fold] for fold in range(folds)]) for n in range(len(cells))]
        start = next((n for n, (method, _, r) in enumerate(cells) if method.name == INFERENCE and r == 0), 0)
        return [self._row(*cell, own, predicted[start]) for cell, own in zip(cells, predicted, strict=True)]

    @property
    def label_names(self) -> list[str]:
        """The corpus' classes."""
        return label_names(next(iter(self.corpora.values())))

    @property
    def parameters(self) -> int:
        """Of the model scored last."""
        return max((model.num_parameters() for model, _, _ in self._loaded.values()), default=0)

    def _row(self, method: Method, schedule: str, r: int, predictions: Predictions, baseline: Predictions) -> SweepRow:
        corpus = next(iter(self.corpora.values()))
        multi_label = is_multi_label(corpus)
        own, reference = (resampled_score(part, multi_label) for part in (predictions, baseline))
        count, paired = len(predictions.logits), len(predictions.logits) == len(baseline.logits)
        score, start = (float(part(np.ones((1, count), dtype=np.int64))[0]) for part in (own, reference))
        low, high = bootstrap_interval(own, count, centred=multi_label)
        change = paired_difference_interval(own, reference, count) if paired else (float("nan"), float("nan"))
        config = self._configs[method.folder(r, schedule, next(iter(self.corpora)))]
        cost = complexity(config, r, schedule)
        return SweepRow(
            method=method.name,
            schedule=schedule,
            tome_r=r,
            tokens_in=cost.layers[0].tokens_in,
            tokens_out=cost.tokens_out,
            gmacs=cost.macs / 1e9,
            mac_ratio=cost.speedup,
            metric="mean_average_precision" if multi_label else "accuracy",
            score=score,
            low=low,
            high=high,
            change=score - start,
            change_low=change[0],
            change_high=change[1],
            clips=count,
            unreadable=predictions.unreadable,
        )

    def _predictions(self, checkpoint: str, fold: int | None, r: int, schedule: str) -> Predictions:
        """Of one checkpoint on one fold, from the file where they are kept or computed and kept."""
        model, extractor, stamp = self._load(checkpoint)
        key = json.dumps([stamp, fold, r, schedule if r else "", self.split, self._stamp_of_clips(fold)])
        path = self.folder / "predictions" / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.safetensors"
        try:
            kept = load_file(path)
            return Predictions(kept["logits"], kept["targets"], int(kept["unreadable"][0]))
        except (OSError, SafetensorError):
            pass  # not there, or not whole
        predictions = predict(
            model, extractor, self.corpora[fold], self.split, r, schedule, self.batch_size, self.workers
        )
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

    def _load(self, checkpoint: str) -> tuple[FastASTForAudioClassification, FastASTFeatureExtractor, str]:
        """Model, front end, and a stamp that changes when the weights do; one is kept in memory."""
        if checkpoint not in self._loaded:
            self._loaded.clear()
            model = load_classifier(checkpoint).to(self.device).eval()
            stamp = hashlib.sha256()
            for name, weight in sorted(model.state_dict().items()):
                stamp.update(name.encode() + weight.float().cpu().numpy().tobytes())
            extractor = FastASTFeatureExtractor.from_pretrained(checkpoint)
            stamp.update(extractor.to_json_string().encode() + model.config.to_json_string().encode())
            self._configs[checkpoint] = model.config
            self._loaded[checkpoint] = (model, extractor, stamp.hexdigest())
        return self._loaded[checkpoint]


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


@torch.inference_mode()
def predict(
    model: FastASTForAudioClassification,
    extractor: FastASTFeatureExtractor,
    corpus: Corpus,
    split: str = "test",
    tome_r: int = 0,
    schedule: str = "constant",
    batch_size: int = 16,
    workers: int = 0,
) -> Predictions:
    """Logits of a split at one r, in the model's order of labels.

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
    logits, targets = [], []
    for batch in DataLoader(clips, batch_size, collate_fn=collate, num_workers=workers):
        readable = batch["labels"][:, 0] != UNREADABLE
        if readable.any():
            features, _ = extractor.spectrogram(
                batch["waveforms"][readable].to(model.device), batch["num_samples"][readable]
            )
            features = extractor.normalize(features) if extractor.do_normalize else features
            logits.append(model(features.to(model.dtype), tome_r=merges).logits.float().cpu().numpy())
            targets.append(batch["labels"][readable].numpy())
    if not logits:
        raise ValueError(f"none of the {len(clips)} clips of the {split} split can be read: check the corpus' folder")
    joined = np.concatenate(targets)
    return Predictions(np.concatenate(logits), joined, len(clips) - len(joined))


def resampled_score(predictions: Predictions, multi_label: bool) -> Any:
    """The corpus' metric as a function of how often each clip is counted."""
    if multi_label:
        return resampled_mean_average_precision(predictions.logits, predictions.targets)
    correct = predictions.logits.argmax(axis=1) == predictions.targets.argmax(axis=1)
    return resampled_accuracy(correct.astype(np.int64))
