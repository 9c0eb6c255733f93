"""A picture of what was measured: speed-up against how far the scores are from the unmerged model's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..plotting import BLUE, GREEN, ORANGE, PINK, styled
from .runs import Candidate

COLOURS = {"float32": BLUE, "bfloat16": ORANGE, "float16": PINK, "int8": GREEN}
MARKERS = {"unmerged": "s", "constant": "x", "search": "o"}
NAMES = {"unmerged": "unmerged", "constant": "constant r", "search": "found by the search"}


@styled()
def plot_frontier(candidates: Sequence[Candidate], chosen: Candidate, path: Path, title: str) -> None:
    """Draw a point for each candidate, with 95 % intervals over the held-out clips; the choice has a ring.

    Args:
        candidates: What was measured.
        chosen: One of them.
        path: The picture to write.
        title: Above it.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    # A KL divergence of 0 has no place on a logarithmic axis: it is drawn at the bottom.
    above_zero = [each.held_out.kl for each in candidates if each.held_out.kl > 0]
    floor = min(above_zero, default=1e-6) / 3
    both = len({each.native_length for each in candidates}) > 1
    for each in candidates:
        kl = max(each.held_out.kl, floor)
        low, high = (max(bound, floor) for bound in each.held_out.kl_interval)
        filled = each.native_length or not both
        axes.errorbar(
            each.speedup,
            kl,
            [[max(kl - low, 0)], [max(high - kl, 0)]],
            color=COLOURS[each.dtype],
            marker=MARKERS[each.found_by],
            markerfacecolor=COLOURS[each.dtype] if filled else "white",
            markersize=6,
            elinewidth=0.8,
            linestyle="none",
        )
    axes.plot(
        chosen.speedup, max(chosen.held_out.kl, floor), "o", markersize=15, markerfacecolor="none", color="black"
    )
    axes.set_yscale("log")
    axes.set_xlabel("speed-up over the unmerged model (float32, padded), measured")
    axes.set_ylabel("KL divergence of the scores, nats (held-out clips)")
    axes.xaxis.set_major_formatter("{x:g}×")
    axes.grid()
    axes.set_title(title)
    for dtype in dict.fromkeys(each.dtype for each in candidates):
        axes.plot([], [], "s", color=COLOURS[dtype], label=dtype, linestyle="none")
    for found_by in dict.fromkeys(each.found_by for each in candidates):
        axes.plot([], [], MARKERS[found_by], color="0.3", label=NAMES[found_by], linestyle="none")
    if both:
        axes.plot([], [], "o", color="0.3", markerfacecolor="white", label="padded (open)", linestyle="none")
    axes.plot([], [], "o", markersize=11, markerfacecolor="none", color="black", label="chosen", linestyle="none")
    figure.legend(loc="outside right upper")
    figure.savefig(path)
