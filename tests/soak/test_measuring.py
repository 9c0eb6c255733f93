"""The soak's own arithmetic: what grows is called so, and what only wavers is not."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from running_scripts import environment

HERE = Path(__file__).parent


def load() -> Any:
    spec = importlib.util.spec_from_file_location("measuring", HERE / "measuring.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["measuring"] = module  # where dataclasses look for its names
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("per_unit", "files", "flat"), [(0, 0, True), (200_000, 0, False), (0, 1, False), (-1000, 0, True)]
)
def test_what_grows_is_not_flat(per_unit: int, files: int, flat: bool) -> None:
    chance = random.Random(0)
    rows = [(k, 10**8 + per_unit * k + chance.randrange(10**6), 4, 20 + files * (k > 50)) for k in range(60)]
    assert load().Measured(rows=rows).verdict()[0] is flat


def test_few_measurements_are_refused() -> None:
    with pytest.raises(ValueError, match="3 measurements: give at least 12"):
        load().Measured(rows=[(k, 1, 1, 1) for k in range(3)]).verdict()


def test_this_process_is_measured() -> None:
    measured = load().Measured()
    measured.add(1)
    before = measured.rows[-1]
    with (HERE / "run.py").open():
        measured.add(2)
    assert before[1] > 10**7 and measured.rows[-1][3] == before[3] + 1


@pytest.mark.slow
@pytest.mark.parametrize("part", ["live", "files", "server", "taggers", "calls"])
def test_a_short_soak_runs(part: str) -> None:
    command = [sys.executable, str(HERE / "run.py"), part, "--share", "0.0001"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment() | os.environ, check=False)
    assert done.returncode in (0, 1), done.stderr  # so short a run may still fill caches
    assert done.stdout.startswith(f"{part}: ") and " ± " in done.stdout
