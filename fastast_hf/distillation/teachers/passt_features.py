"""PaSST's front end (Koutini et al. 2022): log-mel spectrograms of whole batches, on the waveforms' device."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...model.feature_extraction_fastast import (
    PREEMPHASIS,
    FastASTFeatureExtractor,
    frame_samples,
    hertz_of,
    hop_samples,
    mel_of,
)

FLOOR = 1e-5  # added to the mel energies before the logarithm
HZ_BELOW_NYQUIST = 1000.0  # where the highest mel bin ends: PaSST moved that end by as much in training


class PasstFeatureExtractor(FastASTFeatureExtractor):
    r"""Waveforms to the normalised log-mel spectrograms that PaSST was trained on (Koutini et al. 2022, §3).

    Pre-emphasis 0.97, frames of 25 ms centred on every 10 ms, symmetric Hann window, power spectrum, Kaldi's mel bins
    from 0 Hz to 1 kHz below half the sampling rate, `ln(x + 1e-5)`, then `(x + 4.5) / 5`. A shorter clip is padded
    with silence, and a longer one cut at the end, before all that. 32 kHz is what the released checkpoints take; at
    16 kHz everything is halved that is counted in samples, so that a corpus of that rate can be taught from without
    resampling.

    Args:
        feature_size: 1, as every mono extractor of transformers has it.
        sampling_rate: In Hz.
        num_mel_bins: Mel bins of a spectrogram.
        max_length: Frames of a spectrogram; one each 10 ms.
        padding_value: What masked cells hold before normalisation, as SpecAugment writes them.
        do_normalize: Whether to normalise.
        mean: What normalising subtracts.
        std: Half of what it divides by.
        return_attention_mask: Whether to return `attention_mask` (B, frames), 0 for the padding. PaSST takes none.
        kwargs: What `SequenceFeatureExtractor` takes.

    Example:
        >>> extractor = PasstFeatureExtractor(max_length=500)
        >>> extractor(torch.zeros(160000), sampling_rate=32000, return_tensors="pt").input_values.shape
        torch.Size([1, 500, 128])
    """

    _auto_class = None  # FastAST's is saved with its code, for those without the package; a teacher's is not

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 32000,
        num_mel_bins: int = 128,
        max_length: int = 1000,
        padding_value: float = 0.0,
        do_normalize: bool = True,
        mean: float = -4.5,
        std: float = 2.5,
        return_attention_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            num_mel_bins=num_mel_bins,
            max_length=max_length,
            padding_value=padding_value,
            do_normalize=do_normalize,
            mean=mean,
            std=std,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )

    def spectrogram(
        self, waveforms: Tensor, num_samples: Tensor, max_length: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-mel values before normalisation, which is where SpecAugment masks them.

        Args:
            waveforms: (B, n), zeros after each clip's end.
            num_samples: (B,) how many samples of each are the clip's.
            max_length: Frames instead of the extractor's own.

        Returns:
            (B, frames, mel bins), and which frames (B, frames) are centred within the clip.

        Raises:
            ValueError: `max_length` is 1: the front end looks further than that.
        """
        max_length = self.max_length if max_length is None else max_length
        # The silence is put into the waveform: frames across a clip's end hear both.
        waveforms = F.pad(waveforms, (0, self.samples_of(max_length) - waveforms.shape[1]))
        features = passt_spectrogram(waveforms, self.sampling_rate, self.num_mel_bins)
        starts = self.samples_of(1) * torch.arange(max_length, device=features.device)
        return features, starts < num_samples.to(features.device).unsqueeze(1)

    def samples_of(self, frames: int) -> int:
        """Samples that so many frames take, at this extractor's rate: 320 each at 32 kHz."""
        return frames * hop_samples(self.sampling_rate)

    def frame_seconds(self) -> Tensor:
        """The middle (frames,) of each of `max_length` frames, in seconds from the clip's start."""
        return torch.arange(self.max_length, dtype=torch.float32) * (
            hop_samples(self.sampling_rate) / self.sampling_rate
        )

    def mel_hertz(self) -> Tensor:
        """The middle (mel bins,) of each mel bin, in Hz."""
        step = mel_of(highest_hertz(self.sampling_rate)) / (self.num_mel_bins + 1)
        return hertz_of(step * torch.arange(1, self.num_mel_bins + 1, dtype=torch.float32))


def passt_spectrogram(waveforms: Tensor, sampling_rate: int = 32000, num_mel_bins: int = 128) -> Tensor:
    """PaSST's log-mel values of a batch, differentiable, neither padded nor normalised.

    Args:
        waveforms: (B, n) in [-1, 1], more than half a spectrum's samples long: 514 at 32 kHz.
        sampling_rate: In Hz.
        num_mel_bins: Mel bins.

    Returns:
        (B, ceil(n / 320), mel bins) at 32 kHz; frame t is centred on t times 10 ms.

    Raises:
        ValueError: The waveforms are shorter.

    Example:
        >>> passt_spectrogram(torch.zeros(2, 32000)).shape
        torch.Size([2, 100, 128])
    """
    fft_samples = _fft_samples(sampling_rate)
    if waveforms.shape[1] < fft_samples // 2 + 2:
        raise ValueError(
            f"waveforms of {waveforms.shape[1]} samples were given; PaSST's front end takes "
            f"{fft_samples // 2 + 2} or more at {sampling_rate} Hz: give longer clips, or more frames in max_length"
        )
    window, mel_bank = _window_and_mel_bank(sampling_rate, num_mel_bins, waveforms.device)
    with torch.autocast(waveforms.device.type, enabled=False):  # in half precision the numbers would be others
        emphasised = waveforms[:, 1:] - PREEMPHASIS * waveforms[:, :-1]
        spectrum = torch.stft(
            emphasised, fft_samples, hop_samples(sampling_rate), len(window), window, center=True, return_complex=True
        )
        power = torch.view_as_real(spectrum).square().sum(dim=-1)  # (B, frequencies, frames)
        energies = power.transpose(1, 2) @ mel_bank
    return (energies + FLOOR).log()


def highest_hertz(sampling_rate: int) -> float:
    """Where the highest mel bin ends, in Hz: 15 kHz at 32 kHz.

    Example:
        >>> highest_hertz(32000)
        15000.0
    """
    return sampling_rate / 2 - HZ_BELOW_NYQUIST


def _fft_samples(sampling_rate: int) -> int:
    return 2 ** math.ceil(math.log2(frame_samples(sampling_rate)))


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what one call caches, another one differentiates through
def _window_and_mel_bank(sampling_rate: int, num_mel_bins: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The Hann window (frame samples,) and Kaldi's triangles on the mel scale (frequencies, mel bins), in float32."""
    kind: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}  # whatever the defaults are just now
    window = torch.hann_window(frame_samples(sampling_rate), periodic=False, **kind)
    spacing = mel_of(highest_hertz(sampling_rate)) / (num_mel_bins + 1)
    bins = torch.arange(num_mel_bins, **kind)
    left, centre, right = ((bins + step) * spacing for step in (0.0, 1.0, 2.0))
    fft_samples = _fft_samples(sampling_rate)
    hertz = torch.arange(fft_samples // 2 + 1, **kind) * (sampling_rate / fft_samples)
    mel = (1127.0 * (1.0 + hertz / 700.0).log()).unsqueeze(1)
    bank = torch.minimum((mel - left) / (centre - left), (right - mel) / (right - centre)).clamp(min=0)
    return window.to(device), bank.to(device)
