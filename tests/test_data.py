"""The clips in tests/data are small, complete, readable and what their README says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

DATA = Path(__file__).parent / "data"
MAX_BYTES = 2_000_000
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
VOICES = ("en-us", "rms", "slt")
SPEECH = [f"speech/{word}_{voice}.wav" for word in COMMANDS for voice in VOICES]
COMPUTED = [
    f"computed/{name}.wav"
    for name in ("tone_440hz", "chirp_100hz_to_7khz", "clicks_10_a_second", "white_noise", "pink_noise")
]
FORMATS = {  # file: rate in Hz, channels, libsndfile subtype
    "formats/pcm8_8k.wav": (8_000, 1, "PCM_U8"),
    "formats/pcm16_16k_8_channels.wav": (16_000, 8, "PCM_16"),
    "formats/pcm16_32k.aiff": (32_000, 1, "PCM_16"),
    "formats/pcm24_44k1_stereo.wav": (44_100, 2, "PCM_24"),
    "formats/float32_48k.wav": (48_000, 1, "FLOAT"),
    "formats/flac_96k.flac": (96_000, 1, "PCM_16"),
    "formats/vorbis_22k05.ogg": (22_050, 1, "VORBIS"),
    "formats/mp3_44k1.mp3": (44_100, 1, "MPEG_LAYER_III"),
}


def strongest_frequency(wave: np.ndarray, rate: int) -> float:
    """The frequency in Hz of the highest point of a wave's spectrum."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), n=rate))  # padded to one second: bins of 1 Hz
    return float(spectrum.argmax())


def test_folder_holds_the_listed_clips_and_stays_small() -> None:
    files = {path.relative_to(DATA).as_posix(): path.stat().st_size for path in DATA.rglob("*.*") if path.is_file()}
    clips = {name: size for name, size in files.items() if name.startswith(("speech/", "computed/", "formats/"))}
    assert set(clips) == {*SPEECH, *COMPUTED, *FORMATS}
    assert sum(clips.values()) < MAX_BYTES


@pytest.mark.parametrize("name", SPEECH + COMPUTED)
def test_one_second_clip_is_16_khz_mono_at_half_scale(name: str) -> None:
    info = sf.info(DATA / name)
    wave, _ = sf.read(DATA / name)
    assert (info.frames, info.samplerate, info.channels, info.subtype) == (16_000, 16_000, 1, "PCM_16")
    assert np.abs(wave).max() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("name", SPEECH)
def test_word_lies_in_the_middle_of_faint_noise(name: str) -> None:
    wave, rate = sf.read(DATA / name)
    loud = np.flatnonzero(np.abs(wave) > 0.05) / rate
    assert (loud[0] + loud[-1]) / 2 == pytest.approx(0.5, abs=0.15)
    edges = np.concatenate([wave[: rate // 50], wave[-rate // 50 :]])
    assert 1e-4 < edges.std() < 2e-3


@pytest.mark.parametrize("name", FORMATS)
def test_format_decodes_to_the_tone_in_every_channel(name: str) -> None:
    info = sf.info(DATA / name)
    wave, rate = sf.read(DATA / name, always_2d=True)
    assert (info.samplerate, info.channels, info.subtype) == FORMATS[name]
    assert len(wave) / rate == pytest.approx(0.3, abs=0.06)  # mp3 pads to whole frames
    for number, channel in enumerate(wave.T, start=1):
        assert strongest_frequency(channel, rate) == pytest.approx(440, abs=2)
        assert np.abs(channel).max() == pytest.approx(0.5 * number / info.channels, abs=0.03)


def test_computed_sounds_have_the_spectra_of_their_names() -> None:
    tone, chirp, clicks, white, pink = (sf.read(DATA / name)[0] for name in COMPUTED)
    assert strongest_frequency(tone, 16_000) == 440
    assert strongest_frequency(chirp[:1600], 16_000) < 1_000
    assert strongest_frequency(chirp[-1600:], 16_000) > 6_000
    assert np.count_nonzero(clicks) == 10
    # From one octave to the next the band's power doubles in white noise and stays in pink noise.
    for noise, growth in ((white, 2.0), (pink, 1.0)):
        power = np.abs(np.fft.rfft(noise)) ** 2
        assert power[2000:4000].sum() / power[1000:2000].sum() == pytest.approx(growth, rel=0.2)
