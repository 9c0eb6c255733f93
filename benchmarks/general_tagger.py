"""How a general tagger hears what it never learned from: ESC-10's clips, and held-out sound beside its teacher.

    python benchmarks/general_tagger.py --model tagger --esc ESC-10 --data sounds --teacher mn04_as_mAP_432.pt \
        --teacher-labels class_labels_indices.csv --output benchmarks/results/general-tagger

ESC-10 is scored zero-shot: the likeliest of the ten AudioSet classes that fit its categories. In the held-out sound
(DATA/test of free_sounds.py) a clip has the labels that the teacher gives `TESTED` or more.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mix_scenes import LABELS
from sklearn.metrics import average_precision_score
from writing import write_rows

from fastast_hf import Tagger
from fastast_hf.corpora import Corpus, load_corpus
from fastast_hf.corpora.audioset import read_labels
from fastast_hf.distillation.teachers.teacher import Teacher
from fastast_hf.distillation.unlabelled import TESTED, labelled_by
from fastast_hf.errors import OneLineParser, one_line_errors
from fastast_hf.loading.places import short_name
from fastast_hf.metrics.bootstrap import bootstrap_interval, resampled_accuracy

FEWEST = 5  # clips of a class whose average precision is told


@dataclass
class AtR:
    """Scores at one r, with 95 % bootstrap intervals over clips.

    Attributes:
        r: Tokens merged in each layer.
        tokens: That leave the last layer, of a clip as long as the model's input.
        esc10: Accuracy on ESC-10, zero-shot.
        heldout_map: Mean average precision against the teacher's labels.
        agreement: Share of held-out clips with the teacher's likeliest label.
    """

    r: int
    tokens: int
    esc10: float
    esc10_interval: tuple[float, float]
    heldout_map: float
    agreement: float
    agreement_interval: tuple[float, float]


@dataclass
class OfClass:
    """What is heard of one class in the held-out sound, at the default r."""

    label: str
    clips: int
    average_precision: float


def scores_of(tagger: Tagger, files: Sequence[str], r: int) -> np.ndarray:
    """(files, labels) as `classify` gives them, in the order of the labels."""
    tagger.model.set_tome_r(r)
    names = tagger.model.config.label2id
    scores = np.zeros((len(files), len(names)))
    for row, labels in zip(scores, tagger.stream(files), strict=True):
        for label in labels:
            row[names[label["label"]]] = label["score"]
    return scores


def share(right: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Of clips, with its interval."""
    low, high = bootstrap_interval(resampled_accuracy(right), len(right))
    return float(right.mean()), (low, high)


@one_line_errors("general_tagger.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line."""
    parser = OneLineParser(prog="general_tagger.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a checkpoint (default: the bundled tagger)")
    parser.add_argument("--esc", required=True, help="folder of ESC-10")
    parser.add_argument("--data", required=True, help="folder with test/: sound that was not trained on")
    parser.add_argument("--teacher", required=True, help="a released .pt of EfficientAT")
    parser.add_argument("--teacher-labels", type=Path, required=True, help="AudioSet's class_labels_indices.csv")
    parser.add_argument("--r", type=int, nargs="+", help="r to score (default: 0, the checkpoint's own, and 24)")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.json")
    args = parser.parse_args(argv)
    names = read_labels(args.teacher_labels)[0]
    tagger = Tagger(args.model, top_k=None, batch_size=32)
    default = tagger.model.config.tome_r

    esc = load_corpus("esc50", args.esc, fold=1)
    clips = [(row["audio"]["path"], row["label"]) for split in esc.values() for row in split]
    categories = esc["test"].features["label"].names
    ten = [names.index(LABELS[category][1]) for category in categories]
    esc_files, truth = [file for file, _ in clips], np.array([label for _, label in clips])

    heldout = load_corpus("unlabelled", args.data, labels=names)
    teacher = Teacher.from_pretrained(args.teacher, names, "cpu", torch.float32, names)
    rate = tagger.feature_extractor.sampling_rate
    only_test = Corpus({"test": heldout["test"]}, heldout.missing)
    labelled, likeliest, _ = labelled_by(teacher, only_test, rate, args.output / "teacher", 32, torch.device("cpu"))
    files = [row["path"] for row in labelled["test"]["audio"]]
    targets = np.zeros((len(files), len(names)), bool)
    for row, labels in zip(targets, labelled["test"]["labels"], strict=True):
        row[labels] = True
    told = np.flatnonzero(targets.any(axis=0))

    rows, classes = [], []
    for r in args.r or sorted({0, default, 24}):
        right = np.array(ten)[scores_of(tagger, esc_files, r)[:, ten].argmax(axis=1)] == np.array(ten)[truth]
        scores = scores_of(tagger, files, r)
        precisions = {index: average_precision_score(targets[:, index], scores[:, index]) for index in told}
        agreed = scores.argmax(axis=1) == likeliest.numpy()
        tokens = tagger.model.token_schedule(tagger.feature_extractor.max_length, tagger.merges())[-1]
        rows.append(AtR(r, tokens, *share(right), float(np.mean(list(precisions.values()))), *share(agreed)))
        print(rows[-1])
        if r == default:
            counts = targets.sum(axis=0)
            classes = [
                OfClass(names[index], int(counts[index]), float(value))
                for index, value in sorted(precisions.items(), key=lambda pair: -pair[1])
                if counts[index] >= FEWEST
            ]
    write_rows(
        args.output / "results.json",
        rows,
        model=short_name(args.model) if args.model else "bundled",
        teacher=Path(args.teacher).name,
        esc10_clips=len(truth),
        heldout_clips=len(files),
        heldout_classes=len(told),
        labelled_from=TESTED,
        default_r=default,
        classes=[vars(one) for one in classes],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
