"""Augmentation: what each does to a signal whose answer is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fastast_hf.training.inputs.augmentation import (
    add_noise,
    coloured_noise,
    draw_feature_noise,
    draw_roll,
    mixup,
    overlay,
    random_gain,
    random_shift,
    random_speed,
    roll,
    spec_augment,
)

RATE = 8000


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(waveforms: Tensor) -> Tensor:
    """As many samples as there are."""
    return torch.full((len(waveforms),), waveforms.shape[1])


AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "speed": lambda x: random_speed(x, whole(x), 0.8, 1.2),
    "shift": lambda x: random_shift(x, 300),
    "gain": lambda x: random_gain(x, -6, 6),
    "noise": lambda x: add_noise(x, whole(x), noise(3, x.shape[1], seed=9), 0.5, 0, 20),
    "roll": lambda x: roll(x.view(len(x), -1, 20), draw_roll(x.view(len(x), -1, 20))).flatten(1),
    "feature noise": lambda x: x + draw_feature_noise(x.view(len(x), -1, 20)).flatten(1),
    "spec": lambda x: spec_augment(x.view(len(x), -1, 20), 5, 30).flatten(1),
}
NEUTRAL: dict[str, Callable[[Tensor], Tensor]] = {
    "speed": lambda x: random_speed(x, whole(x), 1.0, 1.0),
    "shift": lambda x: random_shift(x, 0),
    "gain": lambda x: random_gain(x, 0.0, 0.0),
    "noise": lambda x: add_noise(x, whole(x), noise(3, x.shape[1]), 0.0, 0.0, 0.0),
    "spec": lambda x: spec_augment(x.view(len(x), -1, 20), 0, 0).flatten(1),
}


@pytest.mark.parametrize("augment", AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_augmentations_keep_the_shape_leave_their_input_alone_and_follow_the_seed(
    augment: Callable[[Tensor], Tensor],
) -> None:
    inputs = noise(8, 2000)
    before = inputs.clone()
    outputs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        outputs.append(augment(inputs))
    assert torch.equal(inputs, before)
    assert outputs[0].shape == inputs.shape and outputs[0].dtype == inputs.dtype
    assert torch.isfinite(outputs[0]).all()
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    changes = (outputs[0] - inputs).abs().sum(dim=1)
    assert changes.unique().numel() > 2  # each clip has its own draw


@pytest.mark.parametrize("augment", NEUTRAL.values(), ids=NEUTRAL)
def test_neutral_settings_change_nothing(augment: Callable[[Tensor], Tensor]) -> None:
    inputs = noise(4, 2000)
    assert torch.equal(augment(inputs), inputs)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.25])
def test_speed_moves_a_tone_by_its_factor(factor: float) -> None:
    time = torch.arange(RATE) / RATE
    outputs = random_speed(torch.sin(2 * torch.pi * 400 * time)[None], torch.tensor([RATE]), factor, factor)
    peak = torch.fft.rfft(outputs[0]).abs().argmax().item()  # bins of 1 Hz
    assert peak == pytest.approx(400 * factor, abs=1.5)


def test_speed_keeps_the_middle_and_leaves_silence_at_both_ends() -> None:
    inputs = torch.zeros(1, 1001)
    inputs[0, 500] = 1.0
    assert random_speed(inputs, torch.tensor([1001]), 0.7, 0.7)[0].argmax() == 500
    outputs = random_speed(torch.ones(1, 1001), torch.tensor([1001]), 2.0, 2.0)[0]
    assert (outputs[250:751] == 1).all() and outputs.sum() == 501


def test_speed_keeps_the_middle_of_a_clip_that_is_shorter_than_its_batch() -> None:
    inputs = torch.zeros(1, 1000)
    inputs[0, :601] = 1.0
    inputs[0, 300] = 9.0
    for factor in (0.8, 1.25):
        outputs = random_speed(inputs, torch.tensor([601]), factor, factor)[0]
        assert outputs.argmax() == 300 and not outputs[601:].any()
    faster = random_speed(inputs, torch.tensor([601]), 2.0, 2.0)[0]
    assert not faster[:150].any() and faster[150:451].all() and not faster[451:].any()


def test_shift_moves_both_ways_and_zeros_come_in() -> None:
    inputs = torch.arange(1.0, 11.0).expand(200, -1)
    torch.manual_seed(0)
    outputs = random_shift(inputs, 3)
    seen = set()
    for row in outputs:
        shift = next(s for s in range(-3, 4) if row[5 + s] == 6)
        expected = torch.zeros(10)
        expected[max(0, shift) : 10 + min(0, shift)] = inputs[0, max(0, -shift) : 10 - max(0, shift)]
        assert torch.equal(row, expected)
        seen.add(shift)
    assert seen == set(range(-3, 4))


def test_gain_is_in_decibels() -> None:
    torch.testing.assert_close(random_gain(torch.ones(2, 4), 20.0, 20.0), torch.full((2, 4), 10.0))
    torch.manual_seed(0)
    decibels = 20 * random_gain(torch.ones(500, 1), -6.0, 3.0).log10()
    assert -6.001 <= decibels.min() < -5.5 and 2.5 < decibels.max() <= 3.001


@pytest.mark.parametrize("decibels", [-5.0, 0.0, 20.0])
def test_noise_is_added_at_the_ratio_asked_for(decibels: float) -> None:
    clips = noise(4, 4000) * torch.tensor([0.01, 0.1, 1.0, 10.0])[:, None]
    added = add_noise(clips, whole(clips), 3 * noise(2, 4000, seed=1), 1.0, decibels, decibels) - clips
    ratio = 10 * (clips.square().mean(dim=1) / added.square().mean(dim=1)).log10()
    torch.testing.assert_close(ratio, torch.full((4,), decibels), atol=0.01, rtol=0)


def test_noise_reaches_its_share_of_the_clips_and_spares_silence() -> None:
    torch.manual_seed(0)
    clips = noise(1000, 50)
    changed = (add_noise(clips, whole(clips), noise(5, 50, seed=1), 0.3, 0.0, 10.0) != clips).any(dim=1).float().mean()
    assert changed == pytest.approx(0.3, abs=0.05)
    silence = torch.zeros(2, 50)
    assert torch.equal(add_noise(silence, whole(silence), noise(1, 50), 1.0, 0.0, 0.0), silence)
    assert torch.equal(add_noise(clips, whole(clips), torch.zeros(1, 50), 1.0, 0.0, 0.0), clips)


def test_noise_is_measured_and_added_within_the_clip() -> None:
    clips = torch.cat([noise(1, 2000), torch.zeros(1, 2000)], dim=1)
    added = add_noise(clips, torch.tensor([2000]), noise(1, 4000, seed=1), 1.0, 6.0, 6.0) - clips
    assert not added[:, 2000:].any()
    ratio = 10 * (clips[:, :2000].square().mean() / added[:, :2000].square().mean()).log10()
    assert ratio.item() == pytest.approx(6.0, abs=0.01)


def test_mixup_is_asts_of_two_clips_of_other_lengths() -> None:
    long, short = noise(1, 100)[0] + 3.0, noise(1, 60, seed=1)[0] - 2.0
    padded = torch.cat([short, torch.zeros(40)])
    waveforms, partners = torch.stack([long, padded]), torch.stack([padded, long])
    mixed = mixup(waveforms, torch.tensor([100, 60]), partners, torch.tensor([60, 100]), torch.tensor([[0.3], [0.8]]))

    # Each without its mean; the partner padded or cut to the clip's length; the mixture without its mean.
    long, short = long - long.mean(), short - short.mean()
    first = 0.3 * long + 0.7 * torch.cat([short, torch.zeros(40)])
    second = 0.8 * short + 0.2 * long[:60]
    torch.testing.assert_close(mixed[0], first - first.mean(), atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed[1, :60], second - second.mean(), atol=1e-5, rtol=0)
    assert not mixed[1, 60:].any()


def test_mixup_leaves_a_clip_without_partner_as_it_is() -> None:
    clips = noise(2, 100) + 1.0
    mixed = mixup(clips, torch.tensor([100, 100]), clips.flip(0), torch.tensor([0, 100]), torch.full((2, 1), 0.5))
    assert torch.equal(mixed[0], clips[0])
    assert not torch.equal(mixed[1], clips[1])


def test_roll_goes_round_by_minus_10_to_9_frames() -> None:
    torch.manual_seed(0)
    ramp = torch.arange(50.0).view(1, 50, 1).expand(600, 50, 4)
    rolled = roll(ramp, draw_roll(ramp))
    shifts = rolled[:, :, 0].argmin(dim=1)
    assert set(shifts.tolist()) == {*range(10), *range(40, 50)}
    assert torch.equal(rolled.sort(dim=1).values, ramp)


def test_feature_noise_is_uniform_and_at_most_a_tenth() -> None:
    torch.manual_seed(0)
    added = draw_feature_noise(torch.zeros(500, 20, 10))
    assert added.min() >= 0 and added.max() < 0.1
    assert added.amax(dim=(1, 2)).mean() == pytest.approx(0.05, abs=0.005)  # the strength is uniform on [0, 0.1]
    assert added.mean() == pytest.approx(0.025, abs=0.002)


def run_lengths(masked: Tensor) -> list[int]:
    """Lengths of the stretches of True."""
    return [len(run) for run in "".join("x" if cell else " " for cell in masked).split()]


def test_spec_augment_zeroes_one_band_and_one_stretch_of_every_width_below_the_limits() -> None:
    torch.manual_seed(0)
    masked = spec_augment(torch.ones(400, 30, 20), max_frequency=5, max_time=7) == 0.0
    bands, stretches = masked.all(dim=1), masked.all(dim=2)
    assert torch.equal(masked, bands[:, None, :] | stretches[:, :, None])
    for rows, limit in ((bands, 5), (stretches, 7)):
        runs = [run_lengths(row) for row in rows]
        assert max(map(len, runs)) == 1
        assert {sum(run) for run in runs} == set(range(limit))
        assert rows.any(dim=0).all()  # the mask gets everywhere, both ends included


def test_spec_augment_takes_limits_beyond_the_spectrogram() -> None:
    torch.manual_seed(0)
    outputs = spec_augment(torch.ones(50, 6, 4), max_frequency=40, max_time=60)
    assert set(outputs.unique().tolist()) <= {0.0, 1.0}
    assert (outputs == 0).all(dim=(1, 2)).any()


def test_an_overlay_is_whole_at_its_level_and_brings_its_labels() -> None:
    torch.manual_seed(0)
    samples = torch.tensor([4000, 1000])
    clips = noise(2, 4000) * (torch.arange(4000) < samples[:, None]) * torch.tensor([[1.0], [9.0]])
    while True:  # until each has the other
        laid, ends, targets = overlay(clips, samples, torch.eye(2), 1.0, 6.0, 6.0)
        if (targets == 1).all():
            break
    added = (laid - clips)[0]
    heard = added.nonzero().flatten()
    assert len(heard) >= 990 and heard[-1] - heard[0] < 1000
    power = clips[0].square().mean() / (added.square().sum() / 1000)
    assert abs(10 * power.log10() - 6.0) < 0.1
    assert ends.tolist() == [4000, 4000]


def test_an_overlay_reaches_its_share_of_the_clips() -> None:
    torch.manual_seed(0)
    clips = noise(1000, 50)
    laid, _, targets = overlay(clips, whole(clips), torch.eye(1000), 0.3, -10.0, 10.0)
    changed = (laid != clips).any(dim=1)
    assert 0.25 < changed.float().mean() < 0.35
    assert torch.equal(targets.sum(dim=1) == 2, changed)


def test_computed_noise_goes_from_white_to_brown() -> None:
    power = torch.fft.rfft(coloured_noise(50, 16000)).abs().square()
    fall = 10 * (power[:, 100:200].mean(dim=1) / power[:, 4000:8000].mean(dim=1)).log10()
    assert fall.min() < 6 and fall.max() > 24
    assert torch.equal(coloured_noise(2, 100), coloured_noise(2, 100))
