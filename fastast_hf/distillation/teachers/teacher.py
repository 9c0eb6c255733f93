"""A teacher in use: a frozen classifier of any family with its own front end, labels and precision."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ASTFeatureExtractor, AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from ...errors import UNREADABLE_WEIGHTS, weights_readable
from ...loading.checkpoint import check_finite, check_size, check_weights, labels_in_order
from ...model.configuration_fastast import check_place
from ...model.feature_extraction_fastast import FastASTFeatureExtractor
from ...training.inputs.views import SpectrogramDraws, View, spectrograms, spectrograms_for_another
from .released import is_released, load_released

logger = logging.getLogger(__name__)

MOST = 0.9  # of a clip: AST's 1024 frames are a little longer than the 10 s of other front ends, and silent there


class Teacher:
    """Frozen, in eval mode, outside the student: no optimiser, checkpoint or gradient sync ever meets it.

    Args:
        model: An audio classifier of transformers; its weights are frozen from then on.
        extractor: Its front end. One of this package sees the student's masks, noise and roll; any other one of
            transformers gets the same waveforms, and has no place for masks.
        label_names: The student's labels in its order; the teacher's logits are put in it.
        dtype: Of its weights; None for what they have.

    Raises:
        ValueError: Its labels are others than the student's.
    """

    def __init__(
        self, model: Any, extractor: Any, label_names: Sequence[str], dtype: torch.dtype | None = None
    ) -> None:
        self.model = model.to(dtype).eval().requires_grad_(False)
        if any(parameter.dim() == 4 for parameter in model.parameters()):
            model.to(memory_format=torch.channels_last)  # in which CNNs are several times as fast, on a CPU above all
        self.extractor = as_batched(extractor)
        self.order = torch.tensor(label_order(model.config, label_names), device=model.device)

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str,
        label_names: Sequence[str],
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
        own_labels: Sequence[str] | None = None,
    ) -> Teacher:
        """Load a teacher: a folder or Hub id of any audio classifier, or a released file; no code in it is run.

        Args:
            checkpoint: The teacher.
            label_names: The student's labels in its order.
            device: Where to compute.
            dtype: Of its weights; None for what they have.
            own_labels: What a released file knows, in its order; the file does not say.

        Raises:
            OSError: No such checkpoint.
            ValueError: It is no audio classifier, lacks weights, or has other labels than the student.
        """
        model, extractor = load_teacher(checkpoint, own_labels)
        return cls(model.to(device), extractor, label_names, dtype)

    def fingerprint(self) -> str:
        """A hash of all that its logits depend on: weights in their precision, front end and order of labels."""
        return digest_of(self.model, f"{self.extractor.to_json_string()}{self.order.tolist()}")

    def check_rate(self, sampling_rate: int) -> None:
        """Raise a ValueError unless it can hear what a student hears at `sampling_rate`: a multiple of its rate."""
        check_rate(self.extractor.sampling_rate, sampling_rate)

    def check_hearing(self, student: FastASTFeatureExtractor) -> None:
        """Try it on a silent clip as long as a student's; a warning says where it hears the clip's beginning alone.

        Raises:
            ValueError: It takes another rate, or has no logits for such a clip.
        """
        self.check_rate(student.sampling_rate)
        waveforms = torch.zeros(1, student.samples_of(student.max_length), device=self.model.device)
        samples = torch.full((1,), waveforms.shape[1], device=self.model.device)
        view = View(waveforms, samples, torch.zeros(1, len(self.order), device=self.model.device), SpectrogramDraws())
        try:
            self.logits(view, student, spectrograms(student, view))
        except (ValueError, RuntimeError, TypeError) as error:  # each model has its own
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"the teacher can't hear clips of {student.max_length} frames: {reason}") from error
        if isinstance(self.extractor, FastASTFeatureExtractor):
            heard, whole = (front.frame_seconds()[-1].item() for front in (self.extractor, student))
            if heard < MOST * whole:
                logger.warning("the teacher hears the first %.1f s of a clip, the student %.1f s", heard, whole)

    def logits(self, view: View, student: FastASTFeatureExtractor, features: Tensor) -> Tensor:
        """What it makes of a batch as the student sees it (consistent teaching).

        Args:
            view: The batch.
            student: The student's front end.
            features: The student's input: the very tensor that goes in where the front ends are the same.

        Returns:
            (B, classes) float32 in the student's order of labels.
        """
        return self.classify(self.inputs(view, student, features))

    @torch.no_grad()
    def inputs(self, view: View, student: FastASTFeatureExtractor, features: Tensor) -> dict[str, Tensor]:
        """What goes into its model, by name, of what [`Teacher.logits`] takes."""
        factor = self.extractor.sampling_rate // student.sampling_rate
        with torch.autocast(features.device.type, enabled=False):
            if isinstance(self.extractor, FastASTFeatureExtractor):
                waveforms = upsample(view.waveforms, factor)
                own = spectrograms_for_another(student, features, self.extractor, view, waveforms)
                return {self.extractor.model_input_names[0]: own}
            clips = zip(upsample(view.waveforms, factor).cpu(), (view.num_samples * factor).tolist(), strict=True)
            batch = self.extractor(
                [clip[:count].numpy() for clip, count in clips],
                sampling_rate=self.extractor.sampling_rate,
                return_tensors="pt",
                padding=signature(self.extractor.__call__).parameters["padding"].default or True,
            )
        return {name: values.to(features.device) for name, values in batch.items()}

    @torch.no_grad()
    def classify(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Its logits (B, classes) of its own input, float32, in the student's order of labels."""
        device = next(iter(inputs.values())).device
        if self.model.device != device:
            self.model.to(device)
            self.order = self.order.to(device)
        with torch.autocast(device.type, enabled=False):
            own = {
                name: values.to(self.model.dtype) if values.is_floating_point() else values
                for name, values in inputs.items()
            }
            return self.model(**own).logits.float()[:, self.order]


def digest_of(model: Any, more: str) -> str:
    """A hash of a model's weights and of a text."""
    digest = hashlib.sha256(more.encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode() + weight.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_teacher(checkpoint: str, own_labels: Sequence[str] | None = None) -> tuple[Any, Any]:
    """An audio classifier, whole, and its front end; code in pickled weights, or beside them, is not run.

    Args:
        checkpoint: A folder, a Hub id, or a file of weights that [`load_released`] reads.
        own_labels: What such a file knows, in its order.

    Raises:
        OSError: No such checkpoint.
        ValueError: It is no audio classifier, or its weights are not those of its config.json, or not finite.
    """
    if is_released(checkpoint):
        model, extractor = load_released(checkpoint, own_labels)
        check_finite(checkpoint, model)
        return model, extractor
    check_place(checkpoint)
    if Path(checkpoint).is_file():
        raise ValueError(f"{checkpoint} is a file: give a checkpoint's folder, or a released .pt or .pth")
    with weights_readable(checkpoint):
        try:
            check_size(checkpoint, AutoConfig.from_pretrained(checkpoint, trust_remote_code=False))
            model, info = AutoModelForAudioClassification.from_pretrained(
                checkpoint, output_loading_info=True, ignore_mismatched_sizes=True, trust_remote_code=False
            )
            extractor = AutoFeatureExtractor.from_pretrained(checkpoint, trust_remote_code=False)
        except (OSError, *UNREADABLE_WEIGHTS):
            raise
        except Exception as error:  # each format, and each model, has its own
            reason = " ".join(str(error).split())[:300]
            if "trust_remote_code" in str(error):
                reason = "it needs code of its own, which is not run"
            raise ValueError(f"{checkpoint} cannot be loaded as an audio classifier: {reason}") from error
    check_weights(checkpoint, model, info)
    return model, extractor


def check_rate(own: int, student: int) -> None:
    """Raise a ValueError unless a teacher's sampling rate is a multiple of the student's, both in Hz."""
    if own % student:
        raise ValueError(
            f"the teacher takes {own} Hz and the student hears {student} Hz: choose a teacher at "
            f"{student} Hz, or at a multiple of it"
        )


def as_batched(extractor: Any) -> Any:
    """AST's feature extractor as this package's, which gives its numbers batched; any other one as it is."""
    if isinstance(extractor, ASTFeatureExtractor):
        fields = ("sampling_rate", "num_mel_bins", "max_length", "padding_value", "do_normalize", "mean", "std")
        return FastASTFeatureExtractor(**{field: getattr(extractor, field) for field in fields})
    return extractor


def label_order(config: Any, label_names: Sequence[str]) -> list[int]:
    """The place of each of `label_names` among a model's labels.

    Raises:
        ValueError: They are not the same labels (the message lists the difference), or an index has none.

    Example:
        >>> from transformers import ASTConfig
        >>> label_order(ASTConfig(id2label={0: "cat", 1: "dog"}), ["dog", "cat"])
        [1, 0]
    """
    own = {name: index for index, name in enumerate(labels_in_order(config))}
    if set(own) != set(label_names):
        parts = [
            f"{which} alone has {len(names)}: {', '.join(map(repr, names[:5]))}{' …' if len(names) > 5 else ''}"
            for which, names in (
                ("the teacher", sorted(set(own) - set(label_names))),
                ("the student", sorted(set(label_names) - set(own))),
            )
            if names
        ]
        raise ValueError(
            f"the teacher's {len(own)} labels are not the student's {len(label_names)} ({'; '.join(parts)}): "
            "give a teacher of the same corpus"
        )
    return [own[name] for name in label_names]


def upsample(waveforms: Tensor, factor: int) -> Tensor:
    """Band-limited upsampling of (B, n) by a whole factor to (B, factor n): zeros above the old Nyquist frequency.

    Around the clips is silence, as much as makes the Fourier transform fast.

    Example:
        >>> upsample(torch.ones(1, 100), 2).shape
        torch.Size([1, 200])
    """
    if factor == 1:
        return waveforms
    samples = waveforms.shape[1]
    padded = fast_length(samples)
    spectrum = torch.fft.rfft(waveforms, n=padded) * factor
    spectrum[:, -1] /= 2  # the Nyquist frequency has its mirror image within the new spectrum
    return torch.fft.irfft(spectrum, n=factor * padded)[:, : factor * samples]


@lru_cache
def fast_length(samples: int) -> int:
    """The next even length of no prime factors but 2, 3 and 5: with large ones, FFTs take several times as long.

    Example:
        >>> fast_length(164080)
        165888
    """
    odd = [3**i * 5**j for i in range(13) for j in range(9)]
    return min(part << max(1, (-(-samples // part) - 1).bit_length()) for part in odd)


def teacher_probabilities(logits: Tensor, loss: str, tau: float = 1.0) -> Tensor:
    """ψ(Z_t / τ) of logits (B, classes), float32: softmax, or sigmoid for `"bce"` (FastAST, §2.3, equation 1).

    Example:
        >>> teacher_probabilities(torch.zeros(1, 4), "cross_entropy")
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    logits = logits.float() / tau
    return logits.sigmoid() if loss == "bce" else logits.softmax(dim=1)
