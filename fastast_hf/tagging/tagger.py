"""Files in, labels out: batches of whole recordings through a FastAST."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import ASTPreTrainedModel

from ..audio import AudioError, name_of, read_audio, windows
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from .activation import thresholds_of
from .embedding import embed, stream_embeddings
from .live import LiveStream
from .pooling import POOLS, pool_of, pooled
from .recordings import as_list, stream_recordings
from .scoring import Scorer
from .timelines.timeline import Timeline, timeline_of

logger = logging.getLogger(__name__)

Label = dict[str, Any]


class Tagger(Scorer):
    """Audio files or arrays to labels with scores, as the `audio-classification` pipeline gives them.

    A recording longer than the model's input is cut into windows of that length, the last one ending with the
    recording, and its scores are pooled over the windows: their mean, unless `pool` says otherwise.

    Args:
        model: Any AST or FastAST checkpoint, local or of the Hub, or a model in memory; None for the checkpoint that
            comes with the package (ten spoken commands). A model in memory stays as it is; the tagger shares its
            weights, unless `device` or `dtype` calls for a copy. Adapters in it, as of a `PeftModel`, are merged in a
            copy. Or a file of `fastast export`, which ONNX Runtime runs on the CPU, with `tome_r` and length as they
            were exported.
        tome_r: Tokens to merge in each layer; None for the checkpoint's own, or what the preset merges.
        tome_schedule: How merges are spread over the layers; None for the checkpoint's own, and `"decreasing"` for
            what the preset merges.
        top_k: How many labels to give; None for all.
        batch_size: Windows that go through the model at once.
        device: `"cpu"`, `"cuda"`, `"cuda:1"` …; None for a GPU where there is one, or for the CPU with dtype `"int8"`.
        dtype: `"float32"`, `"bfloat16"`, `"float16"`, a torch dtype, or on a CPU `"int8"` for linear layers in 8 bits;
            None for the preset's. The front end always computes in float32.
        native_length: Feed short recordings at their own length, not padded to the model's. Faster, and not what
            published checkpoints were trained on. None for the preset's.
        feature_extractor: None takes that of the checkpoint, or of the one that a model in memory came from; where
            that one has none, one with AudioSet's statistics.
        preset: `"exact"`: float32, and merging only where the checkpoint asks for it. `"balanced"`: half precision
            where the device is fast in it, and half of the patches merged. `"fast"`: int8 on a CPU that has it (else
            half precision), native length, and four patches of five merged. A checkpoint with a `tome_r` keeps to it,
            and each part can be set by itself.
        activation: `"softmax"` or `"sigmoid"` makes scores of logits; `"auto"` goes by the checkpoint's `problem_type`
            as the pipeline does. Where it has none but AudioSet's 527 labels, that is sigmoid, and a line says so.
        threshold: Give the labels with this score or a higher one alone, `top_k` at most and possibly none. A list has
            one for each label, and `"auto"` takes that of the checkpoint's config (`thresholds`). None for any score.
        pool: What makes one score of a label's scores in all windows: `"mean"`, `"max"`, or `"top3"` for the mean of
            the three highest. None for `window_pool` of the checkpoint's config, or else the mean.

    Raises:
        ValueError: A checkpoint that is no AST classifier, or a wrong `tome_r`, `device`, `dtype`, `preset`,
            `activation`, `threshold` or `pool`.
        TypeError: A model in memory that is no AST classifier.
        OSError: No such checkpoint.

    Example:
        >>> tagger = Tagger(tome_r=8, top_k=1)
        >>> [list(label) for label in tagger((np.sin(np.arange(16000) / 6), 16000))]
        [['label', 'score']]
    """

    embed = embed
    stream_embeddings = stream_embeddings

    def __init__(
        self,
        model: str | os.PathLike[str] | ASTPreTrainedModel | None = None,
        tome_r: int | Sequence[int] | None = None,
        tome_schedule: str | None = None,
        top_k: int | None = 5,
        batch_size: int = 8,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        native_length: bool | None = None,
        feature_extractor: FastASTFeatureExtractor | None = None,
        preset: str = "exact",
        activation: str = "auto",
        threshold: float | str | Sequence[float] | None = None,
        pool: str | None = None,
    ) -> None:
        if top_k is not None and top_k < 1:
            raise ValueError(f"top_k is {top_k}: ask for 1 label or more")
        if pool is not None and pool not in POOLS:
            raise ValueError(f"pool is {pool!r}: choose one of {', '.join(POOLS)}")
        super().__init__(
            model, tome_r, tome_schedule, batch_size, device, dtype, native_length, feature_extractor, preset,
            activation,
        )  # fmt: skip
        self.top_k = top_k
        self.thresholds = thresholds_of(self.model.config, threshold)
        self.pool = pool or pool_of(self.model.config)

    def __call__(
        self,
        sources: Any,
        *,
        on_error: str = "raise",
        progress: bool | None = None,
        workers: int | None = None,
    ) -> list[Any]:
        """Label one recording or many.

        Args:
            sources: What [`load_audio`] takes (a file; samples with their rate), or any number of it.
            on_error: `"raise"` at the first recording that can't be used, or `"return"` its error in its place.
            progress: Whether to show a progress bar; None shows it for more than one batch on a terminal.
            workers: Threads that read files while the model computes; 0 for none, None for one per core, up to 8.

        Returns:
            A list of `{"label": str, "score": float}`, best first; for a list of recordings, a list of those.

        Raises:
            AudioError: A recording can't be used (`on_error="raise"`).
            MemoryError: A batch does not fit into the device's memory.
        """
        if on_error not in ("raise", "return"):
            raise ValueError(f"on_error is {on_error!r}: choose 'raise' or 'return'")
        sources, one = as_list(sources)
        results = list(self.stream(sources, on_error=on_error, progress=progress, workers=workers))
        return results[0] if one else results

    def stream(
        self,
        sources: Iterable[Any],
        *,
        on_error: str = "raise",
        progress: bool | None = None,
        workers: int | None = None,
    ) -> Iterator[Any]:
        """Label recordings, and give the labels of each in turn as soon as they are known.

        Files are read while the model computes, a few batches ahead: any number of them fits into memory.

        Args:
            sources: As for a call, but always any number of them; a generator is drawn from as files are read.
            on_error: As for a call.
            progress: As for a call.
            workers: As for a call.

        Yields:
            A list of `{"label": str, "score": float}` for each, or the error in its place.
        """
        return stream_recordings(
            self,
            sources,
            self.scores,
            lambda scores, source: self.labels(torch.stack(scores), source),
            on_error=on_error,
            progress=progress,
            workers=workers,
        )

    def to_pandas(self, sources: Iterable[Any], **settings: Any) -> Any:
        """Label any number of recordings, as a table.

        Args:
            sources: As of [`stream`], or a path.
            settings: As of [`stream`]; errors are returned unless `on_error="raise"`.

        Returns:
            A DataFrame with a row for each label of each recording, best first: `file`, `label`, `score` and `error`.
            A recording that can't be used has one row, with an error alone.

        Raises:
            ImportError: pandas is not installed.

        Example:
            >>> table = Tagger(top_k=2).to_pandas([([0.0, 0.5] * 8000, 16000), "gone.wav"])
            >>> list(table.columns), len(table), table.error.notna().tolist()
            (['file', 'label', 'score', 'error'], 3, [False, False, True])
        """
        import pandas as pd

        sources, rows = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources), []
        for source, labels in zip(sources, self.stream(sources, **{"on_error": "return", **settings}), strict=True):
            name = name_of(source)
            if isinstance(labels, Exception):
                rows.append({"file": name, "error": str(labels)})
            else:
                rows += [{"file": name, **label} for label in labels]
        return pd.DataFrame(rows, columns=["file", "label", "score", "error"])

    def windows(self, source: Any) -> Iterator[np.ndarray]:
        """Read a recording as windows of the model's input length, the last one ending with the recording.

        Args:
            source: What [`load_audio`] takes.

        Yields:
            Samples (n,): fewer than the model's input has of a shorter recording alone.

        Raises:
            AudioError: The recording can't be used.

        Example:
            >>> len(list(Tagger().windows(([0.0, 0.5] * 20000, 16000))))
            2
        """
        extractor = self.feature_extractor
        length = extractor.samples_of(extractor.max_length)
        lowest, highest = np.inf, -np.inf
        for _, window in windows(read_audio(source, extractor.sampling_rate), length):
            lowest, highest = min(lowest, window.min()), max(highest, window.max())
            yield window
        if lowest == highest:
            logger.warning(
                "%s: the clip is silent (all samples are %g); it is used all the same", name_of(source), lowest
            )

    def timeline(self, source: Any, window: float | None = None, hop: float | None = None) -> Timeline:
        """The scores of a recording over time, computed when the timeline is iterated over or asked for its scores.

        Each score is that of its window classified alone. The last window ends with the recording, and a recording
        shorter than a window is one. Windows shorter than the model's input are padded as short clips are.

        Args:
            source: What [`load_audio`] takes.
            window: Seconds of a window, at most the model's input; None for that.
            hop: Seconds from one window's start to the next, at most `window`; None for `window`. Where it is a whole
                number of 10 ms, each frame of the spectrogram is computed once.

        Raises:
            ValueError: A wrong `window` or `hop`.

        Example:
            >>> timeline = Tagger().timeline((np.sin(np.arange(48000) / 6), 16000), window=1, hop=0.5)
            >>> timeline.times.tolist(), timeline.scores.shape
            ([0.5, 1.0, 1.5, 2.0, 2.5], (5, 12))
        """
        return timeline_of(self, source, window, hop)

    def listen(
        self,
        blocks: Iterable[Any] | None,
        rate: int,
        window: float | None = None,
        hop: float | None = None,
        skip: bool = False,
    ) -> LiveStream:
        """The scores of sound while it comes in: iterate over what is returned, or push blocks to it.

        Args:
            blocks: Samples (n,) or (n, channels), n being any number; None to push them.
            rate: Their rate in Hz.
            window: As of [`timeline`].
            hop: As of [`timeline`]; None for 0.5 s, or for a shorter window.
            skip: Draw blocks in a thread as they come, as from a microphone. What there is no time for is skipped and
                counted (`skipped`). Otherwise the next block is drawn when the last one's scores were taken.

        Raises:
            ValueError: A wrong `window`, `hop` or `rate`.

        Example:
            >>> blocks = (np.sin(np.arange(k, k + 4000) / 6) for k in range(0, 32000, 4000))
            >>> [moment.time for moment in Tagger().listen(blocks, 16000, window=1, hop=0.5)]
            [0.5, 1.0, 1.5]
        """
        return LiveStream(self, blocks, rate, window, hop, skip)

    def labels(self, scores: Tensor, source: Any = None) -> list[Label]:
        """The best `top_k` labels of a recording, of those whose scores reach the threshold.

        Args:
            scores: (windows, labels); they are pooled over windows.
            source: The recording, for the message.

        Raises:
            AudioError: A score is NaN or infinite.
        """
        own = pooled(scores, self.pool)
        if not own.isfinite().all():
            raise AudioError(f"{name_of(source)}: the model's scores are not finite; check its weights and front end")
        if self.thresholds is not None:
            own = own.masked_fill(own < self.thresholds, -torch.inf)
        best = own.topk(min(self.top_k or len(own), len(own)))
        names = self.model.config.id2label
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [{"label": names[index], "score": score} for index, score in pairs if score > -torch.inf]
