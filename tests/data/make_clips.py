"""Make the clips of the demo and the tests: spoken commands, computed sounds and one tone in eight file formats.

    python tests/data/make_clips.py

writes speech/, computed/ and formats/ beside this file. It needs espeak-ng and flite; every random choice is seeded.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

HERE = Path(__file__).parent
RATE = 16_000
PEAK = 0.5
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
VOICES = {
    "en-us": ("espeak-ng", "-v", "en-us", "-s", "150", "-w", "{out}", "{word}"),
    "rms": ("flite", "-voice", "rms", "-t", "{word}", "-o", "{out}"),
    "slt": ("flite", "-voice", "slt", "-t", "{word}", "-o", "{out}"),
}
TONE_SECONDS = 0.3
FORMATS = (  # file, rate in Hz, channels, libsndfile subtype
    ("pcm8_8k.wav", 8_000, 1, "PCM_U8"),
    ("pcm16_16k_8_channels.wav", 16_000, 8, "PCM_16"),
    ("pcm16_32k.aiff", 32_000, 1, "PCM_16"),
    ("pcm24_44k1_stereo.wav", 44_100, 2, "PCM_24"),
    ("float32_48k.wav", 48_000, 1, "FLOAT"),
    ("flac_96k.flac", 96_000, 1, "PCM_16"),
    ("vorbis_22k05.ogg", 22_050, 1, "VORBIS"),
    ("mp3_44k1.mp3", 44_100, 1, "MPEG_LAYER_III"),
)


def trim(wave: np.ndarray, floor_db: float = -40.0, margin_s: float = 0.02) -> np.ndarray:
    """Cuts leading and trailing 10 ms frames that lie `floor_db` under the loudest, but for a margin in seconds."""
    hop, margin = RATE // 100, int(margin_s * RATE)
    frames = wave[: len(wave) // hop * hop].reshape(-1, hop)
    level = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(level > level.max() * 10 ** (floor_db / 20))
    return wave[max(0, loud[0] * hop - margin) : (loud[-1] + 1) * hop + margin]


def speak(word: str, voice: str) -> np.ndarray:
    """Speaks a word into the middle of one second of faint noise; shape `(16000,)`, peak 0.5."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "word.wav"
        subprocess.run([part.format(out=out, word=word) for part in VOICES[voice]], check=True, capture_output=True)
        wave, rate = sf.read(out, dtype="float64")
    wave = trim(soxr.resample(wave, rate, RATE))
    # Exact zeros around the word would be log(0) in a spectrogram, which no recording has.
    clip = np.random.default_rng([*f"{word}_{voice}".encode()]).normal(0.0, 1e-3, RATE)
    start = (RATE - len(wave)) // 2
    clip[start : start + len(wave)] += wave / np.abs(wave).max()
    return clip * (PEAK / np.abs(clip).max())


def compute_sounds() -> dict[str, np.ndarray]:
    """One second each, at 16 kHz and peak 0.5, of sounds that a formula gives: name to shape `(16000,)`."""
    time = np.arange(RATE) / RATE
    rng = np.random.default_rng(0)
    white = rng.normal(size=RATE)
    pink = np.fft.rfft(rng.normal(size=RATE))
    pink[0] = 0.0
    pink[1:] /= np.sqrt(np.arange(1, len(pink)))  # power falls as 1/f
    clicks = np.zeros(RATE)
    clicks[RATE // 20 :: RATE // 10] = 1.0
    sounds = {
        "tone_440hz": np.sin(2 * np.pi * 440 * time),
        "chirp_100hz_to_7khz": np.sin(2 * np.pi * (100 * time + (7000 - 100) / 2 * time**2)),
        "clicks_10_a_second": clicks,
        "white_noise": white,
        "pink_noise": np.fft.irfft(pink, RATE),
    }
    return {name: sound * (PEAK / np.abs(sound).max()) for name, sound in sounds.items()}


def tone_channels(rate: int, channels: int) -> np.ndarray:
    """A 440 Hz tone, shape `(samples, channels)`; channel c of n has the peak 0.5 (c + 1) / n, to tell them apart."""
    tone = PEAK * np.sin(2 * np.pi * 440 * np.arange(round(TONE_SECONDS * rate)) / rate)
    return tone[:, None] * np.arange(1, channels + 1) / channels


def write(path: Path, wave: np.ndarray, rate: int, subtype: str = "PCM_16") -> None:
    """Writes a clip, unless the file already holds the same sound.

    Ogg streams carry a random serial number and float wav files the time of day: without the comparison, each run
    would change bytes of sounds that stay the same.
    """
    path.parent.mkdir(exist_ok=True)
    new = path.with_stem(path.stem + "_new")
    sf.write(new, wave, rate, subtype=subtype)
    same = path.exists() and sf.info(path).subtype == subtype and np.array_equal(sf.read(path)[0], sf.read(new)[0])
    if same:
        new.unlink()
    else:
        new.replace(path)


def main() -> int:
    """Runs the command line; returns the exit code, 2 where an engine is missing."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    missing = [name for name in ("espeak-ng", "flite") if shutil.which(name) is None]
    if missing:
        names = " and ".join(missing)
        print(f"error: {names} not found; install with: apt-get install espeak-ng flite", file=sys.stderr)
        return 2
    for word in COMMANDS:
        for voice in VOICES:
            write(HERE / "speech" / f"{word}_{voice}.wav", speak(word, voice), RATE)
    for name, sound in compute_sounds().items():
        write(HERE / "computed" / f"{name}.wav", sound, RATE)
    for name, rate, channels, subtype in FORMATS:
        write(HERE / "formats" / name, tone_channels(rate, channels), rate, subtype)
    return 0


if __name__ == "__main__":
    sys.exit(main())
