"""Speak the 35 words of Speech Commands V2 with espeak-ng and flite, as extra training clips.

Each clip is exactly one second of 16 kHz mono 16-bit sound: the word without its surrounding silence, placed near the
middle, at a random level, over faint noise. Every choice is drawn from the seed, so the same seed and the same engine
versions give the same files.

    python training/synthesise_words.py OUT_DIR --commands 90 --others 40 --seed 0

writes OUT_DIR/<word>/<engine>_<voice>_<k>.wav and OUT_DIR/manifest.csv, one row a clip.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

RATE = 16_000
CLIP_SAMPLES = RATE
SHORTEST_WORD = RATE // 5  # people take longer than 0.2 s even for "up", some voices do not
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
OTHERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("bed", "bird", "cat", "dog", "happy", "house", "marvin", "sheila", "tree", "wow"),
    *("backward", "forward", "follow", "learn", "visual"),
)

ESPEAK_ACCENTS = (
    *("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc", "en-029"),
    *("en-us", "en-us"),  # Speech Commands is mostly American English
)
ESPEAK_VARIANTS = (
    *("", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("croak", "whisper", "whisperf", "klatt", "klatt2", "klatt3", "Andrea", "Annie", "Alicia", "belinda", "linda"),
    *("steph", "Denis", "Lee", "john"),
)
FLITE_VOICES = {"kal": 105.0, "kal16": 105.0, "awb": 125.0, "rms": 100.0, "slt": 170.0}  # voice: usual pitch in Hz
FLITE_SHARE = 0.4  # fewer voices than espeak-ng has, but nearer to a human one
ENDINGS = ("", ".", "!", "?", ",")  # the punctuation sets the intonation: falling, raised, rising, held


@dataclass(frozen=True)
class Setting:
    """One way to speak one word.

    Attributes:
        word: the word.
        engine: `espeak` or `flite`.
        voice: the engine's name of the voice.
        index: counts the clips of one word and engine.
        ending: punctuation behind the word, for its intonation.
        rate: words a minute for espeak-ng, the factor on durations for flite.
        pitch: 0..99 for espeak-ng, Hz for flite.
        size: the speaker's size, a factor that stretches the wave and so lowers pitch and formants together.
    """

    word: str
    engine: str
    voice: str
    index: int
    ending: str
    rate: float
    pitch: float
    size: float

    @property
    def path(self) -> Path:
        """The clip's path inside the output folder."""
        return Path(self.word) / f"{self.engine}_{self.voice}_{self.index:03d}.wav"

    def at_pace(self, factor: float) -> Setting:
        """The same setting spoken `factor` times as fast."""
        return replace(self, rate=round(self.rate * factor if self.engine == "espeak" else self.rate / factor, 3))

    def command(self, out: Path) -> list[str]:
        """The command that speaks this setting into the file `out`."""
        text = self.word + self.ending
        if self.engine == "espeak":
            settings = ["-v", self.voice, "-s", f"{self.rate:.0f}", "-p", f"{self.pitch:.0f}"]
            return ["espeak-ng", *settings, "-w", str(out), text]
        features = [f"duration_stretch={self.rate}", f"int_f0_target_mean={self.pitch}"]
        settings = ["-voice", self.voice, "--setf", features[0], "--setf", features[1]]
        return ["flite", *settings, "-t", text, "-o", str(out)]


def draw_settings(word: str, count: int, seed: int) -> list[Setting]:
    """Draws `count` settings for one word; each voice comes up once before any comes up twice."""
    rng = random.Random(f"{seed}/{word}")
    n_flite = round(count * FLITE_SHARE)
    espeak_voices = [f"{a}+{v}" if v else a for a, v in spread(ESPEAK_ACCENTS, ESPEAK_VARIANTS, count - n_flite, rng)]
    flite_voices = [v for v, _ in spread(tuple(FLITE_VOICES), ("",), n_flite, rng)]
    settings = []
    for index, voice in enumerate(espeak_voices):
        rate, pitch = float(rng.randint(110, 230)), float(rng.randint(20, 80))
        settings.append(Setting(word, "espeak", voice, index, rng.choice(ENDINGS), rate, pitch, 1.0))
    for index, voice in enumerate(flite_voices):
        rate, pitch = round(rng.uniform(0.75, 1.4), 3), round(FLITE_VOICES[voice] * rng.uniform(0.75, 1.35), 1)
        size = round(rng.uniform(0.85, 1.15), 3)  # few voices, and rms ignores the pitch: vary the speaker too
        settings.append(Setting(word, "flite", voice, index, rng.choice(ENDINGS), rate, pitch, size))
    return settings


def spread(first: Sequence[str], second: Sequence[str], count: int, rng: random.Random) -> list[tuple[str, str]]:
    """Pairs shuffled rounds of both sequences, so that each entry of each comes up about equally often."""
    columns = []
    for names in (first, second):
        column: list[str] = []
        while len(column) < count:
            column += rng.sample(names, len(names))
        columns.append(column[:count])
    return list(zip(*columns, strict=True))


def trim(wave: np.ndarray, rate: int = RATE, floor_db: float = -40.0, margin_s: float = 0.02) -> np.ndarray:
    """Cuts leading and trailing 10 ms frames that lie `floor_db` under the loudest, but for a margin in seconds."""
    hop = rate // 100
    frames = wave[: len(wave) // hop * hop].reshape(-1, hop)
    level = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(level > level.max(initial=0.0) * 10 ** (floor_db / 20))
    if not len(loud):
        return wave[:0]
    margin = int(margin_s * rate)
    return wave[max(0, loud[0] * hop - margin) : (loud[-1] + 1) * hop + margin]


def speak(setting: Setting, folder: Path) -> np.ndarray:
    """Runs the engine and returns the trimmed word at 16 kHz, shape `(samples,)`.

    Raises:
        RuntimeError: the engine failed or stayed silent.
    """
    out = folder / f"{setting.word}_{setting.engine}_{setting.index}.wav"
    done = subprocess.run(setting.command(out), capture_output=True, text=True, check=False)
    if done.returncode or not out.exists():
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise RuntimeError(f"{setting.engine} failed on voice {setting.voice!r} ({reason}); check its voices.")
    wave, rate = sf.read(out, dtype="float64")
    out.unlink()
    wave = trim(soxr.resample(wave, rate, RATE * setting.size))
    if not len(wave):
        raise RuntimeError(f"{setting.engine} voice {setting.voice!r} gave silence for {setting.word!r}; remove it.")
    return wave


def place(wave: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, float]]:
    """Puts a word into one second of faint noise, mostly near the middle; returns the clip and what was drawn."""
    if len(wave) > CLIP_SAMPLES:
        start = (len(wave) - CLIP_SAMPLES) // 2
        wave = wave[start : start + CLIP_SAMPLES]
    slack = CLIP_SAMPLES - len(wave)
    offset = int(np.clip(rng.normal(0.5, 0.2), 0.0, 1.0) * slack)
    peak, noise_db = rng.uniform(0.1, 0.9), rng.uniform(-75.0, -50.0)
    clip = np.zeros(CLIP_SAMPLES)
    clip[offset : offset + len(wave)] = wave
    # Noise first, level last: the peak written in the manifest is then the clip's own.
    clip = clip / np.abs(clip).max() + rng.normal(0.0, 10 ** (noise_db / 20), CLIP_SAMPLES)
    clip *= peak / np.abs(clip).max()
    return clip, {"offset_s": offset / RATE, "word_s": len(wave) / RATE, "peak": peak, "noise_db": noise_db}


def make_clip(setting: Setting, out_dir: Path, seed: int, folder: Path) -> dict[str, object]:
    """Speaks, places and writes one clip; returns its manifest row."""
    spoken, wave = setting, speak(setting, folder)
    for _ in range(3):
        if SHORTEST_WORD <= len(wave) <= CLIP_SAMPLES:
            break
        spoken = spoken.at_pace(1.25 if len(wave) > CLIP_SAMPLES else 0.8)
        wave = speak(spoken, folder)
    # Seeded by the clip's name, so that the order in which the workers finish does not matter.
    rng = np.random.default_rng([seed, *str(setting.path).encode()])
    clip, drawn = place(wave, rng)
    path = out_dir / setting.path
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, clip, RATE, subtype="PCM_16")
    row: dict[str, object] = {
        "file": setting.path.as_posix(),
        "word": setting.word,
        "engine": setting.engine,
        "voice": setting.voice,
    }
    row |= {"rate": spoken.rate, "pitch": spoken.pitch, "size": spoken.size, "ending": spoken.ending}
    return row | {name: round(value, 4) for name, value in drawn.items()} | {"seed": seed}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code, 2 where an engine is missing or fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path, help="folder for the clips and manifest.csv")
    parser.add_argument("--commands", type=int, default=90, help="clips for each of the ten commands (%(default)s)")
    parser.add_argument("--others", type=int, default=40, help="clips for each of the 25 other words (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (%(default)s)")
    args = parser.parse_args(argv)
    missing = [name for name in ("espeak-ng", "flite") if shutil.which(name) is None]
    if missing:
        names = " and ".join(missing)
        print(f"error: {names} not found; install with: apt-get install espeak-ng flite", file=sys.stderr)
        return 2
    settings = [s for word in COMMANDS for s in draw_settings(word, args.commands, args.seed)]
    settings += [s for word in OTHERS for s in draw_settings(word, args.others, args.seed)]
    args.out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(make_clip, setting, args.out_dir, args.seed, Path(folder)) for setting in settings]
        try:
            rows = [job.result() for job in jobs]
        except (RuntimeError, OSError) as error:
            pool.shutdown(cancel_futures=True)
            print(f"error: {error}", file=sys.stderr)
            return 2
    with (args.out_dir / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["file"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} clips of {len(COMMANDS) + len(OTHERS)} words in {args.out_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
