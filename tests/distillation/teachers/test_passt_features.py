"""PaSST's front end against a slow reference and the official one; its frames, bins and saved settings."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor

from fastast_hf.distillation.teachers import passt_features
from fastast_hf.distillation.teachers.passt_features import PasstFeatureExtractor, passt_spectrogram

RATES = [
    # Hz, samples of hop, window and spectrum, the highest bin's end in Hz
    (32000, 320, 800, 1024, 15000.0),
    (16000, 160, 400, 512, 7000.0),
]
SILENCE = (math.log(1e-5) + 4.5) / 5


def noise(samples: int, seed: int = 0, batch: int | None = None) -> np.ndarray:
    shape = samples if batch is None else (batch, samples)
    return np.random.default_rng(seed).normal(0.0, 0.1, shape).astype(np.float32)


def slow_spectrogram(samples: np.ndarray, hop: int, window: int, spectrum: int, rate: int, top: float) -> np.ndarray:
    """PaSST's log-mel values of one clip, frame by frame and bin by bin, in float64."""
    x = samples.astype(np.float64)
    x = np.array([x[n] - 0.97 * x[n - 1] for n in range(1, len(x))])

    def sample(place: int) -> float:
        place = abs(place)  # mirrored at both ends
        return x[place if place < len(x) else 2 * (len(x) - 1) - place]

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    hann = [0.5 - 0.5 * math.cos(2 * math.pi * n / (window - 1)) for n in range(window)]
    turns = np.exp(-2j * np.pi * np.outer(np.arange(spectrum // 2 + 1), np.arange(window)) / spectrum)
    step, mels = mel(top) / 129, [mel(k * rate / spectrum) for k in range(spectrum // 2)]
    rows = []
    for frame in range(1 + len(x) // hop):
        begin = frame * hop - window // 2
        power = np.abs(turns @ np.array([hann[n] * sample(begin + n) for n in range(window)])) ** 2
        row = []
        for index in range(128):
            energy = 0.0
            for k in range(spectrum // 2):
                place = mels[k] / step - index  # 0 at the bin's left foot, 1 at its top
                energy += power[k] * max(0.0, min(place, 2 - place))
            row.append(math.log(energy + 1e-5))
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize(("rate", "hop", "window", "spectrum", "top"), RATES)
def test_log_mel_values_are_those_of_the_slow_reference(
    rate: int, hop: int, window: int, spectrum: int, top: float
) -> None:
    samples = noise(5 * hop - 3)
    features = passt_spectrogram(torch.from_numpy(samples)[None], rate)[0].numpy()
    expected = slow_spectrogram(samples, hop, window, spectrum, rate, top)
    assert features.shape == (5, 128)
    np.testing.assert_allclose(features, expected, rtol=0, atol=5e-4)  # 1e-4 when normalised


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:stft with return_complex=False")
@pytest.mark.parametrize(
    ("samples", "frames"), [(32000, 100), (32001, 101), (31999, 100), (160000, 500), (320000, 1000)]
)
def test_the_front_end_is_the_official_one(samples: int, frames: int) -> None:
    pytest.importorskip("torchaudio")
    pytest.importorskip("hear21passt")
    from hear21passt.models.preprocess import AugmentMelSTFT

    clips = torch.from_numpy(noise(samples, batch=2))
    official = AugmentMelSTFT(freqm=0, timem=0, fmin_aug_range=10, fmax_aug_range=2000).eval()
    features = passt_spectrogram(clips)
    assert features.shape == (2, frames, 128)
    extractor = PasstFeatureExtractor()
    torch.testing.assert_close(extractor.normalize(features), official(clips).transpose(1, 2), rtol=0, atol=1e-5)
    if samples == extractor.samples_of(frames):
        ours = extractor(clips, sampling_rate=32000, num_frames=frames, return_tensors="pt").input_values
        torch.testing.assert_close(ours, official(clips).transpose(1, 2), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("rate", "hop"), [case[:2] for case in RATES])
def test_a_short_clip_ends_in_silence_and_a_long_one_is_cut(rate: int, hop: int) -> None:
    extractor = PasstFeatureExtractor(sampling_rate=rate, max_length=50)
    assert extractor.samples_of(50) == 50 * hop
    short, long = noise(20 * hop), noise(90 * hop)
    outputs = extractor([short, long], sampling_rate=rate, return_tensors="pt", return_attention_mask=True)
    assert outputs.input_values.shape == (2, 50, 128)
    assert outputs.attention_mask.sum(dim=1).tolist() == [20, 50]
    torch.testing.assert_close(outputs.input_values[0, 23:], torch.full((27, 128), SILENCE), rtol=0, atol=1e-6)
    padded = np.concatenate([short, np.zeros(50 * hop - len(short), np.float32)])
    for index, whole in enumerate((padded, long[: 50 * hop])):
        alone = extractor.normalize(passt_spectrogram(torch.from_numpy(whole)[None], rate))
        torch.testing.assert_close(outputs.input_values[index], alone[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rate", "hop"), [case[:2] for case in RATES])
def test_an_impulse_is_in_the_frame_of_its_time(rate: int, hop: int) -> None:
    extractor = PasstFeatureExtractor(sampling_rate=rate, max_length=60)
    seconds = extractor.frame_seconds()
    assert seconds.shape == (60,)
    for frame in (5, 30, 57):
        clip = torch.zeros(1, 60 * hop)
        clip[0, round(float(seconds[frame]) * rate)] = 1.0
        energies, _ = extractor.spectrogram(clip, torch.tensor([60 * hop]))
        assert int(energies.mean(dim=2).argmax()) == frame


@pytest.mark.parametrize(("rate", "top"), [(case[0], case[4]) for case in RATES])
def test_a_tone_is_in_the_bin_of_its_frequency(rate: int, top: float) -> None:
    extractor = PasstFeatureExtractor(sampling_rate=rate, max_length=40)
    hertz = extractor.mel_hertz()
    assert hertz.shape == (128,)
    assert bool((hertz.diff() > 0).all()) and float(hertz[0]) > 0 and float(hertz[-1]) < top
    times = torch.arange(extractor.samples_of(40)) / rate
    for mel_bin in (40, 90, 120):
        tone = torch.sin(2 * math.pi * float(hertz[mel_bin]) * times)[None]
        energies, _ = extractor.spectrogram(tone, torch.tensor([tone.shape[1]]))
        assert int(energies[0, 20].argmax()) == mel_bin


def test_normalising_is_adding_4_5_and_dividing_by_5() -> None:
    values = torch.linspace(-12, 6, 50)
    torch.testing.assert_close(PasstFeatureExtractor().normalize(values), (values + 4.5) / 5, rtol=0, atol=0)
    clip = noise(32000)
    raw = PasstFeatureExtractor(do_normalize=False, max_length=100)(clip, sampling_rate=32000, return_tensors="pt")
    ours = PasstFeatureExtractor(max_length=100)(clip, sampling_rate=32000, return_tensors="pt")
    torch.testing.assert_close((raw.input_values + 4.5) / 5, ours.input_values)


def test_gradients_reach_the_waveform() -> None:
    waveform = torch.from_numpy(noise(8000, batch=1)).requires_grad_(True)
    passt_spectrogram(waveform, 16000).mean().backward()
    assert waveform.grad is not None and bool((waveform.grad != 0).all())
    silent = torch.zeros(1, 8000, requires_grad=True)
    passt_spectrogram(silent, 16000).mean().backward()
    assert silent.grad is not None and bool((silent.grad == 0).all())


def test_numbers_are_the_same_under_autocast() -> None:
    clip = torch.from_numpy(noise(8000, batch=1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = passt_spectrogram(clip, 16000)
    assert half.dtype == torch.float32
    assert torch.equal(half, passt_spectrogram(clip, 16000))


def test_settings_are_saved_and_loaded_by_name(tmp_path: Path) -> None:
    extractor = PasstFeatureExtractor(sampling_rate=16000, max_length=500, num_mel_bins=64)
    extractor.save_pretrained(tmp_path)
    clip = noise(80000)
    expected = extractor(clip, sampling_rate=16000, return_tensors="np").input_values
    for loader in (PasstFeatureExtractor, AutoFeatureExtractor):
        loaded = loader.from_pretrained(tmp_path)
        assert type(loaded) is PasstFeatureExtractor
        assert loaded.to_dict() == extractor.to_dict()
        np.testing.assert_array_equal(loaded(clip, sampling_rate=16000, return_tensors="np").input_values, expected)
    assert expected.shape == (1, 500, 64)


@pytest.mark.parametrize(
    ("samples", "arguments", "message"),
    [
        (32000, {"sampling_rate": 16000}, "the audio has 16000 Hz and this feature extractor takes 32000 Hz"),
        (799, {"sampling_rate": 32000}, "clip 0 has 799 samples"),
        (32000, {"sampling_rate": 32000, "num_frames": 1}, "waveforms of 320 samples were given; .* 514 or more"),
    ],
)
def test_audio_that_does_not_fit_is_refused(samples: int, arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PasstFeatureExtractor()(noise(samples), **arguments)


def test_what_is_kept_between_calls_does_not_depend_on_torchs_defaults() -> None:
    """Another thread that loads a model in bfloat16, or on another device, changes torch's defaults for a while."""
    waveforms, done = torch.randn(1, 6400, generator=torch.Generator().manual_seed(0)), threading.Event()
    expected = passt_spectrogram(waveforms, 16000, 40)

    def toggle() -> None:
        while not done.is_set():
            torch.set_default_dtype(torch.bfloat16)
            torch.set_default_dtype(torch.float32)

    other = threading.Thread(target=toggle)
    other.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(30):
                passt_features._window_and_mel_bank.cache_clear()
                for made in pool.map(lambda _: passt_spectrogram(waveforms, 16000, 40), range(8)):
                    assert torch.equal(made, expected)
    finally:
        done.set()
        other.join()
        torch.set_default_dtype(torch.float32)
        passt_features._window_and_mel_bank.cache_clear()
    with torch.device("meta"):
        assert torch.equal(passt_spectrogram(waveforms, 16000, 40), expected)
