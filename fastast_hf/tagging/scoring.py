"""Windows of sound to scores: a model with its front end, device, dtype and merging."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import ASTPreTrainedModel, BatchFeature

from ..loading.adapters import has_adapters, merged
from ..loading.bundled import DEFAULT, bundled, short_name_of
from ..loading.checkpoint import front_end_of, labels_in_order, load_classifier
from ..loading.devices import usable_device
from ..model.feature_extraction_fastast import FastASTFeatureExtractor, num_frames
from ..model.modeling_fastast import FastASTForAudioClassification
from ..onnx.runtime import OnnxModel, is_onnx_file
from ..showing import html_table
from .activation import activated, activation_of
from .int8 import to_int8
from .presets import INT8, PRESET_SCHEDULE, fast_dtype, merges_of_share, preset_named, resolved_dtype

# At native length, clips are padded up to a whole number of these frames, whatever else is in their batch.
BUCKET_FRAMES = 32


class Scorer:
    """What a [`Tagger`] computes with; its arguments are a tagger's.

    Example:
        >>> Scorer(tome_r=8).scores([np.sin(np.arange(16000) / 6)]).shape
        torch.Size([1, 12])
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | ASTPreTrainedModel | None = None,
        tome_r: int | Sequence[int] | None = None,
        tome_schedule: str | None = None,
        batch_size: int = 8,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        native_length: bool | None = None,
        feature_extractor: FastASTFeatureExtractor | None = None,
        preset: str = "exact",
        activation: str = "auto",
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: a batch holds 1 clip or more")
        settings = preset_named(preset)
        exported = is_onnx_file(model)
        if exported and preset != "exact":
            raise ValueError(
                f"preset is {preset!r}, but {model} was exported with its dtype and merging: leave it out"
            )
        if exported and native_length:
            raise ValueError(f"native_length was asked for, but {model} takes clips of one length alone: leave it out")
        self.batch_size, self.preset = batch_size, preset
        self.native_length = settings.native_length if native_length is None else native_length
        self.device = usable_device("cpu" if device is None and (exported or dtype in (INT8, torch.int8)) else device)
        wanted = fast_dtype(settings, self.device) if dtype is None else resolved_dtype(dtype, self.device)
        in_int8 = wanted is torch.int8 and not exported
        self.dtype_name = str(wanted).removeprefix("torch.")
        self.dtype = torch.float32 if in_int8 else wanted
        self.model: Any
        if isinstance(model, nn.Module) and has_adapters(model):
            model = merged(model)
        if isinstance(model, ASTPreTrainedModel):
            self.model = FastASTForAudioClassification.from_ast(model)
            if not in_int8 and any((p.device, p.dtype) != (self.device, wanted) for p in model.parameters()):
                self.model = copy.deepcopy(self.model)  # to() converts in place what the caller's model holds too
            feature_extractor = feature_extractor or front_end_of(model.config)
        elif is_onnx_file(model):
            self.model = OnnxModel(model)
            feature_extractor = feature_extractor or self.model.feature_extractor
        else:
            model = bundled(DEFAULT if model is None else model)
            self.model = load_classifier(model)
            feature_extractor = feature_extractor or front_end_of(self.model.config, model)
        self.feature_extractor = feature_extractor
        self.activation = activation_of(self.model.config, activation)
        if tome_r is not None or tome_schedule is not None:
            self.model.set_tome_r(self.model.config.tome_r if tome_r is None else tome_r, tome_schedule)
        self._merged = 0.0 if tome_r is not None else settings.merged
        self._preset_schedule = tome_schedule or PRESET_SCHEDULE
        self.model = to_int8(self.model) if in_int8 else self.model.to(self.device, wanted).eval()

    def __repr__(self) -> str:
        place = self.model.config.name_or_path
        name = short_name_of(place) or place or type(self.model).__name__
        r = self.merges() if self._preset_merges() else self.model.config.tome_r
        return (
            f"{type(self).__name__}({name!r}, labels={self.model.config.num_labels}, r={r}, preset={self.preset!r}, "
            f"dtype={self.dtype_name!r}, device={str(self.device)!r})"
        )

    def _repr_html_(self) -> str:
        extractor, names = self.feature_extractor, self.label_names()
        more = ", …" if len(names) > 5 else ""
        rows: list[list[Any]] = [
            ["labels", f"{len(names)}: {', '.join(names[:5])}{more}"],
            [
                "input",
                f"{extractor.samples_of(extractor.max_length) / extractor.sampling_rate:g} s at "
                f"{extractor.sampling_rate} Hz",
            ],
            ["merged in each layer", self.merges() if self._preset_merges() else self.model.config.tome_r],
            ["scores", self.activation],
            ["preset, dtype, device", f"{self.preset}, {self.dtype_name}, {self.device}"],
        ]
        place = getattr(self.model, "path", None) or self.model.config.name_or_path or "model in memory"
        return html_table(f"{type(self).__name__}: {short_name_of(place) or place}", rows)

    def label_names(self) -> list[str]:
        """Names of the labels, in the order of scores."""
        return labels_in_order(self.model.config)

    def scores(
        self, windows: Sequence[np.ndarray], model: Any = None, tome_r: int | Sequence[int] | None = None
    ) -> Tensor:
        """Scores of windows, computed in batches of one length bucket.

        Args:
            windows: As [`Tagger.windows`] gives them.
            model: Instead of the tagger's own; one with the same inputs and labels.
            tome_r: Instead of what the model or the preset merges.

        Returns:
            (windows, labels).

        Raises:
            MemoryError: A batch does not fit into the device's memory.
        """
        computed = self.run(windows, lambda inputs: (model or self.model)(**inputs).logits, tome_r, model is None)
        logits = torch.stack(computed) if computed else torch.empty(0, self.model.config.num_labels)
        return activated(logits, self.activation)

    @torch.inference_mode()
    def scores_of_frames(self, frames: Tensor) -> Tensor:
        """Scores (B, labels) of windows by their log-mel frames (B, n, mel bins), neither padded nor normalised.

        Raises:
            MemoryError: They do not fit into the device's memory.
        """
        inputs = self.feature_extractor.of_log_mel(frames, self._padded_frames(frames.shape[1])).to(self.dtype)
        return activated(self._run(inputs, lambda inputs: self.model(**inputs).logits), self.activation)

    @torch.inference_mode()
    def run(
        self,
        windows: Sequence[np.ndarray],
        forward: Callable[[BatchFeature], Tensor],
        tome_r: int | Sequence[int] | None = None,
        preset_merges: bool = True,
    ) -> list[Tensor]:
        """What `forward` makes of each window, in float32 on the CPU, computed in batches of one length bucket.

        Args:
            windows: As [`Tagger.windows`] gives them.
            forward: A batch of the model's inputs to a tensor (B, …).
            tome_r: As of [`scores`].
            preset_merges: Whether what the preset merges counts where there is no `tome_r`.

        Raises:
            MemoryError: A batch does not fit into the device's memory.
        """
        rows: list[Any] = [None] * len(windows)
        for indices, inputs in self.batches(windows):
            for index, row in zip(indices, self._run(inputs, forward, tome_r, preset_merges), strict=True):
                rows[index] = row
        return rows

    def batches(self, windows: Sequence[np.ndarray]) -> Iterator[tuple[list[int], BatchFeature]]:
        """The model's inputs for windows of any length, in batches of one length bucket.

        Yields:
            The places of a batch's windows among all, and their inputs.
        """
        buckets = defaultdict(list)
        for index, window in enumerate(windows):
            buckets[self.input_frames(len(window))].append(index)
        for indices in buckets.values():
            for start in range(0, len(indices), self.batch_size):
                batch = indices[start : start + self.batch_size]
                yield batch, self.features([windows[index] for index in batch])

    def features(self, windows: Sequence[np.ndarray]) -> BatchFeature:
        """The model's inputs for windows that share a length bucket: spectrograms (B, frames, mel bins) in its dtype.

        With them comes a frame mask where the feature extractor is set to make one.
        """
        inputs = self.feature_extractor(
            list(windows),
            sampling_rate=self.feature_extractor.sampling_rate,
            return_tensors="pt",
            num_frames=self.input_frames(len(windows[0])),
            device=self.device,
        )
        return inputs.to(self.dtype)  # of the floating-point ones

    def input_frames(self, num_samples: int) -> int:
        """Frames that a window of so many samples is padded to: a matter of its own length alone."""
        return self._padded_frames(num_frames(num_samples, self.feature_extractor.sampling_rate))

    def merges(self, num_frames: int | None = None) -> list[int]:
        """Tokens merged in each layer, before the cap, for clips of `num_frames` frames (the longest if None)."""
        config = self.model.config
        if not self._preset_merges():
            return config.merges_per_layer()
        return merges_of_share(config, self._merged, num_frames or self.feature_extractor.max_length, self.schedule)

    @property
    def schedule(self) -> str:
        """How merges are spread over the layers."""
        return self._preset_schedule if self._preset_merges() else self.model.config.tome_schedule

    def _preset_merges(self) -> bool:
        """Whether it is the preset that says how much is merged."""
        return self._merged > 0 and not any(self.model.config.merges_per_layer())

    def _padded_frames(self, frames: int) -> int:
        longest = self.feature_extractor.max_length
        return min(longest, -(-frames // BUCKET_FRAMES) * BUCKET_FRAMES) if self.native_length else longest

    def _run(
        self,
        inputs: BatchFeature,
        forward: Callable[[BatchFeature], Tensor],
        tome_r: int | Sequence[int] | None = None,
        preset_merges: bool = True,
    ) -> Tensor:
        if tome_r is not None:
            inputs["tome_r"] = tome_r
        elif self._merged and preset_merges:
            inputs["tome_r"] = self.merges(inputs["input_values"].shape[1])
        try:
            return forward(inputs).float().cpu()
        except torch.OutOfMemoryError as error:
            count = len(inputs["input_values"])
            raise MemoryError(
                f"{count} clips at once do not fit into the memory of {self.device}: lower the batch size"
            ) from error
