"""Rows of a sweep, as its tables and pictures take them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastast_hf.evaluation.rows import ComparisonRow, SweepRow

SPEEDS = {"front_end_samples_per_sec": 1501.2, "model_samples_per_sec": 244.8, "samples_per_sec": 209.9}


def merging(method: str, r: int, schedule: str = "constant", **fields: Any) -> SweepRow:
    return SweepRow(**{**row(method, r, schedule), **fields})


def row(method: str, r: int, schedule: str) -> dict[str, Any]:
    return {
        "method": method,
        "schedule": schedule,
        "tome_r": r,
        "tokens_in": 1214,
        "tokens_out": 1214 - 12 * r,
        "gmacs": 103.4,
        "mac_ratio": 1.0 + r / 40,
        "metric": "accuracy",
        "score": 0.82 - r / 1000,
        "low": 0.78,
        "high": 0.855,
        "change": -r / 1000,
        "change_low": -0.123,
        "change_high": 0.001,
        "clips": 400,
        "unreadable": 0,
        **{speed: per_second + r for speed, per_second in SPEEDS.items()},
    }


def compared(method: str, r: int, schedule: str = "constant", gain: float | None = None) -> list[ComparisonRow]:
    told = {} if gain is None else {"gain": gain, "gain_low": gain - 0.101, "gain_high": gain + 0.02}
    metrics = ("accuracy", "mean_average_precision")
    return [ComparisonRow(**{**row(method, r, schedule), **told, "metric": metric}) for metric in metrics]


TABLE_1 = [merging(method, r, s) for method in ("Inf", "Train+Inf") for r, s in ((0, "constant"), (40, "constant"))]
TABLE_1 += [merging(method, 40, "decreasing") for method in ("Inf", "Train+Inf")]
TABLE_2 = [part for r in (0, 40) for part in compared("FastAST", r)]
TABLE_2 += [part for r in (0, 40) for part in compared("FastAST + KD (PaSST)", r, gain=0.022)]


def without_speed(rows: Sequence[SweepRow]) -> list[SweepRow]:
    return [type(part)(**{**vars(part), **dict.fromkeys(SPEEDS)}) for part in rows]
