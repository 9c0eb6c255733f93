"""What `fastast benchmark --training` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tables import format_table

if TYPE_CHECKING:
    from fastast_hf.training_benchmark import TrainingRow


def training_table(rows: list[TrainingRow]) -> str:
    """A heading and a line per row, for rows of one clip length. Milliseconds are for a step of the whole batch."""
    one = rows[0]
    threads = f" with {one.threads} threads" if one.device == "cpu" else ""
    heading = (
        f"training steps, {one.frames} frames ({one.tokens_in} tokens), batch {one.batch_size}: {one.model}, "
        f"{one.dtype} on {one.processor}{threads}, {one.rounds} round{'s' if one.rounds > 1 else ''}; MACs of a step "
        "are three forward passes'"
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
            "peak MB": "-" if row.peak_mem_mb is None else f"{row.peak_mem_mb:.0f}",
            "step MB": "-" if row.step_mem_mb is None else f"{row.step_mem_mb:.0f}",
        }
        for row in rows
    ]
    return f"{heading}\n\n{format_table(list(cells[0]), [list(cell.values()) for cell in cells])}"
