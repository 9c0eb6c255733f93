"""Augmentation of batches in torch, on the device that they are on: waveforms first, then the spectrogram.

Random numbers come from torch's global generator of the tensor's device.
"""

from __future__ import annotations

import torch
from torch import Tensor


def random_speed(waveforms: Tensor, num_samples: Tensor, low: float, high: float) -> Tensor:
    """Play each clip faster or slower by a factor drawn from [low, high], keeping its middle and its length.

    Pitch and formants move along, as from one speaker to another (speed perturbation, Ko et al. 2015).

    Args:
        waveforms: (B, n), zeros after each clip's end.
        num_samples: (B,) samples that are the clip's.
        low: Slowest factor, above 0.
        high: Fastest factor.

    Example:
        >>> random_speed(torch.zeros(2, 16000), torch.tensor([16000, 8000]), 0.9, 1.1).shape
        torch.Size([2, 16000])
    """
    batch, samples = waveforms.shape
    factor = torch.empty(batch, 1, device=waveforms.device).uniform_(low, high)
    num_samples = num_samples.to(waveforms.device).unsqueeze(1)
    middle = (num_samples - 1) / 2
    place = torch.arange(samples, device=waveforms.device)
    position = (place - middle) * factor + middle
    inside = (position >= 0) & (position <= num_samples - 1) & (place < num_samples)
    index = position.floor().clamp(0, samples - 2).long()
    fraction = position - index
    value = waveforms.gather(1, index) * (1 - fraction) + waveforms.gather(1, index + 1) * fraction
    return torch.where(inside, value, 0.0)


def random_shift(waveforms: Tensor, max_samples: int) -> Tensor:
    """Move each clip (B, n) by up to `max_samples` either way; zeros come in.

    Example:
        >>> random_shift(torch.ones(2, 8), 0).sum()
        tensor(16.)
    """
    batch, samples = waveforms.shape
    shift = torch.randint(-max_samples, max_samples + 1, (batch, 1), device=waveforms.device)
    index = torch.arange(samples, device=waveforms.device) - shift
    return waveforms.gather(1, index.clamp(0, samples - 1)) * ((index >= 0) & (index < samples))


def random_gain(waveforms: Tensor, low_db: float, high_db: float) -> Tensor:
    """Scale each clip (B, n) by a gain drawn from [low_db, high_db] decibels.

    Example:
        >>> random_gain(torch.ones(1, 4), 0.0, 0.0)
        tensor([[1., 1., 1., 1.]])
    """
    decibels = torch.empty(waveforms.shape[0], 1, device=waveforms.device).uniform_(low_db, high_db)
    return waveforms * 10 ** (decibels / 20)


def add_noise(
    waveforms: Tensor, num_samples: Tensor, noise: Tensor, probability: float, low_db: float, high_db: float
) -> Tensor:
    """Add to some clips one of the noise clips each, at a signal-to-noise ratio drawn from [low_db, high_db].

    Args:
        waveforms: (B, n).
        num_samples: (B,) samples that are the clip's: the ratio is that of their mean power to the noise's.
        noise: (M, n) recordings to draw from.
        probability: How likely a clip is to get noise.
        low_db: Loudest noise, in decibels of signal over noise.
        high_db: Faintest noise.
    """
    batch, device = waveforms.shape[0], waveforms.device
    chosen = noise[torch.randint(noise.shape[0], (batch,), device=device)]
    ratio = 10 ** (torch.empty(batch, 1, device=device).uniform_(low_db, high_db) / 20)
    num_samples = num_samples.to(device).unsqueeze(1)
    inside = torch.arange(waveforms.shape[1], device=device) < num_samples
    signal_rms, noise_rms = (
        ((x * inside).square().sum(dim=1, keepdim=True) / num_samples).sqrt() for x in (waveforms, chosen)
    )
    scale = signal_rms / (noise_rms * ratio).clamp(min=1e-8)
    return waveforms + torch.where(torch.rand(batch, 1, device=device) < probability, scale, 0.0) * chosen * inside


def coloured_noise(count: int, samples: int, seed: int = 0) -> Tensor:
    """Noise (count, samples) from white to brown: a power that falls with the frequency to a power of 0 to 2.

    Example:
        >>> coloured_noise(2, 1000).square().mean(dim=1).sqrt()
        tensor([0.1000, 0.1000])
    """
    generator = torch.Generator().manual_seed(seed)
    spectrum = torch.fft.rfft(torch.randn(count, samples, generator=generator))
    slope = torch.rand(count, 1, generator=generator)  # of the amplitude
    noise = torch.fft.irfft(spectrum * torch.arange(spectrum.shape[1]).clamp(min=1) ** -slope, n=samples)
    return 0.1 * noise / noise.square().mean(dim=1, keepdim=True).sqrt()


def overlay(
    waveforms: Tensor, num_samples: Tensor, targets: Tensor, probability: float, low_db: float, high_db: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Lay over some clips another one of the batch each, at a random onset, whole.

    Args:
        waveforms: (B, n), zeros after each clip's end.
        num_samples: (B,) samples that are the clip's.
        targets: (B, classes); a clip gets those of the other, too.
        probability: How likely a clip is to get another.
        low_db: The loudest other, in decibels of the clip's mean power over its own.
        high_db: The faintest.

    Returns:
        The clips, their lengths and targets: a clip now lasts as long as what was laid over it.

    Example:
        >>> clips, lengths, targets = overlay(torch.ones(2, 8), torch.tensor([8, 2]), torch.eye(2), 0.0, 0.0, 0.0)
        >>> clips.sum(), lengths, targets.sum()
        (tensor(16.), tensor([8, 2]), tensor(2.))
    """
    (batch, length), device = waveforms.shape, waveforms.device
    partner = torch.randperm(batch, device=device)
    chosen = (torch.rand(batch, device=device) < probability) & (partner != torch.arange(batch, device=device))
    onset = (torch.rand(batch, device=device) * (length - num_samples[partner] + 1)).long()
    index = torch.arange(length, device=device) - onset.unsqueeze(1)
    others = waveforms[partner].gather(1, index.clamp(0, length - 1)) * (index >= 0)
    rms = (waveforms.square().sum(dim=1) / num_samples).sqrt()
    ratio = 10 ** (torch.empty(batch, device=device).uniform_(low_db, high_db) / 20)
    scale = torch.where(chosen, rms / (rms[partner] * ratio).clamp(min=1e-8), 0.0)
    ends = torch.where(chosen, onset + num_samples[partner], 0)
    more = torch.where(chosen.unsqueeze(1), targets[partner], 0.0)
    return waveforms + scale.unsqueeze(1) * others, torch.maximum(num_samples, ends), torch.maximum(targets, more)


def mixup(
    waveforms: Tensor, num_samples: Tensor, partners: Tensor, partner_samples: Tensor, weights: Tensor
) -> Tensor:
    """Mix each clip with a partner as AST does: without their means, over the length of the clip.

    A longer partner is cut and a shorter one padded with zeros, after its mean is taken away. Labels mix in the same
    proportion (Tokozume et al. 2018; AST, Gong et al. 2021, §3.1).

    Args:
        waveforms: (B, n), zeros after each clip's end.
        num_samples: (B,) samples that are the clip's.
        partners: (B, n).
        partner_samples: (B,); a clip whose partner has 0 samples stays as it is.
        weights: (B, 1), of the clip; its partner gets the rest.

    Returns:
        (B, n), zeros after each clip's end.
    """
    mixed = weights * _centred(waveforms, num_samples) + (1 - weights) * _centred(partners, partner_samples)
    return torch.where(partner_samples.unsqueeze(1) > 0, _centred(mixed, num_samples), waveforms)


def _centred(waveforms: Tensor, num_samples: Tensor) -> Tensor:
    """Each clip without its mean, and zeros after its end."""
    num_samples = num_samples.unsqueeze(1)
    inside = torch.arange(waveforms.shape[1], device=waveforms.device) < num_samples
    means = (waveforms * inside).sum(dim=1, keepdim=True) / num_samples.clamp(min=1)
    return (waveforms - means) * inside


def spec_augment(features: Tensor, max_frequency: int, max_time: int) -> Tensor:
    """Mask one band of mel bins and one stretch of frames per clip (SpecAugment, Park et al. 2019).

    Masked cells hold 0.0 in *raw* log-mel units, which is what AST was trained with: call it before normalisation.

    Args:
        features: (B, frames, mel bins), not normalised.
        max_frequency: Widest band, in mel bins, exclusive; 0 for none.
        max_time: Longest stretch, in frames, exclusive; 0 for none.

    Example:
        >>> spec_augment(torch.ones(4, 100, 128), 24, 24).shape
        torch.Size([4, 100, 128])
    """
    return features.masked_fill(draw_masks(features, max_frequency, max_time), 0.0)


def draw_masks(features: Tensor, max_frequency: int, max_time: int) -> Tensor:
    """Which cells (B, frames, mel bins) [`spec_augment`] masks; widths are uniform on {0, ..., max - 1}."""
    masked = torch.zeros(features.shape, dtype=torch.bool, device=features.device)
    for axis, longest in ((2, max_frequency), (1, max_time)):
        if longest > 0:
            size, batch = features.shape[axis], features.shape[0]
            width = torch.randint(longest, (batch, 1), device=features.device).clamp(max=size)
            start = (torch.rand(batch, 1, device=features.device) * (size - width + 1)).long()
            cell = torch.arange(size, device=features.device)
            within = (cell >= start) & (cell < start + width)
            masked |= within.unsqueeze(1 if axis == 2 else 2)
    return masked


def draw_feature_noise(features: Tensor) -> Tensor:
    """Uniform noise (B, frames, mel bins) for normalised spectrograms, of a strength of its own for each, at most 0.1.

    AST trains with it on Speech Commands, together with [`draw_roll`].
    """
    strength = torch.rand(features.shape[0], 1, 1, device=features.device) / 10
    return torch.rand_like(features) * strength


def draw_roll(features: Tensor, max_frames: int = 10) -> Tensor:
    """By how many frames (B, 1) each spectrogram is rolled along time: -max_frames to max_frames - 1."""
    return torch.randint(-max_frames, max_frames, (features.shape[0], 1), device=features.device)


def roll(features: Tensor, shift: Tensor) -> Tensor:
    """Move each spectrogram (B, frames, mel bins) along time by `shift` (B, 1) frames; what leaves comes in again.

    Example:
        >>> roll(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[1]])).flatten()
        tensor([3., 1., 2.])
    """
    index = (torch.arange(features.shape[1], device=features.device) - shift) % features.shape[1]
    return take_frames(features, index)


def take_frames(features: Tensor, index: Tensor) -> Tensor:
    """The frames `index` (B, frames') of each spectrogram (B, frames, mel bins)."""
    return features.gather(1, index.unsqueeze(2).expand(-1, -1, features.shape[2]))
