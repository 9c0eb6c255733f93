"""The merge map as a moving picture: the spectrogram, and what has become one token after each layer."""

from __future__ import annotations

import io
import os
from typing import Any

from ..plotting import styled
from .visualization import MergedClip, draw_layer, draw_spectrogram

SECONDS, LAST_SECONDS = 0.9, 3.0  # of a picture, and of the last one
SIZE = (8.0, 3.0)  # inches
DOTS = 110  # an inch


@styled()
def animate_merges(clip: MergedClip, path: str | os.PathLike[str], title: str = "") -> None:
    """Write a picture of the spectrogram and one for each layer that was kept, as one file that moves.

    Args:
        clip: What [`merge_clip`] kept.
        path: The file to write: .gif or .webp.
        title: Stands first on each picture.

    Raises:
        ImportError: matplotlib, which brings Pillow, is not installed.

    Example:
        >>> from fastast_hf.demo.visualization import merge_clip, tagger_that_merges
        >>> clip = merge_clip(tagger_that_merges(None, tome_r=8), ([0.0, 0.5] * 8000, 16000), layers=[0])
        >>> animate_merges(clip, "merged.gif")  # doctest: +SKIP
    """
    frames = [_picture(clip, layer, title) for layer in (None, *clip.maps)]
    milliseconds = [round(1000 * SECONDS)] * (len(frames) - 1) + [round(1000 * LAST_SECONDS)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, quality=70)


def _picture(clip: MergedClip, layer: int | None, title: str) -> Any:
    """One frame: the spectrogram, or what is merged after a layer."""
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=SIZE, dpi=DOTS, layout="constrained")
    axes = figure.subplots()
    if layer is None:
        patches = next(iter(clip.maps.values())).size
        said = f"the spectrogram, in {patches} patches"
        draw_spectrogram(axes, clip)
    else:
        said = draw_layer(axes, clip, layer)
    axes.set_title(f"{title}: {said}" if title else said, parse_math=False)
    axes.set_xlabel("seconds")
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return Image.open(written).convert("RGB")
