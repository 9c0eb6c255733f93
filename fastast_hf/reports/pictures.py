"""The pictures of a report, as data that a page holds in itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..plotting import BLUE, styled
from .measures import Reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 60  # classes: more would be too small to read
MOST_COUNTED = 25  # classes up to which the counts are written into the picture
INK, SHADE = BLUE, "Blues"


@styled()
def confusion_picture(counts: NDArray[np.int64], labels: Sequence[str], order: Sequence[int]) -> str:
    """A confusion matrix, each row coloured by its shares.

    Args:
        counts: (C, C) clips, true by row and given by column.
        labels: Of the classes.
        order: In which they are drawn.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    drawn = counts[np.ix_(order, order)]
    shares = drawn / np.maximum(drawn.sum(axis=1, keepdims=True), 1)
    names = [labels[index] for index in order]
    size = 2.2 + max(1.6, 0.32 * len(names)) if len(names) <= MOST_COUNTED else 2.2 + 0.17 * len(names)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap=SHADE, vmin=0, vmax=1)
    small = 8 if len(names) <= MOST_COUNTED else 6
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=small, parse_math=False)  # a name may hold $
    axes.set_yticks(range(len(names)), names, fontsize=small, parse_math=False)
    axes.set_xlabel("given")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    axes.spines[:].set(color="0.8", visible=True)
    if len(names) <= MOST_COUNTED:
        for (row, column), count in np.ndenumerate(drawn):
            if count:
                colour = "white" if shares[row, column] > 0.5 else "0.2"
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8, color=colour)
    return _inline(figure)


@styled()
def reliability_picture(of: Reliability) -> str:
    """A reliability diagram: the share that is right against the score, and how many decisions have that score.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.4, 4.8), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    axes.plot((0, 1), (0, 1), color="0.7", linestyle="--", label="score = share that is right")
    axes.plot(of.sure, of.right, color=INK, marker="o", label="measured")
    axes.set_ylabel("share that is right")
    axes.set_ylim(-0.02, 1.02)
    axes.legend(loc="lower right")
    below.bar(of.sure, of.counts, width=0.04, color=INK)
    below.set_yscale("log")
    below.set_ylim(0.7, 2 * of.counts.max())
    below.minorticks_off()
    below.set_ylabel("how many")
    below.set_xlabel("score")
    below.set_xlim(-0.02, 1.02)
    return _inline(figure)


def _inline(figure: Figure) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return f"data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}"
