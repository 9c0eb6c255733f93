"""What is interrupted: commands that write something, and what counts as the same result."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import TINY, randomise
from local_hub import LocalHub
from running_scripts import ROOT, SMALL, command
from safetensors.torch import load_file
from small_corpora import write_esc50

SPEECH = ROOT / "tests" / "data" / "speech"
FASTAST = [sys.executable, "-m", "fastast_hf"]


@dataclass
class Job:
    """A command.

    Attributes:
        name: In the table.
        words: The command, for an output folder.
        result: What it made, of that folder, to be compared.
        again: What is added to go on after a stop.
        variables: Of its environment.
        inputs: A folder that it reads.
        before: Called before it runs from the beginning.
    """

    name: str
    words: Callable[[Path], Sequence[str]]
    result: Callable[[Path], Any]
    inputs: Path
    again: Sequence[str] = ()
    variables: dict[str, str] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None


def weights(folder: Path) -> Any:
    """All of a model's, as numbers."""
    return {name: weight.tolist() for name, weight in load_file(folder / "model.safetensors").items()}


def scores(folder: Path) -> Any:
    """Of an evaluation's table."""
    (table,) = folder.glob("esc50*.json")
    rows = json.loads(table.read_text(encoding="utf-8"))["rows"]
    return [(row["tome_r"], row["score"], row["clips"]) for row in rows]


def parquet(file: Path) -> Any:
    """The rows of it."""
    from pyarrow.parquet import read_table

    return read_table(file).to_pylist()


def tuned(folder: Path) -> Any:
    """Whether there is a whole checkpoint: what is chosen depends on times, which differ from run to run."""
    from fastast_hf import Tagger

    merges = Tagger(folder, device="cpu").model.config.tome_r
    return isinstance(merges, list) and json.loads((folder / "tuning.json").read_text())["chosen"]["merges"] == merges


def labels(file: Path) -> Any:
    """What an exported model gives."""
    from fastast_hf import Tagger

    return Tagger(file)(SPEECH / "yes_slt.wav")


def checkpoint(folder: Path, seed: int) -> Path:
    """A model that tells dogs from rain no better than chance."""
    from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification

    labels = {"num_labels": 2, "id2label": {0: "dog", 1: "rain"}, "label2id": {"dog": 0, "rain": 1}}
    config = FastASTConfig(**{**TINY, **labels}, tome_r=4)
    randomise(FastASTForAudioClassification(config), seed).save_pretrained(folder)
    FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(folder)
    return folder


def make(place: Path, hub: LocalHub) -> list[Job]:
    """All jobs, with their inputs in `place`."""
    corpus, clips, data = write_esc50(place / "corpus"), place / "clips", ["--data", str(place / "corpus")]
    model, teacher = checkpoint(place / "model", 0), checkpoint(place / "teacher", 1)
    clips.mkdir()
    for index in range(40):
        shutil.copy(SPEECH / ("yes_slt.wav", "down_en-us.wav")[index % 2], clips / f"{index}.wav")
    training = [*map(str, SMALL), *data, "--fold", "1", "--corpus", "esc50", "--model", "none", "--max_steps", "12"]
    training += ["--save_strategy", "steps", "--save_steps", "2", "--tome_r", "4"]
    cpu = ["--device", "cpu"]

    def run(script: str, *arguments: str) -> Callable[[Path], Sequence[str]]:
        return lambda out: [*command(script, *training, *arguments), "--output_dir", str(out)]

    def tag(kind: str) -> Job:
        words = [*FASTAST, "classify", str(clips), *cpu, "--batch-size", "1"]
        read = parquet if kind == "parquet" else Path.read_bytes
        return Job(
            f"tag to {kind}",
            lambda out: [*words, "--output", str(out / f"out.{kind}")],
            lambda out: read(out / f"out.{kind}"),
            clips,
            ["--resume"],
        )

    table = ["evaluate", "esc50", *data, "--fold", "1", "--model", str(model), "--r", "0", "4", "--rounds", "0", *cpu]
    search = ["tune", str(clips), "--speedup", "1.2", "--trials", "3", "--rounds", "1", *cpu, "--model", str(model)]
    here = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_local", "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    return [
        Job("train", run("run_finetune.py"), weights, corpus, ["--resume"]),
        Job(
            "distil",
            run("run_kd.py", "--teacher", str(teacher)),
            weights,
            corpus,
            ["--resume"],
        ),
        Job("evaluate", lambda out: [*FASTAST, *table, "--output", str(out)], scores, corpus),
        *map(tag, ("csv", "jsonl", "parquet")),
        Job(
            "tune",
            lambda out: [*FASTAST, *search, "--output", str(out / "tuned")],
            lambda o: tuned(o / "tuned"),
            clips,
        ),
        Job(
            "push",
            lambda out: [*FASTAST, "push", str(model), "me/tiny", "--license", "mit"],
            lambda out: sorted(hub.files("me/tiny").items()),
            model,
            variables=here,
            before=lambda: hub.repositories.clear(),
        ),
        Job(
            "export",
            lambda out: [*FASTAST, "export", "onnx", str(model), "--output", str(out / "m.onnx")],
            lambda out: labels(out / "m.onnx"),
            model,
        ),
    ]
