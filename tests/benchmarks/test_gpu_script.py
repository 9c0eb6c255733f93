"""`benchmarks/gpu.sh`, with a stand-in for python that writes down what it is asked for: no GPU has to be there."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastast_hf.cli.main import build_parser

ROOT = Path(__file__).parents[2]
BASE_FRAMES = [128, 512, 1024]
BATCHES = [32, 128]
BENCHMARK = ["-m", "fastast_hf.cli.main"]
MERGING = ["benchmarks/merging_overhead.py"]
STAND_IN = """#!/bin/sh
{ printf '%s\\n' "$PYTHONPATH" "$@"; printf '\\000'; } >> "$CALLS"
case "$*" in $FAILING) exit 2 ;; esac
"""

# What a GPU machine with torch and transformers alone lacks.
ABSENT = [
    *("datasets", "soundfile", "soxr", "matplotlib", "torchaudio", "accelerate", "timm", "sklearn", "onnx"),
    *("onnxruntime", "gradio", "evaluate"),
]
EVERYTHING = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))
sys.path.insert(0, "benchmarks")
import merging_overhead
from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.cli import benchmark
from fastast_hf.cli.main import main
from fastast_hf.benchmarking.training import training_benchmark
tiny = FastASTForAudioClassification(FastASTConfig(num_hidden_layers=2, hidden_size=24, max_length=64))
benchmark._load = lambda *_: tiny
run = ["benchmark", "--frames", "64", "--rounds", "1", "--batch-size", "1", "--r", "8", "--output", sys.argv[2]]
assert main(run) == 0
training_benchmark(tiny, 64, batch_size=1, tome_r=[8], rounds=1)
"""


def gpu_script(
    folder: Path, *arguments: str, failing: str = "none", **variables: str
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run it from `folder`; gives what it printed, and the calls of python: PYTHONPATH and arguments."""
    stand_in, calls = folder / "bin" / "python", folder / "calls"
    stand_in.parent.mkdir()
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    environment = {"PATH": f"{stand_in.parent}:{os.environ['PATH']}", "CALLS": str(calls), "FAILING": failing}
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment | variables, capture_output=True, text=True, check=False, timeout=60
    )
    written = calls.read_text().split("\0")[:-1] if calls.exists() else []
    return done, [call.splitlines() for call in written]


@pytest.fixture
def merging_parser(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("merging_overhead").build_parser()


def parsed(calls: list[list[str]], merging_parser: Any) -> dict[str, list[argparse.Namespace]]:
    """What the real parsers make of the calls, by the part of the script that made them."""
    parts: dict[str, list[argparse.Namespace]] = {}
    for _, *call in calls:
        own = call[: len(BENCHMARK)] == BENCHMARK
        assert own or call[: len(MERGING)] == MERGING
        args = build_parser().parse_args(call[2:]) if own else merging_parser.parse_args(call[1:])
        parts.setdefault(args.output.name, []).append(args)
    return parts


def test_the_real_parsers_take_every_call(tmp_path: Path, merging_parser: Any) -> None:
    done, calls = gpu_script(tmp_path, "out")
    assert done.returncode == 0, done.stderr
    parts = parsed(calls, merging_parser)
    assert {name: [args.batch_size for args in runs] for name, runs in parts.items()} == {
        **dict.fromkeys(("sdpa", "folded", "flex"), BATCHES),
        **{f"{name}-{batch}": [batch] for name in ("compiled", "graphs") for batch in BATCHES},
        "training": BATCHES,
        "merging": [[1, *BATCHES]],
    }
    runs = [args for name, runs in parts.items() if name != "merging" for args in runs]
    assert all(args.frames == BASE_FRAMES and args.dtype == "bfloat16" for args in runs)
    assert [name for name, (args, *_) in parts.items() if name != "merging" and args.training] == ["training"]
    attentions = {name: runs[0].attn for name, runs in parts.items() if name in ("sdpa", "folded", "flex")}
    assert attentions == {"sdpa": "sdpa", "folded": "sdpa_folded", "flex": "flex_attention"}
    assert {parts["compiled-32"][0].compile, parts["graphs-32"][0].compile} == {"default", "reduce-overhead"}


def test_results_lie_where_it_was_called_and_the_package_is_found(tmp_path: Path, merging_parser: Any) -> None:
    _, calls = gpu_script(tmp_path, "some/out", "sdpa", "merging", DEVICE="cuda:1", PYTHONPATH="/other")
    assert [paths for paths, *_ in calls] == [f"{ROOT}:/other"] * 3
    parts = parsed(calls, merging_parser)
    assert list(parts) == ["sdpa", "merging"]
    for name, runs in parts.items():
        assert all(args.output == tmp_path / "some/out" / name and args.device == "cuda:1" for args in runs)


def test_a_run_that_fails_is_named_and_ends_no_other(tmp_path: Path) -> None:
    done, calls = gpu_script(tmp_path, "out", "folded", "flex", "training", failing="*flex_attention*")
    assert done.returncode == 1 and len(calls) == 6
    assert done.stderr == "gpu.sh: failed: flex at batch 32; flex at batch 128;\n"


@pytest.mark.parametrize(("arguments", "said"), [([], "benchmarks/gpu.sh OUT"), (["out", "fast"], "no part fast")])
def test_misuse_exits_with_2_and_runs_nothing(tmp_path: Path, arguments: list[str], said: str) -> None:
    done, calls = gpu_script(tmp_path, *arguments)
    assert (done.returncode, calls) == (2, []) and said in done.stderr


def test_its_head_names_every_part(tmp_path: Path) -> None:
    done, _ = gpu_script(tmp_path, "out", "none")
    parts = done.stderr.split("give some of ")[1].split()
    head = (ROOT / "benchmarks" / "gpu.sh").read_text().split("set -uo")[0]
    assert [line.split()[1] for line in head.splitlines() if line.startswith("#   ")][1:] == parts


@pytest.mark.slow
def test_torch_and_transformers_are_enough(tmp_path: Path) -> None:
    command = [sys.executable, "-c", EVERYTHING, json.dumps(ABSENT), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".json"}
