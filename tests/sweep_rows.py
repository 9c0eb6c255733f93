"""Rows of a sweep, as its tables and pictures take them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastast_hf.evaluation.rows import SweepRow


def row(method: str, r: int, schedule: str = "constant", **fields: Any) -> SweepRow:
    told = {"change": -r / 1000, "change_low": -0.123, "change_high": 0.001} if r or method != "Inf" else {}
    made = {
        "method": method,
        "schedule": schedule,
        "tome_r": r,
        "tokens_in": 1214,
        "tokens_out": 1214 - 12 * r,
        "gmacs": 103.4,
        "mac_ratio": 1.0 + r / 40,
        "metric": "accuracy",
        "score": 0.82 - r / 1000,
        "low": 0.75,
        "high": 0.855,
        "clips": 400,
        "unreadable": 0,
        "samples_per_sec": 209.9 + r,
    }
    return SweepRow(**made | told | fields)


def compared(method: str, r: int, schedule: str = "constant", gain: float | None = None) -> list[SweepRow]:
    told: dict[str, Any] = {} if gain is None else {"gain": gain, "gain_low": gain - 0.101, "gain_high": gain + 0.02}
    told |= {} if r else dict.fromkeys(("change", "change_low", "change_high"))
    return [row(method, r, schedule, metric=metric, **told) for metric in ("accuracy", "mean_average_precision")]


TABLE_1 = [row(method, r, s) for method in ("Inf", "Train+Inf") for r, s in ((0, "constant"), (40, "constant"))]
TABLE_1 += [row(method, 40, "decreasing") for method in ("Inf", "Train+Inf")]
TABLE_2 = [part for r in (0, 40) for part in compared("FastAST", r)]
TABLE_2 += [part for r in (0, 40) for part in compared("FastAST + KD (PaSST)", r, gain=0.022)]


def without_speed(rows: Sequence[SweepRow]) -> list[SweepRow]:
    return [replace(part, samples_per_sec=None) for part in rows]
