"""What student and teacher see: the same sound, at the same time, behind the same masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_corpora import write_esc50
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainingArguments

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification, PasstFeatureExtractor
from fastast_hf.corpora import load_corpus
from fastast_hf.distillation.teachers.teacher import upsample
from fastast_hf.training.arguments import AugmentationArguments
from fastast_hf.training.inputs.batches import ClipDataset
from fastast_hf.training.inputs.views import (
    SpectrogramDraws,
    View,
    on_another_grid,
    spectrograms,
    spectrograms_for_another,
)
from fastast_hf.training.trainer import FastASTTrainer

Make = Callable[..., Any]
FRAMES = 200  # 2 s
STUDENT = FastASTFeatureExtractor(max_length=FRAMES, mean=-5.0, std=4.0)
TEACHERS = {
    "32 kHz": PasstFeatureExtractor(max_length=FRAMES),
    "16 kHz": PasstFeatureExtractor(max_length=FRAMES, sampling_rate=16000),
}


def view_of(waveforms: Tensor, **draws: Any) -> View:
    samples = torch.full((len(waveforms),), waveforms.shape[1])
    return View(waveforms, samples, torch.zeros(len(waveforms), 2), SpectrogramDraws(**draws))


def through(extractor: FastASTFeatureExtractor, view: View) -> tuple[Tensor, Tensor]:
    """The student's spectrograms and the teacher's."""
    features = spectrograms(STUDENT, view)
    waveforms = upsample(view.waveforms, extractor.sampling_rate // 16000)
    return features, spectrograms_for_another(STUDENT, features, extractor, view, waveforms)


def test_an_equal_front_end_gives_the_very_tensor_and_other_statistics_scale_it() -> None:
    view = view_of(0.1 * torch.randn(2, 30000), shift=torch.tensor([[3], [-5]]))
    equal = FastASTFeatureExtractor(max_length=FRAMES, mean=-5.0, std=4.0)
    features, seen = through(equal, view)
    assert seen is features
    other = FastASTFeatureExtractor(max_length=FRAMES, mean=-4.2, std=2.3)
    features, seen = through(other, view)
    raw = features * 8.0 - 5.0
    torch.testing.assert_close(seen, (raw + 4.2) / 4.6, atol=1e-5, rtol=0)


@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
@pytest.mark.parametrize("shift", [-10, 0, 7])
def test_a_click_is_at_the_same_time_in_both_spectrograms(teacher: PasstFeatureExtractor, shift: int) -> None:
    waveforms = torch.zeros(3, STUDENT.samples_of(FRAMES))
    places = [0.3, 0.9, 1.4]
    for row, seconds in enumerate(places):
        waveforms[row, int(16000 * seconds)] = 1.0
    for features, extractor in zip(through(teacher, view_of(waveforms, shift=torch.full((3, 1), shift))),
                                   (STUDENT, teacher), strict=True):  # fmt: skip
        loudest = features.mean(dim=2)
        for row, seconds in enumerate(places):
            heard = extractor.frame_seconds()[loudest[row] > (loudest[row].max() + loudest[row].min()) / 2]
            assert heard.mean().item() == pytest.approx(seconds + shift / 100, abs=0.011)


@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
def test_a_roll_brings_the_end_to_the_start_for_both(teacher: PasstFeatureExtractor) -> None:
    waveforms = torch.zeros(1, STUDENT.samples_of(FRAMES))
    waveforms[0, int(1.95 * 16000)] = 1.0
    for features in through(teacher, view_of(waveforms, shift=torch.tensor([[9]]))):
        assert features.mean(dim=2).argmax().item() in range(3, 7)


@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
def test_masks_cover_the_same_seconds_and_hertz(teacher: PasstFeatureExtractor) -> None:
    masked = torch.zeros(2, FRAMES, 128, dtype=torch.bool)
    masked[0, 40:90] = True
    masked[1, :, 60:100] = True
    moved = on_another_grid(STUDENT, SpectrogramDraws(masked), teacher).masked
    assert moved is not None and moved.dtype == torch.bool

    seconds, own_seconds = teacher.frame_seconds(), STUDENT.frame_seconds()
    assert torch.equal(moved[0].any(dim=1), moved[0, :, 3:90].all(dim=1))
    covered = seconds[moved[0].any(dim=1)]
    assert covered.min().item() == pytest.approx(own_seconds[40].item(), abs=0.01)
    assert covered.max().item() == pytest.approx(own_seconds[89].item(), abs=0.01)

    hertz, own_hertz = teacher.mel_hertz(), STUDENT.mel_hertz()
    covered = hertz[moved[1].any(dim=0)]
    step = (own_hertz[100] - own_hertz[99]).item()
    assert covered.min().item() == pytest.approx(own_hertz[60].item(), abs=step)
    assert covered.max().item() == pytest.approx(own_hertz[99].item(), abs=step)


def test_beyond_the_students_hearing_nothing_is_masked() -> None:
    masked = torch.ones(1, FRAMES, 128, dtype=torch.bool)
    teacher = PasstFeatureExtractor(max_length=FRAMES + 50)
    moved = on_another_grid(STUDENT, SpectrogramDraws(masked), teacher).masked
    assert moved is not None
    above = teacher.mel_hertz() > 8000
    assert above.any() and not moved[0][:, above].any() and not moved[0][FRAMES + 5 :].any()
    assert moved[0][2 : FRAMES - 2, 2 : int((~above).sum()) - 2].all()


def test_noise_is_as_loud_to_both_and_at_the_same_places() -> None:
    teacher = TEACHERS["16 kHz"]
    noise = torch.zeros(1, FRAMES, 128)
    noise[0, 50:60, 40:50] = 0.1  # 0.8 in log-mel units
    moved = on_another_grid(STUDENT, SpectrogramDraws(noise=noise), teacher).noise
    assert moved is not None
    assert moved.max().item() == pytest.approx(0.8 / 5, rel=1e-3)
    assert 5 * moved.sum().item() == pytest.approx(8 * noise.sum().item(), rel=0.2)


class Arrivals(TorchDispatchMode):
    """Counts what is brought to a device from another one."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and torch.device(kwargs.get("device") or "cpu") != args[0].device:
            self.count += kwargs.get("device") is not None
        return func(*args, **kwargs)


def test_on_an_accelerator_nothing_is_brought_there_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each such copy would wait for the student's forward pass. The meta device stands in for one."""
    teacher = TEACHERS["32 kHz"]
    cells = torch.empty(2, FRAMES, 128, device="meta")
    monkeypatch.setattr(PasstFeatureExtractor, "spectrogram", lambda *_: (cells, cells[:, :, 0]))  # no meta autocast
    shift = torch.empty(2, 1, dtype=torch.long, device="meta")
    view = replace(view_of(cells[:, :, 0]), draws=SpectrogramDraws(cells > 0, cells, shift))
    with Arrivals() as arrivals:
        seen = spectrograms_for_another(STUDENT, cells, teacher, view, view.waveforms)
        assert seen.shape == cells.shape and seen.device == cells.device and arrivals.count == 0
        torch.zeros(1).to("meta")
    assert arrivals.count == 1


@pytest.fixture
def make_trainer(tmp_path: Path) -> Make:
    corpus = load_corpus("esc50", write_esc50(tmp_path / "esc50"), fold=1)

    def make(**augment: Any) -> FastASTTrainer:
        model = FastASTForAudioClassification(FastASTConfig(hidden_size=24, num_hidden_layers=1, max_length=FRAMES))
        args = TrainingArguments(str(tmp_path / "out"), use_cpu=True, report_to="none")
        clips = ClipDataset(corpus["train"], 2, 16000, STUDENT.samples_of(FRAMES), training=True)
        return FastASTTrainer(
            model, args, extractor=STUDENT, augment=AugmentationArguments(**augment), train_dataset=clips
        )

    return make


def through_the_whole_pipeline(teacher: PasstFeatureExtractor, make_trainer: Make) -> tuple[Tensor, Tensor]:
    """The student's spectrograms of six clips and the teacher's: a click at 0.7 s, mixed with one at 1.3 s."""
    trainer = make_trainer(mixup=1.0, roll=True, time_mask=60, frequency_mask=40, gain=6.0, shift=0.1)
    samples = STUDENT.samples_of(FRAMES)
    waveforms, partners = torch.zeros(6, samples), torch.zeros(6, samples)
    waveforms[:, int(0.7 * 16000)] = 1.0
    partners[:, int(1.3 * 16000)] = 1.0
    counts, labels = torch.full((6,), samples), torch.eye(2)[[0, 1, 0, 1, 0, 1]]
    inputs = {"waveforms": waveforms, "num_samples": counts, "labels": labels, "clip": torch.arange(6)}
    inputs |= {f"partner_{name}": value for name, value in inputs.items()} | {"partner_waveforms": partners}
    torch.manual_seed(0)
    view = trainer.view(inputs, augment=True)
    features = trainer.features(view)
    waveforms = upsample(view.waveforms, teacher.sampling_rate // 16000)
    return features, spectrograms_for_another(STUDENT, features, teacher, view, waveforms)


@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
def test_through_the_whole_pipeline_a_click_lands_at_one_time_behind_one_mask(
    teacher: PasstFeatureExtractor, make_trainer: Make
) -> None:
    features, seen = through_the_whole_pipeline(teacher, make_trainer)
    found = [
        [(clicks(row, extractor), hidden(row, extractor)) for row in rows]
        for rows, extractor in ((features, STUDENT), (seen, teacher))
    ]
    counted = 0
    for (own_clicks, own_mask), (other_clicks, other_mask) in zip(*found, strict=True):
        assert other_clicks == pytest.approx(own_clicks, abs=0.011)
        assert other_mask == pytest.approx(own_mask, abs=0.013)
        counted += len(own_clicks)
    assert counted >= 10  # of 12, which masks may hide


@pytest.mark.parametrize(
    ("teacher", "highest"), [(TEACHERS["32 kHz"], 15000), (TEACHERS["16 kHz"], 7000)], ids=TEACHERS
)
def test_through_the_whole_pipeline_a_frequency_mask_covers_the_same_hertz(
    teacher: PasstFeatureExtractor, highest: float, make_trainer: Make
) -> None:
    """To within a mel bin of either scale: bins that far inside the student's band are masked, and none outside."""
    own, others = mel_middles(20, 8000), mel_middles(0, highest)
    bin_width = min(own[1] - own[0], others[1] - others[0])
    bands = inside = 0
    for mask, other_mask in zip(*map(masked_bins, through_the_whole_pipeline(teacher, make_trainer)), strict=True):
        places = own[mask]
        if len(places) == 0:
            assert not other_mask.any()
            continue
        assert len(places) < 40 and np.ptp(np.flatnonzero(mask)) == len(places) - 1
        within = (others >= places[0] + bin_width) & (others <= places[-1] - bin_width)
        beyond = (others <= places[0] - bin_width) | (others >= places[-1] + bin_width)
        assert other_mask[within].all() and not other_mask[beyond].any()
        bands, inside = bands + 1, inside + int(within.sum())
    assert bands >= 5 and inside >= 40  # of six clips, whose bands are up to 39 bins wide


def mel_middles(lowest: float, highest: float) -> np.ndarray:
    """The middles of Kaldi's 128 triangles between two Hz, on its mel scale."""
    low, high = (1127 * np.log(1 + hertz / 700) for hertz in (lowest, highest))
    return np.linspace(low, high, 130)[1:-1]


def masked_bins(features: Tensor) -> np.ndarray:
    """Which bins (clips, mel bins) the frequency mask covers: those that are never as quiet as the silence is."""
    return (features[:, 15:-15].amin(dim=1) > features.amin(dim=(1, 2)).unsqueeze(1) + 0.3).numpy()


def is_hidden(features: Tensor, extractor: FastASTFeatureExtractor) -> Tensor:
    """Which frames the time mask covers: all bins hold its fill, and noise of the same units."""
    fill = extractor.normalize(torch.tensor(0.0)) - 1e-4
    return (features[:, 3:90] > fill).all(dim=1)


def hidden(features: Tensor, extractor: FastASTFeatureExtractor) -> list[float]:
    """First and last second of the time mask, as far as the teacher's clip reaches."""
    seconds = extractor.frame_seconds()[is_hidden(features, extractor) & (extractor.frame_seconds() < 1.97)]
    return [seconds.min().item(), seconds.max().item()] if len(seconds) else []


def clicks(features: Tensor, extractor: FastASTFeatureExtractor) -> list[float]:
    """The middles of loud stretches, by the bins outside the frequency mask."""
    open_bins = features.median(dim=0).values < features.min() + 0.3
    loudness = features[:, open_bins].mean(dim=1)
    quiet, loud = loudness.min(), loudness[~is_hidden(features, extractor)].max()
    heard = (loudness > (quiet + loud) / 2) & ~is_hidden(features, extractor)
    seconds = extractor.frame_seconds()[heard & (extractor.frame_seconds() < 1.97)].tolist()
    groups: list[list[float]] = []
    for second in seconds:
        if groups and second - groups[-1][-1] < 0.05:
            groups[-1].append(second)
        else:
            groups.append([second])
    return [sum(group) / len(group) for group in groups]
