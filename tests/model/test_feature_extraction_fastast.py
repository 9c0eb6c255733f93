"""The front end against transformers' own, on both of its paths, and everything that may be put into it."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor, AutoFeatureExtractor
from transformers.models.audio_spectrogram_transformer import feature_extraction_audio_spectrogram_transformer as stock
from transformers.utils import is_speech_available

import fastast_hf  # noqa: F401 - registers the feature extractor
from fastast_hf.audio import load_audio
from fastast_hf.model.feature_extraction_fastast import (
    FastASTFeatureExtractor,
    _window_and_mel_bank,
    log_mel_spectrogram,
    num_frames,
)

RATE = 16000
CLIPS = Path(__file__).parents[1] / "data"
SPOKEN_AND_COMPUTED = ["speech/yes_rms.wav", "speech/stop_slt.wav", "speech/left_en-us.wav", "computed/pink_noise.wav"]
NEARLY_EMPTY_BINS = ["computed/chirp_100hz_to_7khz.wav", "computed/tone_440hz.wav", "formats/pcm16_32k.aiff"]
SAMPLES = [400, 559, 560, 1600, 16000, 163840, 164240, 480000]  # 400: one frame; 164080 make 1024 frames
REAL = ["ESC-10/audio", "speech_commands_v0.02_test_set/yes", "speech_commands_v0.02_test_set/_silence_"]

needs_torchaudio = pytest.mark.skipif(not is_speech_available(), reason="torchaudio is not installed")


def noise(samples: int, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(offset, 0.1, samples).astype(np.float32)


def features(extractor: Any, audio: Any, **kwargs: Any) -> np.ndarray:
    return extractor(audio, sampling_rate=RATE, return_tensors="np", **kwargs)["input_values"]


@pytest.fixture
def without_torchaudio(monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], np.ndarray]:
    """Stock's features by its numpy path."""

    def compute(audio: np.ndarray) -> np.ndarray:
        with monkeypatch.context() as patch:
            patch.setattr(stock, "is_speech_available", lambda: False)
            return features(ASTFeatureExtractor(), audio)

    return compute


def assert_like_stock(audio: np.ndarray, without_torchaudio: Callable[[np.ndarray], np.ndarray]) -> None:
    """Torchaudio's numbers, and numpy's wherever stock's two paths agree with each other.

    Torchaudio rounds to float32 where numpy computes in float64: they part in mel bins that hold next to nothing.
    """
    ours, by_numpy = features(FastASTFeatureExtractor(), audio), without_torchaudio(audio)
    assert ours.shape == by_numpy.shape == (1, 1024, 128)
    assert ours.dtype == np.float32
    by_torchaudio = features(ASTFeatureExtractor(), audio)
    np.testing.assert_allclose(ours, by_torchaudio, rtol=0, atol=1e-6)
    slack = np.abs(by_torchaudio - by_numpy)
    assert (np.abs(ours - by_numpy) <= np.maximum(1e-4, slack + 1e-6)).all()
    assert slack.max() < 2e-3


@needs_torchaudio
@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_noise_gives_stock_features(samples: int, offset: float, without_torchaudio: Any) -> None:
    assert_like_stock(noise(samples, offset=offset), without_torchaudio)


@needs_torchaudio
@pytest.mark.parametrize("clip", SPOKEN_AND_COMPUTED + NEARLY_EMPTY_BINS)
def test_clips_give_stock_features(clip: str, without_torchaudio: Any) -> None:
    assert_like_stock(load_audio(CLIPS / clip), without_torchaudio)


@pytest.mark.parametrize("clip", SPOKEN_AND_COMPUTED)
def test_clips_give_stock_numpy_features_to_1e_4(clip: str, without_torchaudio: Any) -> None:
    audio = load_audio(CLIPS / clip)
    np.testing.assert_allclose(
        features(FastASTFeatureExtractor(), audio), without_torchaudio(audio), rtol=0, atol=1e-4
    )


@pytest.mark.real_audio
@pytest.mark.skipif("FASTAST_TEST_AUDIO" not in os.environ, reason="FASTAST_TEST_AUDIO names no folder of recordings")
@needs_torchaudio
@pytest.mark.parametrize("folder", REAL)
@pytest.mark.parametrize("seconds", [None, 0.1, 30.0])
def test_real_recordings_give_stock_features(folder: str, seconds: float | None, without_torchaudio: Any) -> None:
    files = sorted((Path(os.environ["FASTAST_TEST_AUDIO"]) / folder).iterdir())
    if not files:
        pytest.skip(f"{folder} is empty")
    clips = [load_audio(file) for file in files[:: max(1, len(files) // 4)][:4]]
    if seconds == 0.1:
        clips = [clip[len(clip) // 2 :][: RATE // 10] for clip in clips]
    elif seconds == 30.0:
        clips = [np.resize(np.concatenate(clips), 30 * RATE)]
    for clip in clips:
        assert_like_stock(clip, without_torchaudio)


@pytest.mark.parametrize(
    "settings",
    [{"max_length": 64}, {"num_mel_bins": 48}, {"do_normalize": False}, {"mean": -6.8, "std": 5.5}],
)
def test_settings_mean_what_they_mean_to_stock(settings: dict[str, Any]) -> None:
    audio = noise(RATE)
    ours, theirs = FastASTFeatureExtractor(**settings), ASTFeatureExtractor(**settings)
    atol = 1e-4 if ours.do_normalize else 1e-4 * 2 * ours.std
    np.testing.assert_allclose(features(ours, audio), features(theirs, audio), rtol=0, atol=atol)


def test_what_is_saved_loads_on_either_side(tmp_path: Path) -> None:
    settings = {"max_length": 100, "num_mel_bins": 40, "mean": -6.0, "std": 5.0}
    audio = noise(RATE)
    ours, theirs = FastASTFeatureExtractor(**settings), ASTFeatureExtractor(**settings)
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")

    assert np.array_equal(
        features(FastASTFeatureExtractor.from_pretrained(tmp_path / "ours"), audio), features(ours, audio)
    )
    automatic = AutoFeatureExtractor.from_pretrained(tmp_path / "ours")
    assert type(automatic) is FastASTFeatureExtractor
    assert automatic.to_dict() == ours.to_dict()
    stock_of_ours = ASTFeatureExtractor.from_pretrained(tmp_path / "ours")
    assert np.array_equal(features(stock_of_ours, audio), features(theirs, audio))
    ours_of_stock = FastASTFeatureExtractor.from_pretrained(tmp_path / "theirs")
    assert np.array_equal(features(ours_of_stock, audio), features(ours, audio))


def test_a_batch_gives_what_its_clips_give_alone() -> None:
    extractor = FastASTFeatureExtractor(max_length=90)
    clips = [noise(samples, seed=samples) for samples in (400, 8000, 16000, 1601)]
    together = features(extractor, clips)
    for clip, row in zip(clips, together, strict=True):
        np.testing.assert_allclose(row, features(extractor, clip)[0], rtol=0, atol=1e-6)
    assert np.array_equal(together, features(extractor, clips))


ONE, OTHER = noise(800), noise(800, seed=1)
INPUTS: dict[str, tuple[Any, int]] = {
    "numpy": (ONE, 1),
    "numpy float64": (ONE.astype(np.float64), 1),
    "tensor": (torch.from_numpy(ONE), 1),
    "list of floats": (ONE.tolist(), 1),
    "tuple of floats": (tuple(ONE.tolist()), 1),
    "list of one array": ([ONE], 1),
    "numpy batch": (np.stack([ONE, OTHER]), 2),
    "tensor batch": (torch.from_numpy(np.stack([ONE, OTHER])), 2),
    "list of arrays": ([ONE, OTHER], 2),
    "list of tensors": ([torch.from_numpy(ONE), torch.from_numpy(OTHER)], 2),
    "list of lists": ([ONE.tolist(), OTHER.tolist()], 2),
    "a mixture": ([ONE.tolist(), torch.from_numpy(OTHER)], 2),
    "reversed view": (np.ascontiguousarray(ONE[::-1])[::-1], 1),
    "every other sample": (np.repeat(ONE, 2)[::2], 1),
    "big-endian": (ONE.astype(">f4"), 1),
    "read-only": (np.frombuffer(ONE.tobytes(), np.float32), 1),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("audio", "batch"), INPUTS.values(), ids=INPUTS)
def test_every_kind_of_input_gives_the_same_features(audio: Any, batch: int) -> None:
    extractor = FastASTFeatureExtractor(max_length=8)
    assert np.array_equal(features(extractor, audio), features(extractor, [ONE, OTHER][:batch]))


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "three axes": (np.zeros((1, 2, 800)), {}, r"audio of shape \(1, 2, 800\)"),
    "a stereo clip in a list": ([np.zeros((2, 800))], {}, r"clip 0 has shape \(2, 800\)"),
    "another rate": (ONE, {"sampling_rate": 44100}, r"44100 Hz .* takes 16000 Hz: resample"),
    "399 samples": ([ONE, ONE[:399]], {}, r"clip 1 has 399 samples; .* takes 400 at 16000 Hz"),
    "no samples": (ONE[:0], {}, r"clip 0 has 0 samples"),
    "NaN": ([ONE, np.where(np.arange(800) == 700, np.nan, ONE)], {}, r"clip 1 holds NaN or infinite"),
    "infinity": (np.where(np.arange(800) == 7, -np.inf, ONE), {}, r"clip 0 holds NaN or infinite"),
    "too large for float32": (np.full(800, 1e300), {}, r"clip 0 holds NaN or infinite"),
    "integers": (np.ones(800, np.int16), {}, r"clip 0 holds torch.int16 samples: give floats"),
    "integer tensor": (torch.ones(800, dtype=torch.int32), {}, r"clip 0 holds torch.int32 samples"),
    "an empty list": ([], {}, r"no audio was given"),
    "no clips": (np.zeros((0, 800)), {}, r"no audio was given"),
    "a file name": ("clip.wav", {}, r"a str was given"),
    "file names": (["clip.wav"], {}, r"clip 0 holds something other than numbers"),
    "nothing": (None, {}, r"a NoneType was given"),
    "no frames": (ONE, {"num_frames": 0}, r"num_frames is 0: give 1 or more"),
    "another framework": (ONE, {"return_tensors": "tf"}, r"tf is not a valid TensorType"),
}


@pytest.mark.parametrize(("audio", "kwargs", "message"), BAD.values(), ids=BAD)
def test_bad_input_gets_one_line(audio: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^.*{message}") as caught:
        FastASTFeatureExtractor()(audio, **{"sampling_rate": RATE, **kwargs})
    assert "\n" not in str(caught.value)


def test_padding_is_zero_before_normalisation() -> None:
    frames = num_frames(800)
    assert frames == 3
    raw = features(FastASTFeatureExtractor(max_length=10, do_normalize=False), ONE)
    assert (raw[0, frames:] == 0).all()
    assert (raw[0, :frames] != 0).all()
    normalised = features(FastASTFeatureExtractor(max_length=10), ONE)
    np.testing.assert_allclose(normalised, (raw + 4.2677393) / (2 * 4.5689974), rtol=1e-6)


def test_num_frames_of_a_call_cut_and_pad() -> None:
    extractor = FastASTFeatureExtractor(max_length=10)
    longer = features(extractor, ONE, num_frames=12)
    assert longer.shape == (1, 12, 128)
    assert np.array_equal(longer[:, :10], features(extractor, ONE))
    np.testing.assert_allclose(features(extractor, ONE, num_frames=2), longer[:, :2], atol=1e-6)
    assert extractor.max_length == 10


def test_what_stock_ignores_in_a_call_changes_nothing() -> None:
    """transformers' guide passes `max_length` in samples."""
    call = {"max_length": 16000, "truncation": True, "padding": "max_length"}
    for kind in (ASTFeatureExtractor, FastASTFeatureExtractor):
        assert np.array_equal(features(kind(), ONE, **call), features(kind(), ONE))


WRONG_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"std": 0}, "std is 0: give a number above 0"),
    ({"std": -1.0}, r"std is -1\.0: give a number above 0"),
    ({"std": None}, "std is None: give a number"),
    ({"mean": math.nan}, "mean is nan: give a number"),
    ({"mean": "x"}, "mean is 'x': give a number"),
    ({"max_length": "x"}, "max_length is 'x': give a whole number, 1 or more"),
    ({"max_length": 0}, "max_length is 0: give"),
    ({"num_mel_bins": 12.5}, r"num_mel_bins is 12\.5: give"),
    ({"sampling_rate": True}, "sampling_rate is True: give a whole number, 100 or more"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG_SETTINGS)
def test_settings_that_give_no_spectrograms_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        FastASTFeatureExtractor(**settings)


def test_without_normalising_mean_and_std_do_not_matter() -> None:
    assert FastASTFeatureExtractor(do_normalize=False, mean=None, std=0).std == 0


@pytest.mark.parametrize("as_setting", [True, False])
def test_the_attention_mask_marks_the_frames_of_each_clip(as_setting: bool) -> None:
    extractor = FastASTFeatureExtractor(max_length=5, return_attention_mask=as_setting)
    kwargs = {} if as_setting else {"return_attention_mask": True}
    outputs = extractor([ONE, ONE[:400], noise(5000)], sampling_rate=RATE, return_tensors="pt", **kwargs)
    assert outputs["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert outputs["attention_mask"].dtype == torch.int64
    without = extractor(ONE, sampling_rate=RATE, return_attention_mask=False)
    assert list(without) == ["input_values"]


def test_return_tensors_chooses_the_container() -> None:
    extractor = FastASTFeatureExtractor(max_length=8)
    tensor = extractor([ONE, OTHER], sampling_rate=RATE, return_tensors="pt")["input_values"]
    array = features(extractor, [ONE, OTHER])
    rows = extractor([ONE, OTHER], sampling_rate=RATE)["input_values"]
    assert isinstance(tensor, torch.Tensor) and isinstance(array, np.ndarray) and isinstance(rows, list)
    assert all(isinstance(row, np.ndarray) for row in rows)
    assert np.array_equal(tensor.numpy(), array) and np.array_equal(np.stack(rows), array)


def test_gradients_reach_the_waveform_even_after_a_call_in_inference_mode() -> None:
    extractor = FastASTFeatureExtractor(max_length=8, num_mel_bins=31)  # tables that no other test has cached
    with torch.inference_mode():
        features(extractor, ONE)
    waveform = torch.from_numpy(ONE).double().requires_grad_()
    extractor(waveform, sampling_rate=RATE, return_tensors="pt")["input_values"].sum().backward()
    assert waveform.grad is not None
    assert torch.isfinite(waveform.grad).all()
    assert (waveform.grad[:720] != 0).float().mean() > 0.9  # three frames end at sample 720
    assert (waveform.grad[720:] == 0).all()


def test_defaults_that_another_thread_changes_leave_the_features_alone() -> None:
    clip, stop = noise(4000), threading.Event()
    expected = features(FastASTFeatureExtractor(max_length=8), clip)

    def load_models() -> None:
        while not stop.is_set():
            torch.set_default_dtype(torch.bfloat16)  # as `from_pretrained(…, dtype=torch.bfloat16)` does for a moment
            time.sleep(1e-4)
            torch.set_default_dtype(torch.float32)

    def extract(number: int) -> list[np.ndarray]:
        _window_and_mel_bank.cache_clear()
        with torch.device("meta") if number % 2 else torch.device("cpu"):
            extractor = FastASTFeatureExtractor(max_length=8)
            return [features(extractor, audio) for audio in (clip, clip.tolist(), [clip, clip[:800]])]

    loader = threading.Thread(target=load_models)
    loader.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(extract, range(80)))
    finally:
        stop.set()
        loader.join()
        torch.set_default_dtype(torch.float32)
    for array, listed, batch in results:
        assert np.array_equal(array, expected) and np.array_equal(listed, expected)
        assert np.array_equal(batch[:1], expected)


def test_autocast_leaves_the_features_in_full_precision() -> None:
    waveform = torch.from_numpy(ONE)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = log_mel_spectrogram(waveform)
    assert torch.equal(lowered, log_mel_spectrogram(waveform))
