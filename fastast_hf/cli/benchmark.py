"""`fastast benchmark`: FastAST beside stock AST on this machine, as a table, csv, json and a picture."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .tables import format_table
from .training_table import training_table

if TYPE_CHECKING:
    from ..benchmarking.rows import BenchmarkRow
    from ..model.modeling_fastast import FastASTForAudioClassification

RANDOM_AST_BASE = "ast-base-random"
AUDIOSET_LABELS = 527


def add_parser(commands: Any) -> None:
    """Add `benchmark` to the commands."""
    parser = commands.add_parser(
        "benchmark",
        help="time FastAST beside stock AST on this machine",
        description="Time front end, model and both together, at each r beside stock AST (eager and sdpa) with the "
        "same weights, in interleaved rounds on clips of noise; or, with --training, whole training steps. Ctrl-C "
        "keeps the rounds finished so far.",
    )
    parser.add_argument(
        "--model", metavar="ID", help="AST or FastAST checkpoint: folder or Hub id (default: AST-base, random weights)"
    )
    parser.add_argument(
        "--training",
        action="store_true",
        help="time training steps (forward, loss, backward, AdamW) and measure their peak memory instead, beside "
        "stock AST with sdpa; a --dtype other than float32 is then autocast's",
    )
    parser.add_argument(
        "--teacher",
        metavar="ID",
        help="with --training: time steps that distil from this teacher as well, and how much of the throughput is "
        "kept that both models' MACs allow; cnn (EfficientNet-B2) or passt with random weights, or a checkpoint: "
        "folder or Hub id, with the labels of --model",
    )
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[512, 1024, 128], metavar="T", help="clip lengths in frames of 10 ms"
    )
    parser.add_argument("--batch-size", type=int, default=4, metavar="B", help="clips at once (default: 4)")
    parser.add_argument(
        "--r", type=int, nargs="+", default=[0, 20, 40], metavar="N", help="tokens to merge in each layer"
    )
    parser.add_argument(
        "--schedule",
        nargs="+",
        default=["constant"],
        choices=("constant", "decreasing", "increasing"),
        help="how r spreads over the layers; more than one are measured side by side (default: constant)",
    )
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="after the warm-up (default: 10)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: a GPU where there is one)")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    parser.add_argument(
        "--attn",
        default="sdpa",
        choices=("eager", "sdpa", "sdpa_folded", "flex_attention", "flash_attention_2"),
        help="FastAST's attention implementation (default: sdpa)",
    )
    parser.add_argument(
        "--compile",
        nargs="?",
        const="default",
        choices=("default", "reduce-overhead", "max-autotune"),
        metavar="MODE",
        help="time stock AST (sdpa) and FastAST compiled, too: torch.compile's default (needs a C++ "
        "compiler), reduce-overhead (CUDA graphs) or max-autotune",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's choice)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write csv, json and, without --teacher, a picture into this folder"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure one clip length after the other, and write after each; 130 after Ctrl-C, as shells have it."""
    import torch

    from ..benchmarking.circumstances import checkpoint_name
    from ..benchmarking.inference import benchmark
    from ..benchmarking.results import to_json
    from ..benchmarking.rounds import check_at_least
    from ..benchmarking.training import training_benchmark

    check_at_least(1, **{"--rounds": args.rounds, "--batch-size": args.batch_size})
    check_at_least(0, **{"--r": min(args.r)})
    if args.teacher is not None and not args.training:
        raise ValueError("a teacher is given for inference: add --training, or leave out --teacher")
    if args.compile is not None and args.training:
        raise ValueError("training steps are not timed compiled: leave out --compile")
    if args.threads is not None:
        check_at_least(1, **{"--threads": args.threads})
        torch.set_num_threads(args.threads)
    if args.output is not None:
        args.output.mkdir(parents=True, exist_ok=True)
    model = _load(args.model, args.device, "float32" if args.training else args.dtype, args.teacher)
    check_at_least(model.config.patch_size, **{"--frames": min(args.frames)})

    stem = None if args.output is None else args.output / file_stem(args, model.device.type)

    measure: Any = partial(benchmark, compile_mode=args.compile)
    if args.training:
        measure = partial(training_benchmark, dtype=getattr(torch, args.dtype), teacher=args.teacher)
    rows: list[Any] = []
    for frames in dict.fromkeys(args.frames):
        result = measure(
            model,
            frames,
            model_name=checkpoint_name(args.model) if args.model else RANDOM_AST_BASE,
            batch_size=args.batch_size,
            tome_r=args.r,
            schedules=args.schedule,
            attn=args.attn,
            rounds=args.rounds,
            progress=True,
        )
        rows += result.rows
        if result.rows and not args.json:
            print((training_table if args.training else table)(result.rows), end="\n\n", flush=True)
        if result.rows and stem is not None:
            _write(rows, stem)
        for name in getattr(result, "left_out", ()):
            print(f"fastast benchmark: {frames} frames: too little memory for {name}: left out", file=sys.stderr)
        if result.interrupted:
            finished = result.rows[0].rounds if result.rows else 0
            print(f"fastast benchmark: stopped at {frames} frames; {finished} of its rounds are kept", file=sys.stderr)
            break
    if args.json:
        print(to_json(rows))
    if rows and not args.training and rows[0].front_end is None:
        note = "stock AST's front end is left out, because transformers cannot import ASTFeatureExtractor here"
        print(f"fastast benchmark: {note} (a broken torchaudio?)", file=sys.stderr)
    if rows and stem is not None and args.teacher is None:
        _draw(rows, stem.with_name(f"{stem.name}.png"), "training" if args.training else "")
    return 130 if result.interrupted else 0


def table(rows: list[BenchmarkRow]) -> str:
    """A heading and a line per row, for rows of one clip length. Milliseconds are for one clip of the batch."""
    one = rows[0]
    threads = f" with {one.threads} threads" if one.device == "cpu" else ""
    heading = (
        f"{one.frames} frames ({one.tokens_in} tokens), batch {one.batch_size}: {one.model}, {one.dtype} on "
        f"{one.processor}{threads}, {one.rounds} round{'s' if one.rounds > 1 else ''}, ms per clip"
    )
    several = len({row.schedule for row in rows if row.tome_r}) > 1
    has_memory = any(row.peak_mem_mb is not None for row in rows)
    cells = []
    for row in rows:
        front_end, model, model_p95, end_to_end, end_to_end_p95 = (
            "-" if batch_ms is None else f"{batch_ms / row.batch_size:.2f}"
            for batch_ms in (
                row.front_end_ms,
                row.model_ms,
                row.model_p95_ms,
                row.end_to_end_ms,
                row.end_to_end_p95_ms,
            )
        )
        cells.append(
            {
                "model": f"{row.implementation} {row.attn}",
                "r": "-" if row.tome_r is None else str(row.tome_r),
                **({"schedule": (row.schedule or "-") if row.tome_r else "-"} if several else {}),
                "tokens left": str(row.tokens_out),
                "GMACs": f"{row.gmacs:.4g}",
                "front end ms": front_end,
                "model ms": model,
                "p95 ms": model_p95,
                "speed-up": f"{row.speedup:.2f}×",
                "MAC ratio": f"{row.mac_ratio:.2f}×",
                "efficiency": f"{row.efficiency:.2f}",
                "end to end ms": end_to_end,
                "p95 ms ": end_to_end_p95,  # a second column of the name
                "speed-up ": "-" if row.speedup_end_to_end is None else f"{row.speedup_end_to_end:.2f}×",
                **(_memory(row) if has_memory else {}),
            }
        )
    lines = format_table([name.strip() for name in cells[0]], [list(cell.values()) for cell in cells])
    return f"{heading}\n\n{lines}"


def _memory(row: BenchmarkRow) -> dict[str, str]:
    peak = row.peak_mem_mb
    return {
        "peak MB": "-" if peak is None else f"{peak:.0f}",
        "MB per clip": "-" if peak is None else f"{peak / row.batch_size:.1f}",
    }


def file_stem(args: argparse.Namespace, device: str) -> str:
    """A file's name, without ending, that says what was measured: `benchmark-cpu-float32-sdpa-b4`."""
    from ..benchmarking.circumstances import checkpoint_name

    what = "distillation" if args.teacher else "training" if args.training else "benchmark"
    models = [checkpoint_name(model).split("/")[-1] for model in (args.teacher, args.model) if model]
    schedule = [] if args.schedule == ["constant"] else args.schedule
    return "-".join([what, *models, device, args.dtype, args.attn, f"b{args.batch_size}", *schedule])


def _load(model: str | None, device: str | None, dtype: str, teacher: str | None) -> FastASTForAudioClassification:
    """The checkpoint, or AST-base with random weights, which is as fast, needs no download, and has any labels."""
    import torch

    from ..loading.checkpoint import load_classifier
    from ..loading.devices import usable_device
    from ..model.configuration_fastast import FastASTConfig
    from ..model.modeling_fastast import FastASTForAudioClassification

    place = usable_device(device)
    if model is not None:
        loaded = load_classifier(model)
    else:
        labels: dict[str, Any] = {"num_labels": AUDIOSET_LABELS}
        if teacher is not None:
            from ..benchmarking.distillation import labels_of

            known = labels_of(teacher)
            labels = {"id2label": known, "label2id": {name: i for i, name in known.items()}} if known else labels
        torch.manual_seed(0)
        loaded = FastASTForAudioClassification(FastASTConfig(**labels))
    return loaded.to(device=place, dtype=getattr(torch, dtype))


def _write(rows: list[Any], stem: Path) -> None:
    from ..benchmarking.results import to_json, write_csv

    # Path.with_suffix would take a version number in the name for an ending.
    write_csv(rows, stem.with_name(f"{stem.name}.csv"))
    stem.with_name(f"{stem.name}.json").write_text(to_json(rows) + "\n", encoding="utf-8")


def _draw(rows: list[Any], path: Path, of: str) -> None:
    from ..benchmarking.results import plot_speedups

    try:
        plot_speedups(rows, path, of)
    except ModuleNotFoundError:
        print("The picture is left out, for want of matplotlib: pip install 'fastast-hf[plot]'", file=sys.stderr)
