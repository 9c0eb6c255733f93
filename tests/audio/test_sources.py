"""What sound can be read from besides a path: bytes, file objects, pipes, iterators, and files with wrong headers."""

from __future__ import annotations

import io
import logging
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sounds import refusal, tone

from fastast_hf.audio import load_audio

WAVE = tone(seconds=1.0).astype(np.float32)


class Pipe(io.RawIOBase):
    """A stream that can be read once, front to back, a little at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        part = self._data.read(min(1000, len(buffer)))
        buffer[: len(part)] = part
        return len(part)


def encoded(extension: str, rate: int = 16000, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, WAVE, rate, format=extension, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "aiff", "au", "w64", "caf"])
@pytest.mark.parametrize("given", [bytes, io.BytesIO, Pipe, lambda data: io.BufferedReader(Pipe(data))])
def test_bytes_file_objects_and_pipes_are_read_as_the_file_is(
    extension: str, given: Callable[[bytes], object], tmp_path: Path
) -> None:
    (tmp_path / f"a.{extension}").write_bytes(encoded(extension))
    expected = load_audio(tmp_path / f"a.{extension}")
    np.testing.assert_array_equal(load_audio(given(encoded(extension))), expected)
    np.testing.assert_array_equal(load_audio({"bytes": given(encoded(extension)), "path": "a"}), expected)


def test_a_file_object_is_read_from_its_start_and_left_open() -> None:
    file = io.BytesIO(encoded("wav"))
    file.seek(1000)
    np.testing.assert_array_equal(load_audio(file), load_audio(file))


def test_stdin_of_a_shell_is_read() -> None:
    reading, writing = os.pipe()
    data = encoded("flac")
    writer = threading.Thread(target=lambda: (os.write(writing, data), os.close(writing)))
    writer.start()
    with os.fdopen(reading, "rb") as stdin:
        samples = load_audio(stdin)
    writer.join()
    np.testing.assert_array_equal(samples, load_audio(data))


def test_what_is_no_binary_file_is_refused(tmp_path: Path) -> None:
    assert refusal(b"RIFF").startswith("clip: no audio that can be decoded")
    assert refusal(b"").startswith("clip: empty file")
    assert refusal(io.StringIO("text")).startswith("clip: a file object that gives no bytes")
    file = (tmp_path / "a.txt").open("w+b")
    file.close()
    assert refusal(file).startswith(f"{tmp_path / 'a.txt'}: a file object that gives no bytes")


@pytest.mark.parametrize("rate", [16000, 44100])
def test_an_iterator_of_blocks_is_read_as_their_whole(rate: int) -> None:
    parts = np.array_split(WAVE, [1, 1, 700, 9000])
    np.testing.assert_allclose(load_audio((iter(parts), rate)), load_audio((WAVE, rate)), atol=1e-6)
    stereo = (torch.from_numpy(np.stack([part * 0.5, part * 1.5], axis=1)) for part in parts)
    np.testing.assert_allclose(load_audio((stereo, rate)), load_audio((WAVE, rate)), atol=1e-6)


def test_a_buffer_that_is_used_again_for_the_next_block_may_be_given() -> None:
    buffer = np.zeros(100, np.float32)

    def blocks() -> object:
        for start in range(0, 16000, 100):
            buffer[:] = WAVE[start : start + 100]
            yield buffer

    np.testing.assert_array_equal(load_audio((blocks(), 16000)), WAVE)


def test_bad_blocks_are_refused() -> None:
    assert "a block of 16000 channels" in refusal((iter([np.zeros((2, 16000))]), 16000))
    assert "3-D array" in refusal((iter([np.zeros((1, 2, 3))]), 16000))
    assert "zero samples" in refusal((iter([]), 16000))
    assert "a sample is nan, at 1.00 s" in refusal((iter([WAVE, np.full(9, np.nan)]), 16000))


# Headers that state too little


def with_sizes(data: bytes, sound: int, whole: int | None = None) -> bytes:
    """A wav file with other sizes in its header."""
    place = data.index(b"data") + 4
    data = data[:place] + struct.pack("<I", sound) + data[place + 4 :]
    return data if whole is None else data[:4] + struct.pack("<I", whole) + data[8:]


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
@pytest.mark.parametrize("container", ["wav", "wavex"])
@pytest.mark.parametrize("sizes", [(0, 0), (0, None), (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, None), (1200, None)])
def test_an_unfinished_header_is_read_to_the_end_of_the_file(
    subtype: str, container: str, sizes: tuple[int, int | None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = encoded(container, 44100, subtype)
    expected = load_audio(data)
    unfinished = with_sizes(data, *sizes)
    (tmp_path / "a.wav").write_bytes(unfinished)
    for source in (tmp_path / "a.wav", unfinished, io.BytesIO(unfinished), Pipe(unfinished)):
        np.testing.assert_array_equal(load_audio(source), expected)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == (0 if sizes[0] == 0xFFFFFFFF else 4)
    assert all("its header states less sound than there is" in line for line in warned)


# Where the number of bytes stands: behind which name, how far behind it starts, as of struct, and what else it counts.
SIZES = {
    "aiff": (b"SSND", 4, ">I", 8),
    "au": (b".snd", 8, ">I", 0),
    "caf": (b"data", 4, ">Q", 4),
    "rf64": (b"ds64", 16, "<Q", 0),
    "w64": (b"data", 16, "<Q", 24),
}


def with_size(data: bytes, container: str, sound: int | None) -> bytes:
    """A file that states so many bytes of sound; None for the number that stands for unknown."""
    name, behind, form, more = SIZES[container]
    place = data.index(name) + behind
    most = 256 ** struct.calcsize(form) - 1
    number = struct.pack(form, most if sound is None else sound + more)
    return data[:place] + number + data[place + len(number) :]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "FLOAT", "ULAW"])
@pytest.mark.parametrize("container", SIZES)
def test_an_unfinished_header_of_another_container_is_read_to_the_end_of_the_file(
    container: str, subtype: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = encoded(container, 44100, subtype)
    expected = load_audio(data)
    assert not caplog.records
    for stated in (0, 1200, None):
        unfinished = with_size(data, container, stated)
        (tmp_path / "a").write_bytes(unfinished)
        for source in (tmp_path / "a", unfinished, io.BytesIO(unfinished), Pipe(unfinished)):
            np.testing.assert_array_equal(load_audio(source), expected)
        if stated is not None:
            assert len(caplog.messages) == 4
            assert all("its header states less sound than there is" in line for line in caplog.messages)
            caplog.clear()
        assert not caplog.records


@pytest.mark.parametrize("container", ["wav", "wavex", *SIZES])
@pytest.mark.parametrize(("kept", "said"), [(0.3, "0.30 s of 1.00 s"), (0.99, "0.99 s of 1.00 s")])
def test_a_file_that_was_cut_off_is_read_with_a_warning_that_says_what_is_there(
    container: str, kept: float, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = encoded(container, 16000, "PCM_16")  # whose sound is its end
    (tmp_path / "a.wav").write_bytes(data[: len(data) - 32000 + int(32000 * kept)])
    np.testing.assert_array_equal(load_audio(tmp_path / "a.wav"), load_audio(data)[: int(16000 * kept)])
    assert caplog.messages == [f"{tmp_path / 'a.wav'}: cut off or damaged, using the {said} that can be decoded"]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_was_cut_off_or_has_lost_its_middle_is_read_with_a_warning(
    subtype: str, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 160_000)
    file = io.BytesIO()
    soundfile.write(file, noise, 16000, format="OGG", subtype=subtype)
    data = file.getvalue()
    whole = load_audio(data)
    assert not caplog.records
    samples = load_audio(data[: int(0.6 * len(data))])
    assert 64_000 < len(samples) < 112_000
    np.testing.assert_array_equal(samples[:-4096], whole[: len(samples) - 4096])
    seconds = f"{len(samples) / 16000:.2f}"
    assert caplog.messages == [f"clip: cut off or damaged, using the {seconds} s that can be decoded"]
    caplog.clear()
    middle = len(data) // 2
    lost = load_audio(data[:middle] + bytes(2000) + data[middle + 2000 :])
    assert len(lost) < 0.98 * len(whole)
    assert caplog.messages == [
        f"clip: cut off or damaged, using the {len(lost) / 16000:.2f} s of 10.00 s that can be decoded"
    ]


def test_chunks_behind_the_sound_are_no_sound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = encoded("wav", subtype="PCM_16")
    tagged = data + b"LIST" + struct.pack("<I", 8) + b"INFOabcd"
    np.testing.assert_array_equal(load_audio(tagged), load_audio(data))
    np.testing.assert_array_equal(load_audio(data + b"LI"), load_audio(data))  # a chunk that was cut off
    odd = encoded("wav", subtype="PCM_U8")
    odd = with_sizes(odd, 15999)[:-1]
    for behind in (b"", b"\0"):  # the padding that not every program writes
        assert len(load_audio(odd + behind + b"LIST" + struct.pack("<I", 4) + b"INFO")) == 15999
    for container, behind in (("aiff", b"NAME\0\0\0\4dogs"), ("caf", b"info" + struct.pack(">Q", 4) + bytes(4))):
        data = encoded(container, subtype="PCM_16")
        np.testing.assert_array_equal(load_audio(data + behind), load_audio(data))
    data = encoded("wav", subtype="PCM_16")
    assert "zero samples" in refusal(with_sizes(data, 0)[: data.index(b"data") + 8] + tagged[len(data) :])
    assert not caplog.records
