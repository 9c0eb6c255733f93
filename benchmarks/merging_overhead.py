"""Time how much of a layer matching and merging take, part by part and operator by operator.

    python benchmarks/merging_overhead.py --device cpu --tokens 602 1214

A layer of AST-base with random weights, which are as fast as trained ones, as it stands in the middle of a model: its
tokens already have sizes. Rounds are interleaved; in each, the layer runs once as a whole and once part by part with
the clock read in between, and the share is the median of (match + merge) / whole within a round. On a GPU the parts
are timed by CUDA events, so that nothing waits between them. Needs torch and transformers alone.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from layer_parts import PASSES, Overhead, Setting, layer_work, overhead
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from writing import write_rows

from fastast_hf.benchmarking.rounds import check_at_least, synchronize
from fastast_hf.cli.tables import format_table
from fastast_hf.loading.devices import usable_device
from fastast_hf.model.token_merging import merge_tokens
from fastast_hf.tagging.presets import has_int8

RESULTS = Path(__file__).parent / "results" / "merging-overhead"
PROFILED_PASSES = 20
SHOWN_OPERATORS = 15


@dataclass(frozen=True)
class Operator(Setting):
    """One operator of match and merge: calls and microseconds of one pass, and its share of the layer's time."""

    operator: str
    calls: float
    us: float
    share: float


@torch.inference_mode()
def operators(setting: Setting, device: torch.device, layer_ms: float) -> list[Operator]:
    """Profile match and merge, the slowest operator first: its own time, on a GPU that of its kernels.

    The profiler's own work makes operators of a few microseconds look slower than they are.
    """
    work = layer_work(setting, device)
    hidden_states, keys = work.layer.attend(work.hidden_states, work.key_bias, True)
    on_gpu = device.type == "cuda"

    def match_and_merge() -> None:
        merge_tokens(hidden_states, work.token_size, work.match(keys))

    match_and_merge()  # what happens once alone happens here
    synchronize(device)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities, acc_events=True) as profiler:
        for _ in range(PROFILED_PASSES):
            match_and_merge()
        synchronize(device)
    column = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    events = profiler.key_averages()
    times = [(e.key, e.count, getattr(e, column)) for e in events if e.device_type == DeviceType.CPU]
    # Kernels have rows of their own, too; what no operator started shows only there.
    kernels = sum(event.self_device_time_total for event in events if event.device_type == DeviceType.CUDA)
    times.append(("kernels of no operator", 0, kernels - sum(us for *_, us in times) if on_gpu else 0))
    rows = [
        Operator(
            **asdict(setting),
            operator=name,
            calls=calls / PROFILED_PASSES,
            us=us / PROFILED_PASSES,
            share=us / PROFILED_PASSES / (1000 * layer_ms),
        )
        for name, calls, us in times
        if round(us, 3) > 0
    ]
    return sorted(rows, key=lambda row: -row.us)


def overhead_table(rows: list[Overhead]) -> str:
    """A line per dtype, tokens and batch size."""
    header = ["dtype", "tokens", "batch", "r", "attention ms", "match ms", "merge ms", "MLP ms", "layer ms", "share"]
    lines = [
        [
            row.dtype,
            *(str(number) for number in (row.tokens, row.batch_size, row.tome_r)),
            *(f"{ms:.3f}" for ms in (row.attention_ms, row.match_ms, row.merge_ms, row.mlp_ms, row.layer_ms)),
            f"{100 * row.share:.2f} %",
        ]
        for row in rows
    ]
    return format_table(header, lines)


def operator_table(rows: list[Operator]) -> str:
    """A line for each of the slowest operators, and one for all others together."""
    shown, others = rows[:SHOWN_OPERATORS], rows[SHOWN_OPERATORS:]
    cells = [(row.operator, row.calls, row.us, row.share) for row in shown]
    if others:
        calls, us, share = (sum(getattr(row, column) for row in others) for column in ("calls", "us", "share"))
        cells.append((f"{len(others)} others", calls, us, share))
    lines = [[name, f"{calls:g}", f"{us:.1f}", f"{100 * share:.2f} %"] for name, calls, us, share in cells]
    return format_table(["operator", "calls", "µs", "share of the layer"], lines)


def write_results(folder: Path, device: torch.device, rounds: int, rows: list[Overhead], ops: list[Operator]) -> Path:
    """Write the layer's parts as JSON, and the operators as CSV beside it."""
    file = folder / f"{device.type}.json"
    write_rows(file, rows, device, rounds=rounds)
    with (folder / f"{device.type}-operators.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(Operator.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**asdict(op), "us": f"{op.us:.2f}", "share": f"{op.share:.6f}"} for op in ops)
    return file


def build_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 … (default: cpu)")
    parser.add_argument("--tokens", type=int, nargs="+", default=[602, 1214], metavar="N", help="entering the layer")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 4], metavar="B")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print tables, and write them."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        device = usable_device(args.device)
        if device.type not in PASSES:
            raise ValueError(f"device is {device}, whose parts can't be timed: give {' or '.join(PASSES)}")
        check_at_least(4, tokens=min(args.tokens))  # of fewer, none can be merged
        check_at_least(1, batch_size=min(args.batch_size), rounds=args.rounds)
    except ValueError as error:
        parser.error(str(error))
    if device.type == "cuda":
        torch.cuda.set_device(device)  # on which the profiler and kernels compiled at run time work as well
    rows: list[Overhead] = []
    ops: list[Operator] = []
    for dtype in ("float32", "bfloat16", *(["int8"] if has_int8(device) else [])):
        for tokens in args.tokens:
            for batch_size in args.batch_size:
                setting = Setting(dtype, tokens, batch_size)
                row = overhead(setting, device, args.rounds)
                own = operators(setting, device, row.layer_ms)
                print(overhead_table([row]), operator_table(own), sep="\n\n", end="\n\n\n", flush=True)
                rows.append(row)
                ops += own
    print(overhead_table(rows), end="\n\n")
    print(write_results(args.output, device, args.rounds, rows, ops))


if __name__ == "__main__":
    main()
