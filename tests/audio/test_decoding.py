"""Damaged files are used as far as they go or refused, and what decoders print is not heard of."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import platform
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import amplitude_at, refusal, tone, write_mp3

from fastast_hf.audio import load_audio
from fastast_hf.audio.quiet import c_output_dropped

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
    (".wav", 0.5, False),
    (".ogg", 0.02, True),
]


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


@pytest.mark.parametrize("behind", [b"TAG" + bytes(125), b"APETAGEX" + bytes(500)])
def test_a_flac_with_a_tag_behind_it_is_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture, behind: bytes) -> None:
    file = tmp_path / "tagged.flac"
    soundfile.write(file, tone(seconds=0.25), 16000)
    file.write_bytes(file.read_bytes() + behind)
    assert len(load_audio(file)) == 4000
    assert not caplog.records


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="nothing is dropped here")
def test_what_libraries_print_is_dropped_and_what_others_print_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    c_library = ctypes.CDLL(None)
    with c_output_dropped(), c_output_dropped():
        c_library.printf(b"Ooops")
        print("ours", flush=True)
        print("ours, too", file=sys.stderr, flush=True)
    c_library.printf(b"of another library\n")
    c_library.fflush(None)
    assert capfd.readouterr() == ("ours\nof another library\n", "ours, too\n")


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
