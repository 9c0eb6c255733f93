"""Check in one run that FastAST is still as fast as the benchmarks' page says, beside stock AST on the CPU.

    python benchmarks/guard.py

Only ratios are checked: those of interleaved rounds hold on a busy machine, too, where times do not. A check that
fails is measured once more, with twice the rounds, before it counts as fallen. Exit status: 0 if all hold, 1 if one
has fallen, 2 for a wrong argument.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from guard_ratios import (
    CannotMeasureError,
    base_efficiency,
    base_speedup,
    bundled_speedup,
    front_end_speedup,
    merging_share,
    onnx_speedup,
    preset_speedup,
)
from tqdm.auto import tqdm
from transformers.utils import logging
from writing import write_rows

from fastast_hf.cli.tables import format_table

OK, FALLEN = "ok", "FALLEN"


@dataclass(frozen=True)
class Check:
    """A promise.

    Attributes:
        name: What is measured.
        measure: The ratio, given `rounds`. Raises CannotMeasureError.
        bound: What it must not fall below; with `ceiling`, what it must not rise above, and it is a share.
        rounds: How many; a multiple of 4, so that each side stands in each place as often as the other.
        ceiling: Whether less is better.
    """

    name: str
    measure: Callable[..., float]
    bound: float
    rounds: int
    ceiling: bool = False

    def holds(self, measured: float) -> bool:
        """Whether the promise is kept; not by NaN."""
        return measured <= self.bound if self.ceiling else measured >= self.bound

    def shown(self, ratio: float) -> str:
        """As the table has it."""
        return f"{100 * ratio:.2f} %" if self.ceiling else f"{ratio:.3f}"


@dataclass(frozen=True)
class Row:
    """What came of a check: `attempts` are the ratios measured, of which the last one counts."""

    check: str
    attempts: list[float]
    bound: float
    ceiling: bool
    verdict: str


# A floor that says of what it is one is 70 to 80 % of what the benchmarks' page has, so that noise is not a fall.
CHECKS: tuple[Check, ...] = (
    # Merging has to gain what the arithmetic allows (1.10 to 1.16: oneDNN is faster than stock AST's MKL).
    Check("efficiency: float32, 512 frames, batch 2, r = 40", partial(base_efficiency, 512, 2, 40), 0.88, 4),
    Check("efficiency: float32, 1024 frames, batch 1, r = 20", partial(base_efficiency, 1024, 1, 20), 0.88, 4),
    # Of a clip this short a dozen tokens are soon left: reading the weights sets the pace (of 3.44). In bfloat16 they
    # are half as large (of 4.79), in int8 a quarter (of 7.67). In ONNX Runtime there is no Python between operators,
    # and less to compute in the last layer (of 4.94).
    Check("speed-up: float32, 128 frames, batch 1, r = 40", partial(base_speedup, 128, 1, 40), 2.75, 20),
    Check("speed-up: bfloat16, 128 frames, batch 1, r = 40", partial(base_speedup, 128, 1, 40, "bfloat16"), 3.8, 20),
    Check("speed-up: int8, 128 frames, batch 1, r = 40", partial(base_speedup, 128, 1, 40, "int8"), 6.0, 20),
    Check("speed-up: ONNX float32, 128 frames, batch 1, r = 40", partial(onnx_speedup, 128, 40), 3.9, 20),
    # What the fast preset computes for a clip of five seconds: here the arithmetic counts again (of 5.6).
    Check(
        "speed-up: int8, 512 frames, batch 1, r = 40 decreasing",
        partial(base_speedup, 512, 1, 40, "int8", "decreasing"),
        bound=4.3,
        rounds=8,
    ),
    # From files to labels, front ends and reading included (of 14.5 for four files at once; two are measured here).
    Check("files of 5 s to labels: preset fast over the pipeline", partial(preset_speedup, 2, 5.0), 10.0, 4),
    # Who merges nothing must not pay for it: these are stock AST's own operations, and the rest is noise.
    Check("speed-up: float32, 128 frames, batch 1, r = 0", partial(base_speedup, 128, 1, 0), 0.9, 20),
    # The most that choosing whom to merge, and merging, may take of a layer: it is time that no merge wins back.
    Check("match and merge in a float32 layer of 602 tokens", partial(merging_share, 602), 0.03, 40, ceiling=True),
    # In a model this small the number of operators counts for more than the tokens, and merging adds operators.
    Check("speed-up: bundled checkpoint, batch 1, its own r", bundled_speedup, 0.9, 60),
    # torchaudio's filter bank computes the same, clip by clip: on a CPU the two are level.
    Check("speed-up: front end, 8 clips of 10 s", partial(front_end_speedup, 8, 998), 0.85, 40),
)


def result_of(check: Check) -> Row:
    """Measure a check, twice if the first time it seems to have fallen."""
    attempts: list[float] = []
    verdict = FALLEN
    try:
        for rounds in (check.rounds, 2 * check.rounds):
            attempts.append(check.measure(rounds=rounds))
            if check.holds(attempts[-1]):
                verdict = OK
                break
    except CannotMeasureError as error:
        verdict = f"skipped: {error}"
    return Row(check.name, attempts, check.bound, check.ceiling, verdict)


def table(rows: Sequence[Row], checks: Sequence[Check]) -> str:
    """A line per check."""
    lines = [
        [
            row.check,
            check.shown(row.attempts[-1]) if row.attempts else "-",
            f"{'≤' if check.ceiling else '≥'} {check.shown(check.bound)}",
            row.verdict,
        ]
        for row, check in zip(rows, checks, strict=True)
    ]
    return format_table(["check", "measured", "bound", "verdict"], lines, align="lrrl")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all checks, print the table, and say by the exit status whether one has fallen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    args = parser.parse_args(arguments)
    if args.json is not None and not args.json.parent.is_dir():
        parser.error(f"--json is {args.json}: there is no folder {args.json.parent}; make it first")
    logging.disable_progress_bar()  # of loading
    rows = [result_of(check) for check in tqdm(CHECKS, unit="check", leave=False, disable=None)]
    print(table(rows, CHECKS))
    if args.json is not None:
        write_rows(args.json, rows)
    return int(any(row.verdict == FALLEN for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
