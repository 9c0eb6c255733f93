"""Tests of reading audio: what comes back for every format, and the one line said about what cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sounds import amplitude_at, refusal, tone

from fastast_hf.audio import (
    AUDIO_EXTENSIONS,
    AudioError,
    find_audio,
    load_audio,
    load_part,
    load_row,
    read_audio,
)

LOSSLESS = [
    # extension, subtypes
    (".wav", ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    (".flac", ("PCM_S8", "PCM_16", "PCM_24")),
    (".aiff", ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT")),
    (".caf", ("PCM_16", "PCM_24", "FLOAT", "ALAC_16")),
]
LOSSY = [
    # extension, container, subtype, rates, channels
    (".ogg", "OGG", "VORBIS", (8000, 16000, 22050, 44100, 48000, 96000), (1, 2, 8)),
    (".opus", "OGG", "OPUS", (8000, 16000, 48000), (1, 2, 4)),  # the 8th channel is the bass one: no 440 Hz in it
    (".mp3", "MP3", "MPEG_LAYER_III", (8000, 16000, 22050, 44100, 48000), (1, 2)),
]
RECORDINGS = [
    (extension, None, subtype, rate, channels)
    for extension, subtypes in LOSSLESS
    for subtype in subtypes
    for rate in (8000, 16000, 22050, 44100, 48000, 96000)
    for channels in (1, 2, 8)
] + [
    (extension, container, subtype, rate, channels)
    for extension, container, subtype, rates, channel_counts in LOSSY
    for rate in rates
    for channels in channel_counts
]


# What comes back


@pytest.mark.parametrize(("extension", "container", "subtype", "rate", "channels"), RECORDINGS)
def test_a_tone_keeps_its_length_pitch_and_loudness(
    tmp_path: Path, extension: str, container: str | None, subtype: str, rate: int, channels: int
) -> None:
    gains = np.linspace(0.5, 1.5, channels) if channels > 1 else np.ones(1)  # of mean 1: only averaging gives 0.5
    file = tmp_path / f"tone{extension}"
    soundfile.write(file, tone(rate=rate)[:, None] * gains, rate, format=container, subtype=subtype)
    samples = load_audio(file)
    assert samples.dtype == np.float32
    assert samples.shape == pytest.approx((8000,), abs=1)
    assert np.argmax(np.abs(np.fft.rfft(samples, 8000))) * 2 == pytest.approx(440, abs=2)
    assert amplitude_at(440, samples) == pytest.approx(0.5, rel=0.05 if container else 0.01)


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 16000), (16000, 32000), (96000, 16000), (8000, 16000)])
def test_resampling_keeps_a_tone_in_its_place(rate: int, wanted: int) -> None:
    samples = load_audio((tone(3000, rate), rate), wanted)
    edge = wanted // 20
    expected = tone(3000, wanted)
    assert len(samples) == len(expected)
    np.testing.assert_allclose(samples[edge:-edge], expected[edge:-edge], atol=1e-3)


@pytest.mark.parametrize("hz", [9000, 12000, 20000])
def test_resampling_removes_what_would_alias(hz: int) -> None:
    samples = load_audio((tone(440, 44100) + tone(hz, 44100), 44100))
    assert amplitude_at(440, samples) == pytest.approx(0.5, rel=0.01)
    assert amplitude_at(abs(hz - 16000), samples) < 1e-4


def test_audio_at_the_wanted_rate_is_bit_exact(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-(2**15), 2**15, 40000).astype(np.int16)
    soundfile.write(tmp_path / "noise.wav", values, 16000)
    expected = values.astype(np.float32) / 32768
    np.testing.assert_array_equal(load_audio(tmp_path / "noise.wav"), expected)
    np.testing.assert_array_equal(load_audio((values, 16000)), expected)
    np.testing.assert_array_equal(load_audio((expected, np.int64(16000))), expected)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_recording_is_read_in_blocks_that_are_the_whole(tmp_path: Path, rate: int) -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 100_001).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, rate, subtype="FLOAT")
    blocks = list(read_audio(tmp_path / "long.wav"))
    assert max(map(len, blocks)) <= 8192
    np.testing.assert_array_equal(np.concatenate(blocks), load_audio((samples, rate)))


def test_silence_is_a_sound_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.ogg", np.zeros(44100), 44100)
    assert not load_audio(tmp_path / "silent.ogg").any()
    assert not load_audio((np.stack([WAVE, -WAVE]), 16000)).any()


def test_long_files_come_back_whole(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (100_001, 2)).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", values, 16000, subtype="FLOAT")
    np.testing.assert_array_equal(load_audio(tmp_path / "long.wav"), values.mean(axis=1))


WAVE = tone().astype(np.float32)
FORMS = {
    "tuple": (WAVE, 16000),
    "dict array": {"array": WAVE, "sampling_rate": 16000},
    "dict raw": {"raw": WAVE, "sampling_rate": 16000},
    "list": (WAVE.tolist(), 16000),
    "torch": (torch.from_numpy(WAVE), 16000),
    "torch with a gradient": (torch.from_numpy(WAVE).requires_grad_(), 16000),
    "float64": (WAVE.astype(np.float64), 16000),
    "(1, n)": (WAVE[None], 16000),
    "(n, 1)": (WAVE[:, None], 16000),
    "(channels, n)": (np.stack([WAVE * 0.5, WAVE * 1.5]), 16000),
    "(n, channels)": (np.stack([WAVE * 0.5, WAVE * 1.5], axis=1), 16000),
    "torch (channels, n)": (torch.from_numpy(np.stack([WAVE * 0.5, WAVE * 1.5])), 16000),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_array_gives_the_same_samples(form: str) -> None:
    samples = load_audio(FORMS[form])
    assert samples.dtype == np.float32 and samples.shape == (8000,)
    np.testing.assert_allclose(samples, WAVE, atol=1e-7)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32"])
def test_integers_are_scaled_by_their_type(dtype: str) -> None:
    info = np.iinfo(dtype)
    middle = 0 if info.min < 0 else info.max // 2 + 1
    values = np.array([info.min, middle, info.max] * 200, dtype=dtype)
    expected = [-1.0, 0.0, 1.0 - 2.0 ** (1 - info.bits)]
    np.testing.assert_allclose(load_audio((values, 16000))[:3], expected, atol=1e-7)


def test_bfloat16_tensors_are_read() -> None:
    samples = load_audio((torch.from_numpy(WAVE).to(torch.bfloat16), 16000))
    np.testing.assert_allclose(samples, WAVE, atol=2e-3)


def test_the_given_array_is_not_handed_back() -> None:
    given = WAVE.copy()
    load_audio((given, 16000))[:] = 0.0
    np.testing.assert_array_equal(given, WAVE)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_the_shortest_clip_accepted_has_one_window(rate: int) -> None:
    """Growing a clip sample by sample: what is refused is under 25 ms, what is accepted has 400 samples at 16 kHz."""
    for length in range(int(0.024 * rate), int(0.027 * rate)):
        try:
            samples = load_audio((tone(rate=rate)[:length], rate))
        except AudioError:
            assert length < 0.025 * rate
        else:
            assert len(samples) in (400, 401, 402)
            return
    pytest.fail("no clip up to 27 ms was accepted")


# What is refused


def write_text(path: Path) -> None:
    """Text, long enough to look like data."""
    path.write_text("This is no audio, only words. " * 200)


NO_AUDIO = {
    # case: (file name, how to write it, what the message says)
    "missing": ("gone.wav", lambda path: None, "no such file"),
    "null byte": ("a\0b.wav", lambda path: None, "no such file"),
    "folder": ("folder.wav", lambda path: path.mkdir(), "folder"),
    "empty": ("empty.wav", lambda path: path.touch(), "empty file"),
    "one byte": ("byte.wav", lambda path: path.write_bytes(b"R"), "no audio that can be decoded"),
    "header alone": ("header.wav", lambda path: soundfile.write(path, np.zeros(0), 16000), "zero samples"),
    "too short": ("short.wav", lambda path: soundfile.write(path, tone()[:399], 16000), "too short"),
    "too short at 44.1 kHz": ("short.flac", lambda path: soundfile.write(path, tone()[:1100], 44100), "too short"),
    "1 Hz": ("slow.wav", lambda path: soundfile.write(path, tone(), 1), "1 Hz"),
    "999 Hz": ("slow.wav", lambda path: soundfile.write(path, tone(), 999), "999 Hz"),
    "NaN": (
        "nan.wav",
        lambda path: soundfile.write(path, spoiled(np.nan), 44100, subtype="FLOAT"),
        "a sample is nan, at 0.03 s",
    ),
    "inf": (
        "inf.wav",
        lambda path: soundfile.write(path, spoiled(-np.inf), 16000, subtype="DOUBLE"),
        "a sample is -inf, at 0.08 s",
    ),
} | {
    f"text as {suffix}": (f"text{suffix}", write_text, "no audio that can be decoded")
    for suffix in (*AUDIO_EXTENSIONS, ".au", ".raw", ".txt", ".m4a")
}


def spoiled(value: float) -> np.ndarray:
    """A tone with one sample replaced."""
    samples = tone(seconds=1.0)
    samples[1234] = value
    return samples


@pytest.mark.parametrize("case", NO_AUDIO)
def test_a_bad_file_is_refused_in_one_line_that_names_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    name, write, said = NO_AUDIO[case]
    write(tmp_path / name)
    message = refusal(str(tmp_path / name))
    assert message.startswith(f"{tmp_path / name}: ") and said in message
    assert capfd.readouterr().err == ""


def test_an_empty_name_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal("") == "'': no such file; check the path"
    assert refusal({"bytes": None, "path": None}) == "clip: no such file; check the path"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    assert "is a pipe or device" in refusal(tmp_path / "pipe.wav")


def test_the_name_is_said_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal("./gone.wav").startswith("./gone.wav: ")
    assert refusal("two\nlines.wav").startswith("two lines.wav: ")


BAD_ARRAYS = {
    "array alone": (WAVE, "no sampling rate"),
    "list alone": ([0.0, 0.1], "no sampling rate"),
    "dict without a rate": ({"array": WAVE}, "no sampling rate"),
    "dict without samples": ({"sampling_rate": 16000}, "no samples"),
    "rate of None": ((WAVE, None), "no sampling rate"),
    "nothing": (None, "NoneType"),
    "rate first": ((16000, WAVE), "ndarray"),
    "float rate": ((WAVE, 16000.0), "16000.0"),
    "true as rate": ((WAVE, True), "True"),
    "1 Hz": ((WAVE, 1), "1 Hz"),
    "0 Hz": ((WAVE, 0), "0 Hz"),
    "negative rate": ({"raw": WAVE, "sampling_rate": -16000}, "-16000 Hz"),
    "0-D": ((np.float32(1.0), 16000), "0-D"),
    "3-D": ((np.zeros((2, 2, 16000)), 16000), "3-D array of shape (2, 2, 16000)"),
    "3-D tensor": ((torch.zeros(1, 1, 16000), 16000), "3-D"),
    "zero samples": (([], 16000), "zero samples"),
    "zero samples, two channels": ((np.zeros((2, 0)), 16000), "zero samples"),
    "399 samples": ((WAVE[:399], 16000), "too short"),
    "NaN": ((spoiled(np.nan), 16000), "a sample is nan, at 0.08 s"),
    "inf": ((spoiled(np.inf), 44100), "a sample is inf, at 0.03 s"),
    "inf against -inf": ((np.stack([spoiled(np.inf), spoiled(-np.inf)]), 16000), "a sample is nan"),
    "beyond float32": ((spoiled(1e300), 16000), "a sample is inf"),
    "too large for a spectrum": ((spoiled(-1e30), 16000), "a sample is -1e+30, at 0.08 s"),
    "64-bit integers": (((WAVE * 32767).astype(np.int64), 16000), "int64"),
    "complex": ((WAVE.astype(np.complex64), 16000), "complex64"),
    "booleans": ((WAVE > 0, 16000), "bool"),
    "words": ((["a", "b"], 16000), "<U1"),
    "ragged": (([[0.0, 0.1], [0.2]], 16000), "uneven"),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_a_bad_array_is_refused_in_one_line(case: str) -> None:
    source, said = BAD_ARRAYS[case]
    message = refusal(source)
    assert message.startswith("array: ") and said in message


def test_an_array_that_says_its_path_is_named_by_it() -> None:
    source = {"path": "dog.wav", "array": np.zeros(0), "sampling_rate": 16000}
    assert refusal(source).startswith("dog.wav: ")


@pytest.mark.parametrize("sampling_rate", [0, -1, 1, 16000.0, None, True])
def test_a_wanted_rate_that_makes_no_sense_is_refused(sampling_rate: object) -> None:
    assert "sampling rate" in refusal((WAVE, 16000), sampling_rate)


# Real recordings


@pytest.mark.real_audio
@pytest.mark.skipif("FASTAST_TEST_AUDIO" not in os.environ, reason="FASTAST_TEST_AUDIO names no folder of recordings")
@pytest.mark.parametrize(
    ("folder", "count", "seconds"),
    [
        ("ESC-10/audio", 20, (2.0, 8.0)),
        ("speech_commands_v0.02_test_set/yes", 10, (0.3, 1.01)),
        ("speech_commands_v0.02_test_set/no", 10, (0.3, 1.01)),
    ],
)
def test_real_recordings_are_read(
    folder: str, count: int, seconds: tuple[float, float], caplog: pytest.LogCaptureFixture
) -> None:
    files = find_audio(Path(os.environ["FASTAST_TEST_AUDIO"]) / folder).files[:count]
    assert len(files) == count
    for file in files:
        samples = load_audio(file)
        assert seconds[0] <= len(samples) / 16000 <= seconds[1]
        assert len(samples) == pytest.approx(soundfile.info(file).duration * 16000, abs=1)
        assert 1e-4 < np.sqrt(np.mean(samples**2)) < 1.0
    assert not caplog.records


@pytest.mark.parametrize("rate", [16000, 44100, 8000])
def test_a_part_has_the_samples_of_the_whole_and_nothing_behind_it_is_decoded(rate: int, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(scale=0.1, size=4 * rate).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, rate, "FLOAT")
    whole = load_audio(path)
    resampled = 0 if rate == 16000 else 1e-6
    for start, count in ((0, 16000), (9001, 12345), (50000, 99999), (70000, 10)):
        part = load_part(path, 16000, start, count)
        np.testing.assert_allclose(part, whole[start : start + count], rtol=0, atol=resampled)
    assert np.array_equal(load_part(path, 16000), whole)
    samples[-1] = np.nan
    soundfile.write(path, samples, rate, "FLOAT")
    np.testing.assert_allclose(load_part(path, 16000, 9001, 12345), whole[9001 : 9001 + 12345], rtol=0, atol=resampled)
    with pytest.raises(AudioError, match="a sample is nan"):
        load_part(path, 16000)


FORMATS = [
    ("WAV", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("MP3", None),
    ("OGG", "VORBIS"),
    ("WAV", "GSM610"),
    ("AIFF", "ALAW"),
]


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize(("kind", "subtype"), FORMATS)
def test_a_part_is_in_its_place_in_every_format(kind: str, subtype: str | None, rate: int, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(scale=0.1, size=4 * rate)
    path = tmp_path / f"a.{kind.lower()}"
    soundfile.write(path, samples, rate, subtype, format=kind)
    whole = load_audio(path)
    for source in (path, {"bytes": path.read_bytes(), "path": None}):
        for start in (1, 28213, 40001):
            part = load_part(source, 16000, start, 8000)
            np.testing.assert_allclose(part, whole[start : start + 8000], rtol=0, atol=1e-3)


def test_a_part_is_read_without_decoding_what_is_before_it(tmp_path: Path) -> None:
    samples = np.zeros(64000, np.float32)
    samples[0], samples[30000] = np.nan, 0.5
    soundfile.write(tmp_path / "a.wav", samples, 16000, "FLOAT")
    assert load_part(tmp_path / "a.wav", 16000, 30000, 10)[0] == 0.5
    assert load_part(tmp_path / "a.wav", 8000, 14000, 4000).max() > 0.2
    with pytest.raises(AudioError, match="a sample is nan"):
        load_part(tmp_path / "a.wav", 16000, 0, 40000)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_stretch_of_a_row_is_where_it_is_asked_for(
    rate: int, known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.random.default_rng(0).normal(scale=0.1, size=2 * rate), rate, "FLOAT")
    whole, row = load_audio(path), {"audio": {"bytes": None, "path": str(path)}}
    if not known:
        monkeypatch.setattr("fastast_hf.audio.loading.num_samples", lambda *_: None)
    for place, start in ((0.0, 0), (0.5, 12000), (1 - 1e-9, 24000)):
        stretch = load_row(row, 16000, 8000, place)
        np.testing.assert_allclose(stretch, whole[start : start + 8000], rtol=0, atol=1e-6)
    inner = load_row(row | {"start": 0.0625, "end": 1.25}, 16000, 8000, 1 - 1e-9)
    np.testing.assert_allclose(inner, whole[12000:20000], rtol=0, atol=1e-6)
    assert len(load_row(row | {"start": 1.875}, 16000, 8000, 0.7)) == 2000
    assert len(load_row(row, 16000, 99999, 0.7)) == len(whole)


def test_a_stretch_of_a_file_whose_header_tells_a_longer_sound_is_of_the_sound_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).normal(scale=0.1, size=64000), 16000)
    path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 4])
    for place in (0.1, 0.5, 0.99):
        stretch = load_row({"audio": {"bytes": None, "path": str(path)}}, 16000, 16000, place)
        assert len(stretch) == 16000 and stretch.std() == pytest.approx(0.1, rel=0.1)


def test_a_part_that_does_not_fit_into_memory_is_an_audio_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("fastast_hf.audio.loading.array_to_mono", full)
    with pytest.raises(AudioError, match=r"array: cannot be read \(MemoryError: no room\)"):
        load_part(([0.0], 16000), 16000)
