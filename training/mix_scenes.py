"""Mix clips of ESC-10 or ESC-50 into ten-second scenes with several labels, in AudioSet's layout.

A scene is the sum of two or three clips of different classes, each whole, at a random onset and level. Training scenes
are of the other folds' clips, evaluation scenes of the evaluation fold's alone, so that no recording is in both. These
are mixtures, not recordings of AudioSet: only its labels and its layout are used. The same seed gives the same files.

    python training/mix_scenes.py ESC_FOLDER OUT_DIR --train 400 --eval 100 --seed 0

writes what `load_corpus("audioset", root=OUT_DIR)` reads: balanced_train_segments.csv, eval_segments.csv,
class_labels_indices.csv with the classes that occur, and clips/; manifest.csv says what each scene is made of.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from fastast_hf.audio import AudioError, load_audio
from fastast_hf.corpora import CorpusError, label_names, load_corpus
from fastast_hf.corpora.esc50 import FOLDS
from fastast_hf.errors import one_line

RATE = 16_000
SCENE_SECONDS = 10
CLIPS_PER_SCENE = (2, 3)
LOUDEST, QUIETEST = 0.0, -10.0  # dB: the peak of a clip in the scene, before the scene's own is set
SCENE_PEAK = 0.9
# ESC's classes and the mid and display name of AudioSet's class of the same sound, in AudioSet's order.
LABELS = {
    "laughing": ("/m/01j3sz", "Laughter"),
    "crying_baby": ("/t/dd00002", "Baby cry, infant cry"),
    "breathing": ("/m/0lyf6", "Breathing"),
    "snoring": ("/m/01d3sd", "Snoring"),
    "coughing": ("/m/01b_21", "Cough"),
    "sneezing": ("/m/01hsr_", "Sneeze"),
    "footsteps": ("/m/07pbtc8", "Walk, footsteps"),
    "clapping": ("/m/0l15bq", "Clapping"),
    "dog": ("/m/0bt9lr", "Dog"),
    "cat": ("/m/01yrx", "Cat"),
    "cow": ("/m/07rpkh9", "Moo"),
    "pig": ("/m/068zj", "Pig"),
    "sheep": ("/m/07bgp", "Sheep"),
    "hen": ("/m/07st89h", "Cluck"),
    "rooster": ("/m/07qn5dc", "Crowing, cock-a-doodle-doo"),
    "chirping_birds": ("/m/07pggtn", "Chirp, tweet"),
    "crow": ("/m/04s8yn", "Crow"),
    "insects": ("/m/03vt0", "Insect"),
    "crickets": ("/m/09xqv", "Cricket"),
    "frog": ("/m/09ld4", "Frog"),
    "church_bells": ("/m/03w41f", "Church bell"),
    "wind": ("/m/03m9d0z", "Wind"),
    "thunderstorm": ("/m/0jb2l", "Thunderstorm"),
    "rain": ("/m/06mb1", "Rain"),
    "sea_waves": ("/m/034srq", "Waves, surf"),
    "crackling_fire": ("/m/02_41", "Fire"),
    "car_horn": ("/m/0912c9", "Vehicle horn, car horn, honking"),
    "train": ("/m/07jdr", "Train"),
    "helicopter": ("/m/09ct_", "Helicopter"),
    "airplane": ("/m/0cmf2", "Fixed-wing aircraft, airplane"),
    "engine": ("/m/02mk9", "Engine"),
    "chainsaw": ("/m/01j4z9", "Chainsaw"),
    "door_wood_knock": ("/m/07r4wb8", "Knock"),
    "toilet_flush": ("/m/01jt3m", "Toilet flush"),
    "brushing_teeth": ("/m/012xff", "Toothbrush"),
    "vacuum_cleaner": ("/m/0d31p", "Vacuum cleaner"),
    "keyboard_typing": ("/m/01m2v", "Computer keyboard"),
    "clock_alarm": ("/m/046dlr", "Alarm clock"),
    "siren": ("/m/03kmc9", "Siren"),
    "clock_tick": ("/m/07qjznl", "Tick-tock"),
    "hand_saw": ("/m/01b82r", "Sawing"),
    "fireworks": ("/m/0g6b5", "Fireworks"),
    "glass_breaking": ("/m/07rn7sz", "Shatter"),
    "water_drops": ("/m/07r5v4s", "Drip"),
    "pouring_water": ("/m/07prgkl", "Pour"),
    "door_wood_creaks": ("/m/07qh7jl", "Creak"),
}
LEFT_OUT = ("drinking_sipping", "mouse_click", "can_opening", "washing_machine")  # AudioSet has no class of these
README = """\
Mixtures of ESC clips, not recordings of AudioSet
=================================================

{train} training and {eval} evaluation scenes of ten seconds, 16 kHz mono, each the sum of two or three clips of ESC-10
or ESC-50 (Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015). Labels and lists have
the form of AudioSet's; the sounds are not AudioSet's, and an mAP on these scenes can't be compared to one on AudioSet.

Training scenes are of all folds but {eval_fold}, evaluation scenes of fold {eval_fold} alone. Made by

    python training/mix_scenes.py ESC_FOLDER OUT_DIR {settings}

manifest.csv has, for each scene, its clips by their names in ESC, their onsets in seconds and their levels in dB.

Licence: that of the clips. ESC-10 is under CC BY 3.0 (https://creativecommons.org/licenses/by/3.0/), ESC-50 under
CC BY-NC 3.0 (https://creativecommons.org/licenses/by-nc/3.0/). The clips come from Freesound; who recorded each is
listed by its name in the README of ESC-10 (https://github.com/karolpiczak/ESC-10) and in the LICENSE of ESC-50
(https://github.com/karolpiczak/ESC-50).
"""


class Part(NamedTuple):
    """A clip in a scene: its name and file in ESC, its class there, its onset from 0 to 1 and its level in dB."""

    clip: str
    file: str
    category: str
    onset: float
    gain_db: float


def draw_scenes(clips: Mapping[str, Sequence[tuple[str, str]]], count: int, seed: str) -> list[list[Part]]:
    """Draw what `count` scenes are made of; each class, and in it each clip, comes up once before any does twice.

    Args:
        clips: Names and files of the clips of each class, of which there are at least two.
        count: Scenes.
        seed: Of every choice.
    """
    rng = random.Random(seed)
    next_clip = {category: _rounds(listed, rng) for category, listed in clips.items()}
    deck: list[str] = []
    scenes = []
    for _ in range(count):
        wanted = rng.choice([number for number in CLIPS_PER_SCENE if number <= len(clips)])
        chosen: list[str] = []
        while len(chosen) < wanted:
            if all(category in chosen for category in deck):
                deck += rng.sample(sorted(clips), len(clips))
            chosen.append(next(category for category in deck if category not in chosen))
            deck.remove(chosen[-1])
        drawn = [(*next(next_clip[category]), category) for category in chosen]
        scenes.append([Part(*clip, rng.random(), rng.uniform(QUIETEST, LOUDEST)) for clip in drawn])
    return scenes


def mix(parts: Sequence[Part]) -> tuple[np.ndarray, list[float]]:
    """Sum the clips of a scene.

    Returns:
        Samples (10 s at 16 kHz) whose peak is `SCENE_PEAK`, and the onset of each clip in seconds.
    """
    scene = np.zeros(SCENE_SECONDS * RATE)
    onsets = []
    for part in parts:
        wave = read_clip(part.file)[: len(scene)]
        first = round(part.onset * (len(scene) - len(wave)))
        scene[first : first + len(wave)] += wave * 10 ** (part.gain_db / 20)
        onsets.append(first / RATE)
    return scene * SCENE_PEAK / np.abs(scene).max(), onsets


@lru_cache(maxsize=500)
def read_clip(file: str) -> np.ndarray:
    """A clip at 16 kHz whose peak is 1.

    Raises:
        AudioError: It can't be decoded, or is silent.
    """
    wave = load_audio(file, RATE)
    if not wave.any():
        raise AudioError(f"{file}: the clip is silent, so no level can be set; leave it out")
    return wave / np.abs(wave).max()


def write_corpus(out: Path, scenes: Mapping[str, Sequence[Sequence[Part]]]) -> int:
    """Write scenes, lists, labels and manifest; returns the number of classes that occur."""
    (out / "clips").mkdir(parents=True)
    occurring = {part.category for listed in scenes.values() for parts in listed for part in parts}
    labels = [label for category, label in LABELS.items() if category in occurring]
    rows = "".join(f'{index},{mid},"{name}"\n' for index, (mid, name) in enumerate(labels))
    (out / "class_labels_indices.csv").write_text("index,mid,display_name\n" + rows)
    with (out / "manifest.csv").open("w", newline="") as file:
        manifest = csv.writer(file, lineterminator="\n")
        manifest.writerow(["scene", "clip", "category", "onset_s", "gain_db"])
        for split, listed in scenes.items():
            segments = []
            for index, parts in enumerate(listed):
                name = f"mixture_{split}_{index:05d}"
                scene, onsets = mix(parts)
                soundfile.write(out / "clips" / f"{name}.flac", scene, RATE, subtype="PCM_16")
                mids = ",".join(
                    mid for category, (mid, _) in LABELS.items() if category in [p.category for p in parts]
                )
                segments.append(f'{name}, 0.000, {SCENE_SECONDS:.3f}, "{mids}"\n')
                for part, onset in zip(parts, onsets, strict=True):
                    manifest.writerow([name, part.clip, part.category, f"{onset:.7f}", f"{part.gain_db:.3f}"])
            table = "balanced_train_segments.csv" if split == "train" else "eval_segments.csv"
            head = (
                "# Mixtures of ESC clips, not segments of AudioSet; see README.txt\n"
                f"# num_ytids={len(listed)}, num_segs={len(listed)}, "
                f"num_unique_labels={len({part.category for parts in listed for part in parts})}, "
                f"num_positive_labels={sum(map(len, listed))}\n"
                "# YTID, start_seconds, end_seconds, positive_labels\n"
            )
            (out / table).write_text(head + "".join(segments))
    return len(labels)


def clips_by_category(esc: Path, eval_fold: int) -> dict[str, dict[str, list[tuple[str, str]]]]:
    """For each split the names and files of the clips of each class that AudioSet has.

    Raises:
        CorpusError: There is no such corpus or fold, clips are missing, a class is neither ESC-50's nor has a label,
            or a split has fewer than two classes.
    """
    corpus = load_corpus("esc50", root=esc, fold=eval_fold)
    names = label_names(corpus)
    unknown = sorted(set(names) - set(LABELS) - set(LEFT_OUT))
    if unknown:
        raise CorpusError(f"{esc}: no label of AudioSet is known for {', '.join(unknown)}; give ESC-10 or ESC-50")
    lost = sum(corpus.missing.values())
    if lost:
        raise CorpusError(f"{esc}: {lost} listed clips are not there; fetch the corpus again")
    splits: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for split, data in zip(("train", "eval"), (corpus["train"], corpus["test"]), strict=True):
        clips: dict[str, list[tuple[str, str]]] = {}
        for row in data:
            if names[row["label"]] in LABELS:
                clips.setdefault(names[row["label"]], []).append((row["id"], row["audio"]["path"]))
        if len(clips) < min(CLIPS_PER_SCENE):
            raise CorpusError(f"{esc}: {len(clips)} class to mix for {split}; give a corpus of two classes at least")
        splits[split] = clips
    return splits


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code, 2 where the corpus or the output folder is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("esc_folder", type=Path, help="folder of ESC-10 or ESC-50: audio/ and meta/esc50.csv")
    parser.add_argument("out_dir", type=Path, help="folder for the scenes and their lists, new or empty")
    parser.add_argument("--train", type=int, default=400, help="training scenes (%(default)s)")
    parser.add_argument("--eval", type=int, default=100, help="evaluation scenes (%(default)s)")
    parser.add_argument("--eval-fold", type=int, default=5, help="the fold of the evaluation scenes (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice (%(default)s)")
    args = parser.parse_args(argv)
    counts = {"train": args.train, "eval": args.eval}
    try:
        if min(counts.values()) < 1:
            raise ValueError(f"--train {args.train} and --eval {args.eval}; give at least one scene of each")
        if args.eval_fold not in FOLDS:
            raise ValueError(f"--eval-fold {args.eval_fold}; give one of {', '.join(map(str, FOLDS))}")
        if args.out_dir.exists() and (not args.out_dir.is_dir() or any(args.out_dir.iterdir())):
            raise ValueError(f"{args.out_dir}: is not empty; give a new folder")
        clips = clips_by_category(args.esc_folder, args.eval_fold)
        scenes = {split: draw_scenes(clips[split], counts[split], f"{args.seed}/{split}") for split in counts}
        classes = write_corpus(args.out_dir, scenes)
        settings = f"--train {args.train} --eval {args.eval} --eval-fold {args.eval_fold} --seed {args.seed}"
        readme = README.format(**counts, eval_fold=args.eval_fold, settings=settings)
        (args.out_dir / "README.txt").write_text(readme)
    except (OSError, ValueError, soundfile.SoundFileError) as error:
        print(f"mix_scenes.py: {one_line(error)}", file=sys.stderr)
        return 2
    print(f"{args.train} training and {args.eval} evaluation mixtures, {classes} classes, in {args.out_dir}")
    return 0


def _rounds(items: Sequence[tuple[str, str]], rng: random.Random) -> Iterator[tuple[str, str]]:
    """Shuffled rounds of the items, without end."""
    while True:
        yield from rng.sample(items, len(items))


if __name__ == "__main__":
    sys.exit(main())
