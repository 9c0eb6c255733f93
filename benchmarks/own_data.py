"""Own data against the official layouts: the same clips through a table have the same numbers to the last digit.

    python benchmarks/own_data.py ESC_FOLDER --output benchmarks/results/own-data

scores ESC-10 or ESC-50, all folds, as corpus esc50 and through its csv; and mixtures of it by training/mix_scenes.py
as corpus audioset and through a csv with several labels a clip. The models are random: what is compared is how
clips are read, split and scored, not how good the scores are. It ends with 1 if a number differs.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.numpy import load_file
from writing import write_rows

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification
from fastast_hf.cli.main import main as fastast
from fastast_hf.corpora import Corpus, is_multi_label, label_names, load_corpus

MIX_SCENES = Path(__file__).parents[1] / "training" / "mix_scenes.py"
TOLD = ("metric", "score", "low", "high", "clips")


@dataclass
class Compared:
    """Scores at one r through both, and whether these, their intervals and all logits are equal."""

    corpus: str
    clips: int
    tome_r: int
    metric: str
    official: float
    own: float
    equal: bool


def save_model(folder: Path, corpus: Corpus) -> None:
    """A small AST for the corpus' classes."""
    torch.manual_seed(0)
    several = "multi_label_classification" if is_multi_label(corpus) else None
    labels = dict(enumerate(label_names(corpus)))
    config = FastASTConfig(
        id2label=labels, label2id={name: index for index, name in labels.items()}, problem_type=several,
        hidden_size=96, num_attention_heads=3, intermediate_size=192, num_hidden_layers=4, max_length=512,
    )  # fmt: skip
    FastASTForAudioClassification(config).save_pretrained(folder)
    FastASTFeatureExtractor(max_length=512).save_pretrained(folder)


def scored(model: Path, output: Path, *data: Any) -> tuple[list[dict[str, Any]], list[list[bytes]]]:
    """The rows of the results, and the logits of all clips in an order that is theirs alone, of each part."""
    fixed = ["--model", model, "--r", 0, 20, "--rounds", 0, "--device", "cpu", "--output", output]
    if fastast(["evaluate", *map(str, [*data, *fixed])]):
        raise SystemExit(f"fastast evaluate failed on {data}")
    (results,) = output.glob("*.json")
    kept = [load_file(file)["logits"] for file in (output / "predictions").iterdir()]
    logits = sorted(sorted(row.tobytes() for row in part) for part in kept)
    return json.loads(results.read_text(encoding="utf-8"))["rows"], logits


def compared(name: str, corpus: Corpus, work: Path, official: Sequence[Any], own: Sequence[Any]) -> list[Compared]:
    """Both ways with one model."""
    save_model(work / name / "model", corpus)
    rows, logits = scored(work / name / "model", work / name / "official", *official)
    own_rows, own_logits = scored(work / name / "model", work / name / "own", *own)
    return [
        Compared(
            name,
            row["clips"],
            row["tome_r"],
            row["metric"],
            row["score"],
            mine["score"],
            all(row[key] == mine[key] for key in TOLD) and logits == own_logits,
        )
        for row, mine in zip(rows, own_rows, strict=True)
    ]


def write_table(data: Path, corpus: Corpus) -> Path:
    """The corpus' clips as a table of one's own."""
    names = label_names(corpus)
    with (data / "mine.csv").open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(("file", "labels", "split"))
        for split, rows in corpus.items():
            writer.writerows((row["id"], ";".join(names[label] for label in row["labels"]), split) for row in rows)
    return data / "mine.csv"


def main(argv: Sequence[str] | None = None) -> int:
    """Mix, score, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("esc_folder", type=Path, help="ESC-10 or ESC-50: audio/ and meta/esc50.csv")
    parser.add_argument("--scenes", type=int, default=100, help="mixtures to score (%(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    args = parser.parse_args(argv)
    with TemporaryDirectory() as folder:
        work, scenes = Path(folder), Path(folder) / "scenes"
        mixed = [args.esc_folder, scenes, "--train", 20, "--eval", args.scenes]
        subprocess.run([sys.executable, str(MIX_SCENES), *map(str, mixed)], check=True)
        esc, mixtures = load_corpus("esc50", args.esc_folder, fold=1), load_corpus("audioset", scenes)
        table = write_table(scenes, mixtures)
        data = ("--data", args.esc_folder)
        rows = compared("esc50", esc, work, ("esc50", *data), ("csv", *data))
        rows += compared(
            "audioset", mixtures, work, ("audioset", "--data", scenes), ("--data", table, "--label-separator", ";")
        )
    write_rows(args.output / "official-and-own.json", rows, scenes=args.scenes)
    for row in rows:
        print(f"{row.corpus}, r {row.tome_r}: {row.metric} {row.official} and {row.own}, equal: {row.equal}")
    return 0 if all(row.equal for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
