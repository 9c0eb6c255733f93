"""Corpora of a few tones, in the official layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

WORDS = ("yes", "no", "stop")


def write_tone(path: Path, hertz: float, seconds: float = 0.5) -> None:
    """A tone with some noise, told apart by its pitch."""
    time = np.arange(int(16000 * seconds)) / 16000
    noise = np.random.default_rng(int(hertz)).normal(scale=0.01, size=len(time))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * hertz * time) + noise, 16000)


def write_esc50(root: Path, per_fold: int = 2) -> Path:
    """ESC-50's layout with two classes whose targets have a gap."""
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for number in range(per_fold):
            for target, name, hertz in ((0, "dog", 300), (10, "rain", 2000)):
                clip = f"{fold}-{number}-A-{target}"
                lines.append(f"{clip}.wav,{fold},{target},{name},True,{number},A")
                write_tone(root / "audio" / f"{clip}.wav", hertz + 20 * number + fold)
    (root / "meta").mkdir(exist_ok=True)
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return root


def write_speech_commands(root: Path) -> Path:
    """Speech Commands' layout: three commands, another word, silence, and the two lists."""
    for number in range(4):
        for index, word in enumerate((*WORDS, "marvin", "_silence_")):
            write_tone(root / word / f"{number}_nohash_0.wav", 200 * 2**index + 10 * number)
    (root / "validation_list.txt").write_text("\n".join(f"{word}/2_nohash_0.wav" for word in (*WORDS, "marvin")))
    (root / "testing_list.txt").write_text("\n".join(f"{word}/3_nohash_0.wav" for word in (*WORDS, "marvin")))
    return root


def write_audioset(root: Path) -> Path:
    """AudioSet's layout with three classes; every clip has one or two of them, a pitch each."""
    root.mkdir(parents=True)
    mids = ["/m/a", "/m/b", "/m/c"]
    names = ("Dog", "Rain", "Bell, small")
    rows = [f'{index},{mid},"{name}"' for index, (mid, name) in enumerate(zip(mids, names, strict=True))]
    (root / "class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    for table, count in (("balanced_train", 8), ("eval", 6)):
        lines = ["# Segments csv", "# num_ytids", "# YTID, start_seconds, end_seconds, positive_labels"]
        for number in range(count):
            clip = f"{table[:4]}{number:07d}"
            ids = sorted({number % 3, (number // 2) % 3})
            lines.append(f'{clip}, 0.000, 1.000, "{",".join(mids[index] for index in ids)}"')
            write_tone(root / "clips" / f"{clip}.wav", sum(400 * 2**index for index in ids))
        (root / f"{table}_segments.csv").write_text("\n".join(lines) + "\n")
    return root
