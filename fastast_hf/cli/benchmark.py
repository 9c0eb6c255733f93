"""`fastast benchmark`: FastAST beside stock AST on this machine, as a table, csv, json and a picture."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import left_out_if_missing
from .tables import format_table

if TYPE_CHECKING:
    from ..model.modeling_fastast import FastASTForAudioClassification

RANDOM_AST_BASE = "ast-base-random"


def add_parser(commands: Any) -> None:
    """Add `benchmark` to the commands."""
    parser = commands.add_parser(
        "benchmark",
        help="time FastAST beside stock AST on this machine",
        description="Time the front end, the model and both together, on clips of noise. Each r is compared with "
        "stock AST with the same weights. --training times training steps instead. Ctrl-C keeps the finished rounds.",
    )
    parser.add_argument(
        "--model", metavar="ID", help="checkpoint: folder or Hub id (default: AST-base with random weights)"
    )
    parser.add_argument(
        "--training",
        action="store_true",
        help="time training steps instead (forward, loss, backward, AdamW), and measure their peak memory, beside "
        "stock AST with sdpa; --dtype is then that of autocast",
    )
    parser.add_argument(
        "--teacher",
        choices=("cnn", "passt"),
        help="with --training: also time steps that distil from a teacher with random weights (cnn: EfficientNet-B2), "
        "and compare the throughput with what the MACs of both models allow",
    )
    parser.add_argument(
        "--frames", type=int, nargs="+", default=[512, 1024, 128], metavar="N", help="clip lengths in frames of 10 ms"
    )
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="clips at once (default: 4)")
    parser.add_argument(
        "--r", type=int, nargs="+", default=[0, 20, 40], metavar="N", help="tokens to merge in each layer"
    )
    parser.add_argument(
        "--schedule",
        nargs="+",
        default=["constant"],
        choices=("constant", "decreasing", "increasing"),
        help="how to spread r over the layers; several are timed side by side (default: constant)",
    )
    parser.add_argument(
        "--rounds", type=int, default=10, metavar="N", help="measured rounds, after a warm-up (default: 10)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 … (default: a GPU where there is one)")
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=("float32", "bfloat16", "float16"),
        help="what the model computes in (default: float32)",
    )
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
        "--output",
        type=Path,
        metavar="FOLDER",
        help="write csv, json and, without --teacher, a picture into this folder",
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
    from ..loading.places import check_output

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
        check_output(args.output, "folder")
        args.output.mkdir(parents=True, exist_ok=True)
    model = _load(args.model, args.device, "float32" if args.training else args.dtype)
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
            print(table(result.rows), end="\n\n", flush=True)
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


def table(rows: list[Any]) -> str:
    """A heading and a line per row, for rows of one clip length; what is left out here is in the files."""
    from ..benchmarking.rows import DistillationRow, TrainingRow

    one = rows[0]
    threads = f" with {one.threads} threads" if one.device == "cpu" else ""
    heading = (
        f"{one.frames} frames ({one.tokens_in} tokens), batch {one.batch_size}: {one.model}, {one.dtype} on "
        f"{one.processor}{threads}, {one.rounds} round{'s' * (one.rounds > 1)}, "
        f"{'ms per training step of the batch' if isinstance(one, TrainingRow) else 'ms per clip'}"
    )
    if isinstance(one, DistillationRow):
        heading += (
            f"\nteacher: {one.teacher}, {one.teacher_gmacs:.4g} GMACs, {one.teacher_ms:.1f} ms, and its front end "
            f"{one.teacher_front_end_ms:.1f} ms"
        )
    own = _distillation if isinstance(one, DistillationRow) else _training if isinstance(one, TrainingRow) else _clip
    cells = [{**_setting(row), **own(row)} for row in rows]
    told = [name for name in cells[0] if any(line[name] != "-" for line in cells)]
    if len({row.schedule for row in rows if row.tome_r}) < 2:
        told.remove("schedule")
    lines = format_table([name.strip() for name in told], [[line[name] for name in told] for line in cells])
    return f"{heading}\n\n{lines}"


def _setting(row: Any) -> dict[str, str]:
    return {
        "model": f"{row.implementation} {row.attn}",
        "r": _cell(row.tome_r, "d"),
        "schedule": (row.schedule or "-") if row.tome_r else "-",
        "MAC ratio": f"{row.mac_ratio:.2f}×",
    }


def _clip(row: Any) -> dict[str, str]:
    def of_a_clip(value: float | None, digits: str) -> str:
        return _cell(None if value is None else value / row.batch_size, digits)

    return {
        "model ms": of_a_clip(row.model_ms, ".2f"),
        "speed-up": f"{row.speedup:.2f}×",
        "front end ms": of_a_clip(row.front_end_ms, ".2f"),
        "both ms": of_a_clip(row.end_to_end_ms, ".2f"),
        # A second column of the name.
        "speed-up ": "-" if row.speedup_end_to_end is None else f"{row.speedup_end_to_end:.2f}×",
        "peak MB": _cell(row.peak_mem_mb, ".0f"),
        "MB per clip": of_a_clip(row.peak_mem_mb, ".1f"),
    }


def _training(row: Any) -> dict[str, str]:
    return {
        "step ms": f"{row.step_ms:.1f}",
        "speed-up": f"{row.speedup:.2f}×",
        "peak MB": _cell(row.peak_mem_mb, ".0f"),
        "step MB": _cell(row.step_mem_mb, ".0f"),
    }


def _distillation(row: Any) -> dict[str, str]:
    return {
        "step ms": f"{row.step_ms:.1f}",
        "speed-up": f"{row.speedup:.2f}×",
        "with teacher ms": _cell(row.distillation_ms, ".1f"),
        "kept": _cell(row.kept, ".2f"),
        "kept by MACs": _cell(row.kept_by_macs, ".2f"),
    }


def _cell(value: float | None, digits: str) -> str:
    return "-" if value is None else f"{value:{digits}}"


def file_stem(args: argparse.Namespace, device: str) -> str:
    """A file's name, without ending, that says what was measured: `benchmark-cpu-float32-sdpa-b4`."""
    from ..benchmarking.circumstances import checkpoint_name

    what = "distillation" if args.teacher else "training" if args.training else "benchmark"
    models = [checkpoint_name(model).split("/")[-1] for model in (args.teacher, args.model) if model]
    schedule = [] if args.schedule == ["constant"] else args.schedule
    return "-".join([what, *models, device, args.dtype, args.attn, f"b{args.batch_size}", *schedule])


def _load(model: str | None, device: str | None, dtype: str) -> FastASTForAudioClassification:
    """The checkpoint, or AST-base with random weights, which is as fast and needs no download."""
    import torch

    from ..loading.checkpoint import load_classifier
    from ..loading.devices import usable_device
    from ..model.configuration_fastast import FastASTConfig
    from ..model.modeling_fastast import FastASTForAudioClassification

    place = usable_device(device)
    torch.manual_seed(0)
    loaded = FastASTForAudioClassification(FastASTConfig(num_labels=527)) if model is None else load_classifier(model)
    return loaded.to(device=place, dtype=getattr(torch, dtype))


def _write(rows: list[Any], stem: Path) -> None:
    from ..benchmarking.results import to_json, write_csv

    # Path.with_suffix would take a version number in the name for an ending.
    write_csv(rows, stem.with_name(f"{stem.name}.csv"))
    stem.with_name(f"{stem.name}.json").write_text(to_json(rows) + "\n", encoding="utf-8")


def _draw(rows: list[Any], path: Path, of: str) -> None:
    from ..benchmarking.results import plot_speedups

    with left_out_if_missing("the picture"):
        plot_speedups(rows, path, of)
