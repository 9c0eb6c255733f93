"""What `fastast benchmark --training` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tables import format_table

if TYPE_CHECKING:
    from ..benchmarking.rows import DistillationRow, TrainingRow


def training_table(rows: list[TrainingRow]) -> str:
    """A heading and a line per row, for rows of one clip length. Milliseconds are for a step of the whole batch."""
    from ..benchmarking.rows import DistillationRow

    one = rows[0]
    threads = f" with {one.threads} threads" if one.device == "cpu" else ""
    heading = (
        f"training steps, {one.frames} frames ({one.tokens_in} tokens), batch {one.batch_size}: {one.model}, "
        f"{one.dtype} on {one.processor}{threads}, {one.rounds} round{'s' if one.rounds > 1 else ''}; MACs of a step "
        "are three forward passes'"
    )
    if isinstance(one, DistillationRow):
        heading += (
            f"\nteacher: {one.teacher}, {one.teacher_gmacs:.4g} GMACs, {one.teacher_ms:.1f} ms, and its front end "
            f"{one.teacher_front_end_ms:.1f} ms"
        )
    several = len({row.schedule for row in rows if row.tome_r}) > 1
    cells = [
        {
            "model": f"{row.implementation} {row.attn}",
            "r": "-" if row.tome_r is None else str(row.tome_r),
            **({"schedule": (row.schedule or "-") if row.tome_r else "-"} if several else {}),
            "tokens left": str(row.tokens_out),
            "GMACs": f"{row.gmacs:.4g}",
            "step ms": f"{row.step_ms:.1f}",
            "p95 ms": f"{row.step_p95_ms:.1f}",
            "speed-up": f"{row.speedup:.2f}×",
            "MAC ratio": f"{row.mac_ratio:.2f}×",
            "efficiency": f"{row.efficiency:.2f}",
            **(_with_teacher(row) if isinstance(row, DistillationRow) else _memory(row)),
        }
        for row in rows
    ]
    lines = format_table([name.strip() for name in cells[0]], [list(cell.values()) for cell in cells])
    return f"{heading}\n\n{lines}"


def _memory(row: TrainingRow) -> dict[str, str]:
    return {"peak MB": _cell(row.peak_mem_mb, ".0f"), "step MB": _cell(row.step_mem_mb, ".0f")}


def _with_teacher(row: DistillationRow) -> dict[str, str]:
    return {
        "with teacher ms": _cell(row.distillation_ms, ".1f"),
        "p95 ms ": _cell(row.distillation_p95_ms, ".1f"),  # a second column of the name
        "kept": _cell(row.kept, ".2f"),
        "kept by MACs": _cell(row.kept_by_macs, ".2f"),
    }


def _cell(value: float | None, digits: str) -> str:
    return "-" if value is None else f"{value:{digits}}"
