"""What the regression guard makes of measurements, with made-up ones: never a time."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ROUNDS, FLOOR, CEILING = 4, 2.0, 0.03

# What the first and, if there is one, the second measurement gives; the verdict.
FLOORS = [
    ([2.5], "ok"),
    ([FLOOR], "ok"),
    ([1.9, 2.1], "ok"),
    ([1.9, 1.8], "FALLEN"),
    ([float("nan"), float("nan")], "FALLEN"),
]
CEILINGS = [
    ([0.02], "ok"),
    ([CEILING], "ok"),
    ([0.04, 0.01], "ok"),
    ([0.04, 0.05], "FALLEN"),
    ([float("nan"), float("nan")], "FALLEN"),
]
CASES = [(False, *case) for case in FLOORS] + [(True, *case) for case in CEILINGS]

# Of the real checks.
KINDS = [
    "efficiency",
    "speed-up: float32",
    "speed-up: bfloat16",
    "speed-up: int8",
    "ONNX",
    "files",
    "match and merge",
    "bundled",
    "front end",
]
# What the machine lacks, by the name in the guard that tells it and what it then tells; the checks skipped; the word.
LACKING = [
    ({"int8_works": False}, ["speed-up: int8", "files"], "no int8 on this machine"),
    ({"half_precision": torch.float32}, ["bfloat16"], "this processor is not fast in bfloat16"),
    ({"needs": ImportError("ONNX files need onnx: install it")}, ["ONNX"], "ONNX files need onnx: install it"),
]


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("guard")


@pytest.fixture
def ratios(guard: ModuleType) -> ModuleType:
    return importlib.import_module("guard_ratios")


def measuring(ratios: list[float], asked: list[int]) -> Callable[[int], float]:
    """Gives the ratios in turn and keeps for how many rounds it was asked."""
    left = iter(ratios)

    def measure(rounds: int) -> float:
        asked.append(rounds)
        return next(left)

    return measure


def exit_status(
    guard: ModuleType, monkeypatch: pytest.MonkeyPatch, checks: dict[str, Callable[[int], float]], *arguments: str
) -> int:
    made_up = tuple(guard.Check(name, measure, FLOOR, ROUNDS) for name, measure in checks.items())
    monkeypatch.setattr(guard, "CHECKS", made_up)
    return guard.main(arguments)


@pytest.mark.parametrize(("ceiling", "ratios", "verdict"), CASES)
def test_a_check_falls_only_if_it_fails_twice_the_second_time_with_twice_the_rounds(
    guard: ModuleType, ceiling: bool, ratios: list[float], verdict: str
) -> None:
    asked: list[int] = []
    check = guard.Check("merging", measuring(ratios, asked), CEILING if ceiling else FLOOR, ROUNDS, ceiling)
    row = guard.result_of(check)
    assert row.verdict == verdict
    assert asked == [ROUNDS, 2 * ROUNDS][: len(ratios)]
    assert row.attempts == pytest.approx(ratios, nan_ok=True)


def test_all_that_holds_exits_with_0(
    guard: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = {"fast": measuring([2.5], []), "at the second try": measuring([1.9, 2.1], [])}
    assert exit_status(guard, monkeypatch, checks) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["check", "measured", "bound", "verdict"]
    assert [line.split()[-4:] for line in lines[2:]] == [["2.500", "≥", "2.000", "ok"], ["2.100", "≥", "2.000", "ok"]]


def test_one_that_has_fallen_exits_with_1_and_the_others_are_still_measured(
    guard: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []
    checks = {"slow": measuring([1.9, 1.8], []), "fast": measuring([2.5], asked)}
    assert exit_status(guard, monkeypatch, checks) == 1
    table = capsys.readouterr().out
    assert "1.800  ≥ 2.000  FALLEN" in table and "2.500  ≥ 2.000  ok" in table
    assert asked == [ROUNDS]


@pytest.mark.parametrize(("lacking", "kinds", "word"), LACKING, ids=[kinds[0] for _, kinds, _ in LACKING])
def test_what_this_machine_lacks_is_skipped_with_a_word_and_does_not_count(
    lacking: dict[str, Any],
    kinds: list[str],
    word: str,
    guard: ModuleType,
    ratios: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in lacking.items():
        monkeypatch.setattr(ratios, name, Mock(side_effect=value if isinstance(value, Exception) else [value] * 9))
    checks = [check for check in guard.CHECKS if any(kind in check.name for kind in kinds)]
    assert len(checks) >= len(kinds)
    monkeypatch.setattr(ratios, "ast_base", lambda frames: ratios.bundled())
    monkeypatch.setattr(guard, "CHECKS", checks)
    assert guard.main([]) == 0
    assert capsys.readouterr().out.count(f"skipped: {word}") == len(checks)


@pytest.mark.parametrize("arguments", [["--json", "no-such-folder/guard.json"], ["--jsn", "guard.json"]])
def test_misuse_exits_with_2_before_anything_is_measured(
    guard: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    asked: list[int] = []
    with pytest.raises(SystemExit) as stopped:
        exit_status(guard, monkeypatch, {"fast": measuring([2.5], asked)}, *arguments)
    assert stopped.value.code == 2
    assert asked == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_real_check_can_be_measured(
    guard: ModuleType, ratios: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """With the bundled checkpoint in place of AST-base, for one round: that it runs, not what it finds."""
    monkeypatch.setattr(ratios, "ast_base", lambda frames: ratios.for_length(ratios.bundled(), 64))
    checks = [check for check in guard.CHECKS if kind in check.name]
    assert checks
    for check in checks:
        with suppress(guard.CannotMeasureError):
            assert check.measure(rounds=1) > 0
