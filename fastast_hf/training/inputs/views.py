"""A batch of clips as models see it in training: augmented once, then looked at through any model's front end.

Consistent teaching (Beyer et al. 2022; FastAST, Behera et al. 2024, §2.3) wants student and teacher to see the same.
What is drawn for the waveforms is in them; what is drawn for the spectrograms (masks, noise, roll) is kept on the
grid of the student's, and put on another grid by seconds and Hz.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...model.feature_extraction_fastast import FastASTFeatureExtractor
from ..arguments import AugmentationArguments
from . import augmentation

_NOT_THE_GRID = ("mean", "std", "auto_map")  # statistics, and where a saved one has its code


@dataclass(frozen=True)
class SpectrogramDraws:
    """What augmentation does to a batch's spectrograms, on the grid of one front end.

    Attributes:
        masked: (B, frames, mel bins) cells that hold 0.0 in raw log-mel units.
        noise: (B, frames, mel bins) added after normalising.
        shift: (B, 1) frames to roll by.
    """

    masked: Tensor | None = None
    noise: Tensor | None = None
    shift: Tensor | None = None


@dataclass(frozen=True)
class Mixture:
    """Which clips of the training split each clip of a batch is made of.

    Attributes:
        clips: (B,) indices.
        partners: (B,) indices of what was mixed in; -1 for none.
        weights: (B, 1) of the clip; its partner has the rest.
    """

    clips: Tensor
    partners: Tensor
    weights: Tensor


@dataclass(frozen=True)
class View:
    """A batch after augmentation.

    Attributes:
        waveforms: (B, n) at the student's rate.
        num_samples: (B,) how many samples of each are the clip's.
        targets: (B, classes).
        draws: For the student's spectrograms.
        mixture: What the clips are made of; None where that is not known, in a stream.
    """

    waveforms: Tensor
    num_samples: Tensor
    targets: Tensor
    draws: SpectrogramDraws
    mixture: Mixture | None = None


def augmented(
    view: View,
    inputs: dict[str, Tensor],
    settings: AugmentationArguments,
    noise: Tensor | None,
    sampling_rate: int,
    smoothing: float,
) -> View:
    """A batch with its waveforms and targets changed as `settings` say, its labels smoothed by `smoothing`."""
    waveforms, num_samples, targets = view.waveforms, view.num_samples, view.targets
    weights, partners = torch.ones(len(waveforms), 1, device=waveforms.device), inputs.get("partner_clip")
    if settings.mixup > 0:
        others, samples, other_targets = _partners(inputs, settings.mixup)
        weights = (
            torch.distributions.Beta(settings.mixup_beta, settings.mixup_beta)
            .sample((len(waveforms), 1))
            .to(waveforms.device)
        )
        waveforms = augmentation.mixup(waveforms, inputs["num_samples"], others, samples, weights)
        targets = torch.where(samples.unsqueeze(1) > 0, weights * targets + (1 - weights) * other_targets, targets)
    if settings.speed != 1:
        waveforms = augmentation.random_speed(waveforms, num_samples, 1 / settings.speed, settings.speed)
    if settings.shift:
        waveforms = augmentation.random_shift(waveforms, int(settings.shift * sampling_rate))
    if settings.overlay > 0:
        for share in (settings.overlay, settings.overlay / 2):
            waveforms, num_samples, targets = augmentation.overlay(waveforms, num_samples, targets, share, -10.0, 10.0)
    if settings.noise > 0:
        assert noise is not None  # checked when the trainer was made
        waveforms = augmentation.add_noise(waveforms, num_samples, noise.to(waveforms), settings.noise, 0.0, 30.0)
    if settings.gain:
        waveforms = augmentation.random_gain(waveforms, -settings.gain, settings.gain)
    targets = targets * (1 - smoothing) + smoothing / targets.shape[1]
    mixture = None if partners is None else Mixture(inputs["clip"], partners, weights)
    return replace(view, waveforms=waveforms, num_samples=num_samples, targets=targets, mixture=mixture)


def _partners(inputs: dict[str, Tensor], share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Partners for mixup: those that the sampler drew or, in a stream, other clips of the batch."""
    if "partner_waveforms" in inputs:
        return inputs["partner_waveforms"], inputs["partner_num_samples"], inputs["partner_labels"]
    device, count = inputs["waveforms"].device, len(inputs["waveforms"])
    order = torch.randperm(count, device=device)
    mixed = torch.rand(count, device=device) < share
    return inputs["waveforms"][order], inputs["num_samples"][order] * mixed, inputs["labels"][order]


def draw_for_spectrograms(
    extractor: FastASTFeatureExtractor, like: Tensor, frequency_mask: int, time_mask: int, roll: bool
) -> SpectrogramDraws:
    """Draw masks, noise and roll for the spectrograms that `extractor` makes of a batch `like` this one."""
    grid = torch.empty(len(like), extractor.max_length, extractor.num_mel_bins, device=like.device)
    masked = augmentation.draw_masks(grid, frequency_mask, time_mask) if frequency_mask or time_mask else None
    if not roll:
        return SpectrogramDraws(masked)
    return SpectrogramDraws(masked, augmentation.draw_feature_noise(grid), augmentation.draw_roll(grid))


def spectrograms(extractor: FastASTFeatureExtractor, view: View) -> Tensor:
    """The student's input (B, frames, mel bins)."""
    raw, _ = extractor.spectrogram(view.waveforms, view.num_samples)
    features = _masked_and_normalised(extractor, raw, view.draws)
    return features if view.draws.shift is None else augmentation.roll(features, view.draws.shift)


def same_grid(one: FastASTFeatureExtractor, other: FastASTFeatureExtractor) -> bool:
    """Whether two front ends differ at most in the statistics that they normalise with."""
    fields, others = (
        {key: value for key, value in extractor.to_dict().items() if key not in _NOT_THE_GRID}
        for extractor in (one, other)
    )
    return type(one) is type(other) and fields == others


def spectrograms_for_another(
    extractor: FastASTFeatureExtractor, features: Tensor, other: FastASTFeatureExtractor, view: View, waveforms: Tensor
) -> Tensor:
    """The same batch through another front end.

    Args:
        extractor: The student's.
        features: What [`spectrograms`] made by it: returned as it is where `other` is equal, and only scaled where it
            differs in its statistics alone.
        other: The teacher's.
        view: The student's.
        waveforms: (B, n) of `view`, at the rate of `other`.
    """
    if same_grid(extractor, other):
        if (extractor.mean, extractor.std) == (other.mean, other.std) or not other.do_normalize:
            return features
        return other.normalize(features * (2 * extractor.std) + extractor.mean)
    rate = other.sampling_rate / extractor.sampling_rate
    num_samples = (view.num_samples * rate).long().clamp(max=other.samples_of(other.max_length))
    raw, _ = other.spectrogram(waveforms[:, : other.samples_of(other.max_length)], num_samples)
    draws = on_another_grid(extractor, view.draws, other)
    features = _masked_and_normalised(other, raw, draws)
    if draws.shift is None:
        return features
    # Where the student's frame that is heard at the same time came from, in this front end's frames.
    with torch.device(features.device):  # brought there from elsewhere, they would wait for all before them
        own, others = extractor.frame_seconds(), other.frame_seconds()
        there, back = _nearest(own, others), _nearest(others, own)
        source = back[(there - draws.shift) % len(own)] - back[there]
        frames = torch.arange(len(others))
        return augmentation.take_frames(features, (frames + source).clamp(0, len(others) - 1))


def on_another_grid(
    extractor: FastASTFeatureExtractor, draws: SpectrogramDraws, other: FastASTFeatureExtractor
) -> SpectrogramDraws:
    """Masks and noise at the same seconds and Hz on the grid of `other`, none where the first grid does not reach."""

    def moved(cells: Tensor) -> Tensor:
        with torch.device(cells.device):  # brought there from elsewhere, they would wait for all before them
            axes = (
                (extractor.frame_seconds(), other.frame_seconds()),
                (extractor.mel_hertz(), other.mel_hertz()),
            )
            (frames, known_frames), (bins, known_bins) = ((_nearest(*axis), _within(*axis)) for axis in axes)
            return cells[:, frames][:, :, bins] * (known_frames[:, None] & known_bins)

    # Noise is in normalised units: as loud beside the sound as it is to the student.
    ratio = _unit(other) / _unit(extractor)
    return replace(
        draws,
        masked=None if draws.masked is None else moved(draws.masked),
        noise=None if draws.noise is None else moved(draws.noise) * ratio,
    )


def _masked_and_normalised(extractor: FastASTFeatureExtractor, raw: Tensor, draws: SpectrogramDraws) -> Tensor:
    """Masks before normalising, as AST was trained, and noise after it."""
    features = raw if draws.masked is None else raw.masked_fill(draws.masked, 0.0)
    features = extractor.normalize(features) if extractor.do_normalize else features
    return features if draws.noise is None else features + draws.noise


def _nearest(given: Tensor, wanted: Tensor) -> Tensor:
    """For each of the wanted places, the index of the nearest one given; both ascend."""
    middles = (given[1:] + given[:-1]) / 2
    return torch.bucketize(wanted.to(middles), middles)


def _within(given: Tensor, wanted: Tensor) -> Tensor:
    """Which of the wanted places the given ones reach, half a step beyond the first and the last included."""
    first = given[0] - (given[1] - given[0]) / 2
    last = given[-1] + (given[-1] - given[-2]) / 2
    return (wanted >= first) & (wanted <= last)


def _unit(extractor: FastASTFeatureExtractor) -> float:
    """By how much a normalised value grows when log-mel grows by 1."""
    if not extractor.do_normalize:
        return 1.0
    zero, one = extractor.normalize(torch.tensor([0.0, 1.0])).tolist()
    return one - zero
