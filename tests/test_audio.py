"""Tests of reading audio: what comes back for every format, and the one line said about what cannot be read."""

from __future__ import annotations

import multiprocessing
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fastast_hf.audio import (
    AUDIO_EXTENSIONS,
    AudioError,
    _mpg123_hushed,
    check_samples,
    find_audio_files,
    load_audio,
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
DAMAGE = [
    # extension, share of the bytes kept, whether it must be refused (False: used, with a warning; None: used)
    (".mp3", 0.005, True),
    (".mp3", 0.05, True),
    (".mp3", 0.4, True),
    (".mp3", 0.75, False),
    (".mp3", 0.999, None),
    (".flac", 0.002, True),
    (".flac", 0.4, True),
    (".flac", 0.75, False),
    (".wav", 0.5, None),
    (".ogg", 0.02, True),
]


def tone(hz: float = 440.0, rate: int = 16000, seconds: float = 0.5, amplitude: float = 0.5) -> np.ndarray:
    """A sine, float64 (n,)."""
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def amplitude_at(hz: float, samples: np.ndarray, rate: int = 16000) -> float:
    """Amplitude of the sine at `hz` in the middle half of the samples, away from the edges of filters and codecs."""
    quarter = len(samples) // 4
    middle = samples[quarter:-quarter].astype(np.float64)
    window = np.hanning(len(middle))
    turns = np.exp(-2j * np.pi * hz * np.arange(len(middle)) / rate)
    return 2 * abs((middle * window * turns).sum()) / window.sum()


def write_mp3(path: Path, samples: np.ndarray, rate: int = 44100, compression: float = 0.5) -> bytes:
    """Write a constant bit rate mp3 and return its bytes."""
    soundfile.write(path, samples, rate, format="MP3", bitrate_mode="CONSTANT", compression_level=compression)
    return path.read_bytes()


def refusal(source: object, sampling_rate: int = 16000) -> str:
    """The message `load_audio` raises, checked to be one line and to come without another exception behind it."""
    with pytest.raises(AudioError) as caught:
        load_audio(source, sampling_rate)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert ": " in message and "; " in message  # the source, what is wrong; what to do
    assert caught.value.__cause__ is None and (caught.value.__context__ is None or caught.value.__suppress_context__)
    return message


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
    "silent": ("silent.wav", lambda path: soundfile.write(path, np.zeros(16000), 16000), "silent"),
    "silent at 44.1 kHz": ("silent.ogg", lambda path: soundfile.write(path, np.zeros(44100), 44100), "silent"),
    "constant": ("dc.wav", lambda path: soundfile.write(path, np.full(16000, 0.25), 16000), "silent"),
    "1 Hz": ("slow.wav", lambda path: soundfile.write(path, tone(), 1), "1 Hz"),
    "999 Hz": ("slow.wav", lambda path: soundfile.write(path, tone(), 999), "999 Hz"),
    "NaN": ("nan.wav", lambda path: soundfile.write(path, spoiled(np.nan), 44100, subtype="FLOAT"), "NaN or inf"),
    "inf": ("inf.wav", lambda path: soundfile.write(path, spoiled(-np.inf), 16000, subtype="DOUBLE"), "NaN or inf"),
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
    "bytes": (b"RIFF", "bytes"),
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
    "NaN": ((spoiled(np.nan), 16000), "1 of 16000 samples are NaN"),
    "inf": ((spoiled(np.inf), 44100), "1 of 16000 samples are NaN or inf"),
    "inf against -inf": ((np.stack([spoiled(np.inf), spoiled(-np.inf)]), 16000), "NaN or inf"),
    "beyond float32": ((spoiled(1e300), 16000), "NaN or inf"),
    "zeros": ((np.zeros(16000), 16000), "silent"),
    "zeros at 44.1 kHz": ((np.zeros(44100, np.int16), 44100), "silent"),
    "constant at 44.1 kHz": ((np.full(44100, 0.1), 44100), "silent"),
    "opposite channels": ((np.stack([WAVE, -WAVE]), 16000), "silent"),
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
    source = {"path": "dog.wav", "array": np.zeros(16000), "sampling_rate": 16000}
    assert refusal(source).startswith("dog.wav: ")


@pytest.mark.parametrize("sampling_rate", [0, -1, 1, 16000.0, None, True])
def test_a_wanted_rate_that_makes_no_sense_is_refused(sampling_rate: object) -> None:
    assert "sampling rate" in refusal((WAVE, 16000), sampling_rate)


def test_check_samples_passes_what_is_fine() -> None:
    check_samples(WAVE, "tone.wav", 16000)
    check_samples(WAVE[:400], "tone.wav", 16000)
    with pytest.raises(AudioError, match=r"^tone\.wav: too short"):
        check_samples(WAVE[:400], "tone.wav", 32000)


# Damaged files


@pytest.mark.parametrize(("extension", "kept", "refused"), DAMAGE)
def test_a_cut_file_is_used_as_far_as_it_goes_or_refused(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    extension: str,
    kept: float,
    refused: bool | None,
) -> None:
    file = tmp_path / f"cut{extension}"
    samples = tone(rate=44100, seconds=3.0) + np.random.default_rng(0).normal(0, 0.01, 132300)
    soundfile.write(file, samples, 44100)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])
    if refused:
        assert refusal(str(file)).startswith(f"{file}: ")
    else:
        samples = load_audio(str(file))
        assert len(samples) / 48000 == pytest.approx(kept, abs=0.05)
        assert amplitude_at(440, samples) == pytest.approx(0.5, rel=0.05)
        warnings = [record.getMessage() for record in caplog.records]
        assert [warning.startswith(f"{file}: cut off") for warning in warnings] == ([True] if refused is False else [])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("size", [1, 2, 4, 10, 40, 100, 200, 300, 417, 418, 500, 800, 1000])
def test_the_first_bytes_of_an_mp3_are_refused_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], size: int
) -> None:
    file = tmp_path / "cut.mp3"
    data = write_mp3(file, tone(rate=44100, seconds=2.0))
    for prefix in (b"", b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)):
        file.write_bytes(prefix + data[:size])
        assert refusal(str(file)).startswith(f"{file}: ")
    assert capfd.readouterr().err == ""


def test_an_mp3_whose_length_is_a_guess_is_not_called_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A low bit rate, then a high one, and no tag saying how long it all is: the guess is several times too long."""
    noise = np.random.default_rng(0).normal(0, 0.1, 88200)
    parts = [write_mp3(tmp_path / "part.mp3", noise, compression=compression) for compression in (0.99, 0.0, 0.0)]
    file = tmp_path / "joined.mp3"
    file.write_bytes(b"".join(part[part.index(part[:2], 100) :] for part in parts))  # less each one's tag frame
    assert soundfile.info(file).frames > 3 * 3 * len(noise)
    assert len(load_audio(file)) / 16000 == pytest.approx(6.0, abs=0.2)
    assert not caplog.records


def test_a_flac_of_unstated_length_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "piped.flac"
    soundfile.write(file, tone(), 16000)
    data = bytearray(file.read_bytes())
    data[21] &= 0xF0  # STREAMINFO: the low 36 bits of bytes 18 to 25 are the number of samples, 0 if unknown
    data[22:26] = bytes(4)
    file.write_bytes(data)
    assert len(load_audio(file)) == 8000
    assert not caplog.records


def test_what_others_write_to_stderr_during_a_decode_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    kept = b"\r 50% done\nx.py:1: UserWarning: kept\n[INFO] kept\n"
    with _mpg123_hushed():
        os.write(
            2, kept + b"Warning: Xing stream size off\n[src/libmpg123/parse.c:wetwork():1349] error: gone\nNote: x\n"
        )
    assert capfd.readouterr().err == kept.decode()


def test_threads_decoding_at_once_leave_stderr_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cut.mp3"
    data = write_mp3(file, tone(rate=44100, seconds=2.0))
    file.write_bytes(data[: len(data) * 3 // 4])
    with ThreadPoolExecutor(4) as pool:
        lengths = {len(samples) for samples in pool.map(load_audio, [file] * 40)}
    assert len(lengths) == 1
    os.write(2, b"still here\n")
    said = [line for line in capfd.readouterr().err.splitlines() if not line.startswith(f"{file}: cut off")]
    assert said == ["still here"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # forking beside a thread is what is tested
@pytest.mark.skipif(not hasattr(os, "register_at_fork"), reason="no fork on this system")
def test_a_process_forked_during_a_decode_can_decode(tmp_path: Path) -> None:
    file = tmp_path / "tone.mp3"
    write_mp3(file, tone(rate=44100))
    stop = threading.Event()

    def decode() -> None:
        while not stop.is_set():
            load_audio(file)

    thread = threading.Thread(target=decode)
    thread.start()
    try:
        with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
            shapes = [pool.apply_async(decoded_length, (file,)).get(timeout=10) for _ in range(10)]
    finally:
        stop.set()
        thread.join()
    assert shapes == [8000] * 10


def decoded_length(file: Path) -> int:
    """Number of samples in the file, for a worker process."""
    return len(load_audio(file))


# Finding files


def make_tree(folder: Path, names: tuple[str, ...]) -> None:
    """Empty files, with their folders."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_searched_in_natural_order_without_hidden_files(tmp_path: Path) -> None:
    wanted = ("b/clip1.wav", "b/clip2.WAV", "b/clip10.wav", "b/deep/er/x.opus", "c.aiff", "d10/a.mp3", "d10/a.ogg")
    make_tree(
        tmp_path, (*wanted[::-1], "notes.txt", ".hidden.wav", ".git/x.wav", "b/._clip1.wav", "wav", "b/video.mp4")
    )
    (tmp_path / "folder.wav").mkdir()
    assert [file.relative_to(tmp_path).as_posix() for file in find_audio_files([tmp_path])] == list(wanted)


def test_a_hidden_folder_is_searched_when_asked_for(tmp_path: Path) -> None:
    make_tree(tmp_path, (".cache/x.wav",))
    assert find_audio_files([tmp_path / ".cache"]) == [tmp_path / ".cache" / "x.wav"]


def test_files_are_kept_as_given_missing_and_twice(tmp_path: Path) -> None:
    make_tree(tmp_path, ("in/2.wav", "in/1.wav", "notes.txt"))
    given = ["z.wav", str(tmp_path / "in"), tmp_path / "notes.txt", "z.wav", "x" * 5000, tmp_path / "in" / "1.wav"]
    expected = ["z.wav", tmp_path / "in/1.wav", tmp_path / "in/2.wav", tmp_path / "notes.txt"]
    expected += ["z.wav", "x" * 5000, tmp_path / "in/1.wav"]
    assert find_audio_files(given) == [Path(path) for path in expected]


def test_one_path_instead_of_a_list_is_that_path(tmp_path: Path) -> None:
    make_tree(tmp_path, ("a.wav",))
    assert find_audio_files(str(tmp_path)) == find_audio_files(tmp_path) == [tmp_path / "a.wav"]


def test_a_folder_without_audio_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    make_tree(tmp_path, ("notes.txt", ".hidden.wav"))
    with pytest.raises(AudioError, match=re.escape(str(tmp_path))) as caught:
        find_audio_files([tmp_path])
    assert "\n" not in str(caught.value)
    assert all(extension in str(caught.value) for extension in AUDIO_EXTENSIONS)


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
    files = find_audio_files([Path(os.environ["FASTAST_TEST_AUDIO"]) / folder])[:count]
    assert len(files) == count
    for file in files:
        samples = load_audio(file)
        assert seconds[0] <= len(samples) / 16000 <= seconds[1]
        assert len(samples) == pytest.approx(soundfile.info(file).duration * 16000, abs=1)
        assert 1e-4 < np.sqrt(np.mean(samples**2)) < 1.0
    assert not caplog.records
