"""The merge map over the spectrogram: which patches have become one token, layer by layer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..model.feature_extraction_fastast import hop_samples, num_frames
from ..onnx.runtime import is_onnx_file
from ..plotting import BLUE, GREEN, ORANGE, PINK, RED, SKY, styled
from ..tagging.tagger import Tagger

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

YELLOW = "#F0E442"  # Okabe and Ito's seventh, for areas alone: lines of it are too pale
COLOURS = (ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK)  # in three shades
SHADES = (1.0, 0.6, 1.35)
SHOWN_LAYERS = 3
SHOWN_HERTZ = (200, 500, 1000, 2000, 4000, 8000, 16000)
PADDING_SECONDS = 0.05  # less of it is not worth a word


@dataclass(frozen=True)
class MergedClip:
    """A clip's way through a model.

    Attributes:
        spectrogram: (T, mel bins), what the model got.
        maps: (patches along frequency, along time) of token indices for each layer asked for, by its index.
        tokens: Entering each layer.
        labels: The best ones of the whole recording, as [`Tagger`] gives them.
        hertz: The middle of each mel bin.
        seconds: Length of the spectrogram.
        heard_seconds: Of the recording in it; the rest is padding.
        windows: How many of this length the whole recording takes; the first one is shown.
        frame_seconds: From one frame to the next.
        patch: Side of a patch, in frames and mel bins.
        strides: From one patch to the next along frequency and time.
        tome_r: Merged in every layer.
    """

    spectrogram: np.ndarray
    maps: dict[int, np.ndarray]
    tokens: list[int]
    labels: list[dict[str, Any]]
    hertz: np.ndarray
    seconds: float
    heard_seconds: float
    windows: int
    frame_seconds: float
    patch: int
    strides: tuple[int, int]
    tome_r: int | tuple[int, ...]


def tagger_that_merges(model: str | None, **settings: Any) -> Tagger:
    """A tagger whose model tells what it merges.

    Args:
        model: Folder or Hub id of any AST; None for the bundled checkpoint.
        settings: As of [`Tagger`].

    Raises:
        ValueError: A file of `fastast export`, which does not tell.
    """
    if is_onnx_file(model):
        raise ValueError(f"{model} does not tell what it merges: give the checkpoint that it was exported from")
    return Tagger(model, **settings)


@torch.inference_mode()
def merge_clip(
    tagger: Tagger,
    source: str | os.PathLike[str] | tuple[Any, int],
    tome_r: int | None = None,
    layers: Sequence[int] | None = None,
) -> MergedClip:
    """Label a recording, and keep what was merged in its start, as long as the model's input.

    Args:
        tagger: Model and front end.
        source: What [`load_audio`] takes.
        tome_r: Instead of the model's own.
        layers: Indices of the layers whose maps are kept; None for three spread over the depth, the last one last.

    Raises:
        AudioError: The recording can't be used, or its scores are not finite.
        ValueError: A wrong `tome_r` or layer.

    Example:
        >>> clip = merge_clip(Tagger(), (np.sin(np.arange(16000) / 6), 16000), tome_r=8)
        >>> clip.maps[11].shape, clip.tokens[0], len(set(clip.maps[11].flat))
        ((12, 12), 146, 48)
    """
    model, extractor = tagger.model, tagger.feature_extractor
    depth = model.config.num_hidden_layers
    if layers is None:
        layers = sorted({depth * (n + 1) // SHOWN_LAYERS - 1 for n in range(SHOWN_LAYERS)} - {-1})
    windows = list(tagger.windows(source))
    features = tagger.features(windows[:1]).input_values
    wanted = {} if tome_r is None else {"tome_r": tome_r}
    outputs = model(features, output_merge_map=list(layers), **wanted)
    grid = model.config.patch_grid_of(features.shape[1])
    maps = [layer_map[0].cpu().numpy().reshape(grid) for layer_map in outputs.merge_map]
    r, rate = model.config.tome_r if tome_r is None else tome_r, extractor.sampling_rate
    return MergedClip(
        spectrogram=features[0].float().cpu().numpy(),
        maps=dict(zip(layers, maps, strict=True)),
        tokens=model.token_schedule(features.shape[1], **wanted),
        labels=tagger.labels(tagger.scores(windows, tome_r=tome_r), source),
        hertz=extractor.mel_hertz().numpy(),
        seconds=features.shape[1] * hop_samples(rate) / rate,
        heard_seconds=num_frames(len(windows[0]), rate) * hop_samples(rate) / rate,
        windows=len(windows),
        frame_seconds=hop_samples(rate) / rate,
        patch=model.config.patch_size,
        strides=(model.config.frequency_stride, model.config.time_stride),
        tome_r=r if isinstance(r, int) else tuple(r),
    )


@styled()
def plot_merges(clip: MergedClip, title: str | None = None) -> Figure:
    """The spectrogram with its labels, and for each layer kept its patches coloured by the token they ended in.

    Patches that are tokens of their own stay grey. Adjoining patches of one token have no line between them.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> clip = merge_clip(Tagger(), (np.sin(np.arange(16000) / 6), 16000), tome_r=8)
        >>> len(plot_merges(clip).axes)
        4
    """
    from matplotlib.figure import Figure

    count = 1 + len(clip.maps)
    figure = Figure(figsize=(7, 1.6 * count + 0.6), layout="constrained")
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    best = ", ".join(f"{label['label']} {label['score']:.2f}" for label in clip.labels[:3])
    heading = f"{title}: {best}" if title else best
    if clip.windows > 1:
        heading += f"\nlabels of the whole recording; its first {clip.seconds:.2f} s are shown"
    panels[0].set_title(heading, fontsize=9, parse_math=False)
    draw_spectrogram(panels[0], clip)
    for panel, layer in zip(panels[1:], clip.maps, strict=True):
        panel.set_title(draw_layer(panel, clip, layer), fontsize=9)
    legend = f"r = {clip.tome_r}: patches of one colour are one token, grey ones are tokens of their own"
    panels[-1].set_xlabel(f"seconds\n{legend}", fontsize=9)
    return figure


def draw_spectrogram(axes: Axes, clip: MergedClip) -> None:
    """Draw what the model got, with padding hatched."""
    _draw_spectrogram(axes, clip, "magma", 1.0)
    _hide_padding(axes, clip)


def draw_layer(axes: Axes, clip: MergedClip, layer: int) -> str:
    """Draw the patches after a layer, and say how many tokens they are in."""
    token_of_patch = clip.maps[layer]
    _draw_spectrogram(axes, clip, "gray", 0.9)
    _draw_tokens(axes, clip, token_of_patch)
    left = len(np.unique(token_of_patch))
    return f"after layer {layer + 1}: {token_of_patch.size} patches in {left} token{'s' * (left > 1)}"


def _draw_spectrogram(axes: Axes, clip: MergedClip, colours: str, alpha: float) -> None:
    bins = clip.spectrogram.shape[1]
    axes.imshow(
        clip.spectrogram.T, origin="lower", aspect="auto", cmap=colours, alpha=alpha, extent=(0, clip.seconds, 0, bins)
    )
    shown = [hertz for hertz in SHOWN_HERTZ if clip.hertz[0] < hertz < clip.hertz[-1]]
    axes.set_yticks(np.interp(shown, clip.hertz, np.arange(bins) + 0.5), [f"{hertz:g}" for hertz in shown])
    axes.set_ylabel("Hz", fontsize=8)
    axes.tick_params(labelsize=8)


def _hide_padding(axes: Axes, clip: MergedClip) -> None:
    """Hatch what is no sound; in the other panels the patches there are tokens like any others."""
    begin, end = clip.heard_seconds, clip.seconds
    if end - begin > PADDING_SECONDS:
        axes.axvspan(begin, end, facecolor="white", edgecolor="0.7", hatch="//", linewidth=0)
        text = axes.text((begin + end) / 2, clip.spectrogram.shape[1] / 2, "padding", fontsize=8, rotation=90)
        text.set(ha="center", va="center", bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})


def _draw_tokens(axes: Axes, clip: MergedClip, token_of_patch: np.ndarray) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    rows, columns = token_of_patch.shape
    sizes = np.bincount(token_of_patch.ravel())
    palette = [np.clip(np.multiply(to_rgb(name), shade), 0, 1) for shade in SHADES for name in COLOURS]
    rgb = np.array(palette)[(np.cumsum(sizes > 1) - 1) % len(palette)]
    colours = np.concatenate([rgb, np.where(sizes > 1, 0.6, 0.0)[:, None]], axis=1)
    # Patches overlap where the stride is less than their side: each is drawn as the cell around its middle.
    along_frequency, along_time = clip.strides
    left = (clip.patch - along_time) / 2 * clip.frame_seconds
    bottom = (clip.patch - along_frequency) / 2
    width, height = along_time * clip.frame_seconds, along_frequency
    extent = (left, left + columns * width, bottom, bottom + rows * height)
    axes.imshow(colours[token_of_patch], origin="lower", aspect="auto", extent=extent, interpolation="nearest")
    lines = []
    for row, column in zip(*np.nonzero(token_of_patch[:, 1:] != token_of_patch[:, :-1]), strict=True):
        x = left + (column + 1) * width
        lines.append([(x, bottom + row * height), (x, bottom + (row + 1) * height)])
    for row, column in zip(*np.nonzero(token_of_patch[1:] != token_of_patch[:-1]), strict=True):
        y = bottom + (row + 1) * height
        lines.append([(left + column * width, y), (left + (column + 1) * width, y)])
    axes.add_collection(LineCollection(lines, colors="white", linewidths=0.4, alpha=0.8))
    axes.set_xlim(0, clip.seconds)
    axes.set_ylim(0, clip.spectrogram.shape[1])
