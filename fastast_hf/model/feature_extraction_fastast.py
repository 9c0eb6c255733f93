"""FastAST's front end: log-mel spectrograms of whole batches, in torch, on the device that the waveforms are on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import TensorType, logging

logger = logging.get_logger(__name__)

FRAME_SECONDS, HOP_SECONDS = 0.025, 0.010
PREEMPHASIS = 0.97
LOWEST_HZ = 20.0
MOST = 1_000_000  # of a rate or size, for memory is taken accordingly


class FastASTFeatureExtractor(SequenceFeatureExtractor):
    r"""Waveforms to normalised log-mel spectrograms, with `ASTFeatureExtractor`'s numbers and configuration file.

    Kaldi's filter bank (AST, Gong et al. 2021, §2.1): frames of 25 ms every 10 ms, each without its mean, pre-emphasis
    0.97, Hann window, power spectrum, mel bins from 20 Hz to half the sampling rate, natural logarithm; padded with
    0.0 or cut at the end to `max_length` frames; then `(x - mean) / (2 std)`.

    Args:
        feature_size: 1, as every mono extractor of transformers has it.
        sampling_rate: In Hz.
        num_mel_bins: Mel bins of a spectrogram.
        max_length: Frames of a spectrogram; one each 10 ms.
        padding_value: What frames after a clip's end hold before normalisation.
        do_normalize: Whether to normalise.
        mean: Of the training corpus' log-mel values (AudioSet's by default).
        std: Of the same.
        return_attention_mask: Whether to return `attention_mask` (B, frames), 0 for the padding. FastAST then leaves
            padding out; published checkpoints were trained with it in.
        kwargs: What `SequenceFeatureExtractor` takes.

    Raises:
        ValueError: A rate or size is no whole number or too small, or `mean` or `std` can't normalise.

    Example:
        >>> extractor = FastASTFeatureExtractor(max_length=512)
        >>> extractor(np.zeros(80000), sampling_rate=16000, return_tensors="pt").input_values.shape
        torch.Size([1, 512, 128])
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 16000,
        num_mel_bins: int = 128,
        max_length: int = 1024,
        padding_value: float = 0.0,
        do_normalize: bool = True,
        mean: float = -4.2677393,
        std: float = 4.5689974,
        return_attention_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        sizes = ("sampling_rate", sampling_rate, 100), ("num_mel_bins", num_mel_bins, 1), ("max_length", max_length, 1)
        for name, value, least in sizes:
            if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is {value!r}: give a whole number, {least} or more")
            if value > MOST:
                raise ValueError(f"{name} is {value}: give {MOST:,} or less")
        for name, number, above in (("mean", mean, -math.inf), ("std", std, 0)):
            if do_normalize and not (isinstance(number, Real) and above < number < math.inf):
                raise ValueError(f"{name} is {number!r}: give a number{' above 0' if above == 0 else ''}")
        super().__init__(feature_size=feature_size, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs)
        self.num_mel_bins = num_mel_bins
        self.max_length = max_length
        self.do_normalize = do_normalize
        self.mean = mean
        self.std = std
        self.return_attention_mask = return_attention_mask

    def __call__(
        self,
        raw_speech: np.ndarray | Tensor | Sequence[Any],
        sampling_rate: int | None = None,
        return_tensors: str | TensorType | None = None,
        *,
        num_frames: int | None = None,
        device: str | torch.device | None = None,
        return_attention_mask: bool | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Make the model's input of one clip or many.

        Args:
            raw_speech: Mono audio in [-1, 1] as numpy array, torch tensor or list: (n,), (B, n), or a list of B clips
                of any lengths.
            sampling_rate: The clips' rate in Hz, to be checked against the extractor's.
            return_tensors: `"pt"`, `"np"`, or None for a list of numpy arrays.
            num_frames: Frames of each spectrogram in this call, instead of the extractor's `max_length`.
            device: Where to compute; by default where the waveforms are.
            return_attention_mask: For this call instead of the extractor's own.
            kwargs: Ignored, as `ASTFeatureExtractor` ignores them: `max_length`, `truncation` and `padding` of a call
                change nothing.

        Returns:
            `input_values` (B, frames, mel bins), float32, and `attention_mask` (B, frames) where it is asked for.

        Raises:
            ValueError: Another sampling rate, more than mono, a clip shorter than one frame or not finite, or a wrong
                `num_frames` or `return_tensors`.
        """
        return_tensors = None if return_tensors is None else TensorType(return_tensors)
        if sampling_rate is None:
            logger.warning_once(
                "FastASTFeatureExtractor was called without sampling_rate: pass it, so that a wrong one is noticed"
            )
        elif sampling_rate != self.sampling_rate:
            raise ValueError(
                f"the audio has {sampling_rate} Hz and this feature extractor takes {self.sampling_rate} Hz: "
                "resample it first"
            )
        num_frames = self.max_length if num_frames is None else num_frames
        if num_frames < 1:
            raise ValueError(f"num_frames is {num_frames}: give 1 or more")
        waveforms, num_samples = self._batch(raw_speech, num_frames, device)
        outputs = self._outputs(*self.spectrogram(waveforms, num_samples, num_frames), return_attention_mask)
        if return_tensors == TensorType.PYTORCH:
            return BatchFeature(outputs)
        arrays = {name: value.detach().cpu().numpy() for name, value in outputs.items()}
        return BatchFeature(arrays if return_tensors else {name: list(value) for name, value in arrays.items()})

    def spectrogram(
        self, waveforms: Tensor, num_samples: Tensor, max_length: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-mel values before normalisation: SpecAugment masks these.

        Args:
            waveforms: (B, n), at least one frame and at most `max_length` frames long.
            num_samples: (B,) each clip's own samples; the rest becomes padding.
            max_length: Frames instead of the extractor's own.

        Returns:
            (B, frames, mel bins), and which frames (B, frames) are the clip's.
        """
        features = log_mel_spectrogram(waveforms, self.sampling_rate, self.num_mel_bins)
        return self._padded(features, num_frames(num_samples, self.sampling_rate), max_length)

    def of_log_mel(self, frames: Tensor, num_frames: int | None = None) -> BatchFeature:
        """The model's input of clips whose frames are known, as a call makes it of the clips.

        Args:
            frames: (B, n, mel bins), as [`log_mel_spectrogram`] gives them, the same number for all clips.
            num_frames: Frames of each spectrogram, n or more; None for the extractor's `max_length`.

        Example:
            >>> FastASTFeatureExtractor().of_log_mel(torch.zeros(2, 98, 128)).input_values.shape
            torch.Size([2, 1024, 128])
        """
        return BatchFeature(self._outputs(*self._padded(frames, torch.tensor([frames.shape[1]]), num_frames)))

    def _padded(self, features: Tensor, frames: Tensor, max_length: int | None) -> tuple[Tensor, Tensor]:
        """Features (B, n, mel bins) with padding after each clip's own number of frames, and which are its own."""
        max_length = self.max_length if max_length is None else max_length
        mask = torch.arange(max_length, device=features.device) < frames.to(features.device).unsqueeze(1)
        features = F.pad(features, (0, 0, 0, max_length - features.shape[1]))
        return features.masked_fill(~mask.unsqueeze(-1), self.padding_value), mask.expand(len(features), -1)

    def _outputs(self, features: Tensor, mask: Tensor, with_mask: bool | None = None) -> dict[str, Tensor]:
        outputs = {"input_values": self.normalize(features) if self.do_normalize else features}
        if self.return_attention_mask if with_mask is None else with_mask:
            outputs["attention_mask"] = mask.long()
        return outputs

    def normalize(self, features: Tensor) -> Tensor:
        """Raw log-mel values to the model's input, of about zero mean and a standard deviation of 0.5."""
        return (features - self.mean) / (2 * self.std)

    def samples_of(self, frames: int) -> int:
        """Samples that this many frames take, at this extractor's rate."""
        return window_samples(frames, self.sampling_rate)

    def frame_seconds(self) -> Tensor:
        """The middle (frames,) of each of `max_length` frames, in seconds from the clip's start."""
        return FRAME_SECONDS / 2 + HOP_SECONDS * torch.arange(self.max_length, dtype=torch.float32)

    def mel_hertz(self) -> Tensor:
        """The middle (mel bins,) of each mel bin, in Hz."""
        lowest, highest = mel_of(LOWEST_HZ), mel_of(self.sampling_rate / 2)
        step = (highest - lowest) / (self.num_mel_bins + 1)
        return hertz_of(lowest + step * torch.arange(1, self.num_mel_bins + 1, dtype=torch.float32))

    def _batch(self, raw_speech: Any, num_frames: int, device: str | torch.device | None) -> tuple[Tensor, Tensor]:
        """(B, samples), zeros after each clip's end, and the number of samples (B,) of each clip."""
        is_array = isinstance(raw_speech, (np.ndarray, Tensor))
        if not is_array and not isinstance(raw_speech, (list, tuple)):
            raise ValueError(f"a {type(raw_speech).__name__} was given: give samples as an array, a tensor or a list")
        if is_array and raw_speech.ndim not in (1, 2):
            raise ValueError(f"audio of shape {tuple(raw_speech.shape)} was given: give mono clips, (n,) or (B, n)")
        if raw_speech.ndim == 1 if is_array else raw_speech and np.isscalar(raw_speech[0]):
            raw_speech = [raw_speech]
        if len(raw_speech) == 0:
            raise ValueError("no audio was given: give at least one clip")
        needed = frame_samples(self.sampling_rate)
        longest = self.samples_of(num_frames)
        clips = []
        for index, raw in enumerate(raw_speech):
            if isinstance(raw, np.ndarray):
                # torch takes neither reversed views nor the byte order of some file formats, and warns of read-only.
                raw = np.require(raw, raw.dtype.newbyteorder("="), ["C", "W"])
            # Both are named: a process' default dtype and device change while another thread loads a model.
            dtype = None if isinstance(raw, (np.ndarray, Tensor)) else torch.float32
            place = device or (raw.device if isinstance(raw, Tensor) else "cpu")
            try:
                clip = torch.as_tensor(raw, dtype=dtype, device=place)
            except (TypeError, ValueError):
                raise ValueError(f"clip {index} holds something other than numbers: give floats in [-1, 1]") from None
            if clip.ndim != 1:
                raise ValueError(f"clip {index} has shape {tuple(clip.shape)}: give mono clips of shape (n,)")
            if not clip.is_floating_point():
                raise ValueError(f"clip {index} holds {clip.dtype} samples: give floats in [-1, 1]")
            if clip.shape[0] < needed:
                raise ValueError(
                    f"clip {index} has {clip.shape[0]} samples; one frame of {1000 * FRAME_SECONDS:.0f} ms takes "
                    f"{needed} at {self.sampling_rate} Hz: give a longer clip"
                )
            clip = clip.float()
            # On an accelerator the check would wait for the device.
            if clip.device.type == "cpu" and not torch.isfinite(clip).all():
                raise ValueError(f"clip {index} holds NaN or infinite samples: mend or leave out the recording")
            clips.append(clip[:longest])
        num_samples = torch.tensor([clip.shape[0] for clip in clips], device="cpu")
        return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), num_samples


def log_mel_spectrogram(waveforms: Tensor, sampling_rate: int = 16000, num_mel_bins: int = 128) -> Tensor:
    """Kaldi's log-mel filter bank of a batch, differentiable, neither padded nor normalised.

    Args:
        waveforms: (B, n) in [-1, 1], at least one frame long.
        sampling_rate: In Hz.
        num_mel_bins: Mel bins.

    Returns:
        (B, 1 + (n - 400) // 160, mel bins) at 16 kHz: only frames that lie wholly within the clip.

    Example:
        >>> log_mel_spectrogram(torch.zeros(2, 16000)).shape
        torch.Size([2, 98, 128])
    """
    frame, hop = frame_samples(sampling_rate), hop_samples(sampling_rate)
    window, mel_bank = _window_and_mel_bank(sampling_rate, num_mel_bins, waveforms.device)
    frames = waveforms.unfold(-1, frame, hop)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    frames = (frames - PREEMPHASIS * previous) * window
    spectrum = torch.fft.rfft(frames, n=_fft_samples(sampling_rate))
    power = torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag)  # without the root that abs() takes
    with torch.autocast(waveforms.device.type, enabled=False):  # in half precision the numbers would be others
        energies = power @ mel_bank
    return energies.clamp(min=torch.finfo(torch.float32).eps).log()


def num_frames(num_samples: Any, sampling_rate: int = 16000) -> Any:
    """Frames of a clip of this many samples: 98 for a second at 16 kHz.

    Example:
        >>> num_frames(16000)
        98
    """
    return 1 + (num_samples - frame_samples(sampling_rate)) // hop_samples(sampling_rate)


def window_samples(frames: int, sampling_rate: int = 16000) -> int:
    """Samples that this many frames take: 20720 for 128 at 16 kHz.

    Example:
        >>> window_samples(128)
        20720
    """
    return frame_samples(sampling_rate) + (frames - 1) * hop_samples(sampling_rate)


def mel_of(hertz: float) -> float:
    """Kaldi's mel scale."""
    return 1127.0 * math.log(1.0 + hertz / 700.0)


def hertz_of(mel: Tensor) -> Tensor:
    """The inverse of [`mel_of`]."""
    return 700.0 * ((mel / 1127.0).exp() - 1.0)


def frame_samples(sampling_rate: int) -> int:
    """Samples in a frame of 25 ms."""
    return int(sampling_rate * FRAME_SECONDS)


def hop_samples(sampling_rate: int) -> int:
    """Samples from one frame to the next, 10 ms."""
    return int(sampling_rate * HOP_SECONDS)


def _fft_samples(sampling_rate: int) -> int:
    return 2 ** math.ceil(math.log2(frame_samples(sampling_rate)))


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # a later call may differentiate through what is cached
def _window_and_mel_bank(sampling_rate: int, num_mel_bins: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The Hann window (frame samples,) and Kaldi's triangles on the mel scale (frequencies, mel bins).

    In float32 throughout, like Kaldi's and torchaudio's: nearly empty bins hold little but rounding, and published
    checkpoints were trained on it. Whatever the defaults of the process are, so that the cache serves every caller.
    """
    exact: Any = {"dtype": torch.float32, "device": "cpu"}
    window = torch.hann_window(frame_samples(sampling_rate), periodic=False, **exact)
    lowest, highest = mel_of(LOWEST_HZ), mel_of(sampling_rate / 2)
    spacing = (highest - lowest) / (num_mel_bins + 1)
    bins = torch.arange(num_mel_bins, **exact)
    left, centre, right = (lowest + (bins + step) * spacing for step in (0.0, 1.0, 2.0))
    fft_samples = _fft_samples(sampling_rate)
    hertz = torch.arange(fft_samples // 2, **exact) * (sampling_rate / fft_samples)
    mel = (1127.0 * (1.0 + hertz / 700.0).log()).unsqueeze(1)
    bank = torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)).clamp(min=0)
    # The Nyquist frequency is the upper foot of the last triangle: no bin hears it.
    return window.to(device), F.pad(bank, (0, 0, 0, 1)).to(device)


# See configuration_fastast.py.
FastASTFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
