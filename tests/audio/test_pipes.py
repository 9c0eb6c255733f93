"""Sound in bytes that are still coming in, whatever pieces they come in and however they end."""

from __future__ import annotations

import io
import struct
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from fastast_hf.audio import AudioError, pipes
from fastast_hf.audio.pipes import growing, sound_in_bytes

SAMPLES = np.random.default_rng(0).uniform(-0.5, 0.5, (3000, 2)).astype(np.float32)


def wav(subtype: str = "PCM_16", stated: int | None = None, behind: bytes = b"") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, 22050, format="WAV", subtype=subtype)
    content = file.getvalue()
    if stated is not None:
        at = content.index(b"data") + 4
        content = content[:at] + struct.pack("<I", stated) + content[at + 4 :]
    return content + behind


def heard(content: bytes, pieces: tuple[int, ...] = (65536,), **settings: Any) -> tuple[int, np.ndarray]:
    left, turns = io.BytesIO(content), iter(range(10**9))
    rate, blocks = sound_in_bytes(lambda n: left.read(min(n, pieces[next(turns) % len(pieces)])), "pipe", **settings)
    return rate, np.concatenate([np.zeros(0, np.float32), *blocks])


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_a_wav_in_a_pipe_is_what_it_is_as_a_file(subtype: str) -> None:
    rate, samples = heard(wav(subtype), (7, 100, 1))
    expected, _ = soundfile.read(io.BytesIO(wav(subtype)), dtype="float32")
    assert rate == 22050
    np.testing.assert_array_equal(samples, expected.mean(axis=1, dtype=np.float32))


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=4).map(tuple))
@settings(deadline=None, max_examples=20)
def test_samples_without_a_header_do_not_depend_on_pieces(pieces: tuple[int, ...]) -> None:
    rate, samples = heard(SAMPLES.tobytes(), pieces, pcm="f32le", rate=8000, channels=2)
    assert rate == 8000
    np.testing.assert_array_equal(samples, SAMPLES.mean(axis=1))
    whole = np.arange(-5, 5, dtype="<i2")
    np.testing.assert_array_equal(heard(whole.tobytes(), pieces, pcm="s16le", rate=8000)[1], whole / np.float32(32768))


@pytest.mark.parametrize("stated", [0, 2**32 - 1, 2**31 - 1])
def test_a_length_that_a_program_could_not_know_is_none(stated: int, caplog: pytest.LogCaptureFixture) -> None:
    assert len(heard(wav(stated=stated))[1]) == 3000 and not caplog.messages


def test_what_follows_the_sound_is_no_sound_unless_the_header_states_too_little(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for pieces in ((65536,), (13,)):
        assert len(heard(wav(behind=b"LIST\x04\x00\x00\x00abcd"), pieces)[1]) == 3000
        assert not caplog.messages
        assert len(heard(wav(stated=400), pieces)[1]) == 3000
        assert "states less sound than there is" in caplog.messages.pop()
        caplog.clear()


def test_sound_that_ends_in_the_middle_stands_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    assert len(heard(wav()[:-4000])[1]) == 2000
    assert caplog.messages == ["pipe: cut off, after 0.09 s of the 0.14 s that its header states"]
    caplog.clear()
    assert len(heard(b"\0" * 33, pcm="s16le", rate=8000)[1]) == 16
    assert caplog.messages == ["pipe: cut off within a sample, after 0.00 s"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "zero bytes; give wav"),
        (b"fLaC" + bytes(50), "no wav file; give wav"),
        (wav()[:20], "without uncompressed"),
    ],
)
def test_other_bytes_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(AudioError, match=said):
        heard(content)
    with pytest.raises(AudioError, match="without a header"):
        heard(b"\0" * 8, pcm="s16le")


def test_a_file_is_followed_while_it_grows_until_it_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipes, "POLL", 0.001)
    content, path, taken = wav(stated=400), tmp_path / "grows.wav", threading.Event()
    path.write_bytes(content[:5000])

    def grow() -> None:
        assert taken.wait(30)
        with path.open("ab") as file:
            file.write(content[5000:])
        while not all_heard.is_set():
            time.sleep(0.001)
        path.unlink()

    all_heard = threading.Event()
    thread = threading.Thread(target=grow)
    thread.start()
    rate, blocks = sound_in_bytes(growing(path, "grows.wav"), "grows.wav", to_end=True)
    count = 0
    for block in blocks:
        taken.set()
        count += len(block)
        if count == 3000:
            all_heard.set()
    thread.join()
    assert (rate, count) == (22050, 3000) and caplog.messages == ["grows.wav: was removed"]
    with pytest.raises(AudioError, match="cannot be opened"):
        growing(path, "grows.wav")
