"""The merge map as a picture: its colours are the model's own map, and padding is where the sound has ended."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from fastast_hf import AudioError, Tagger, load_audio
from fastast_hf.demo.visualization import MergedClip, merge_clip, plot_merges

pytest.importorskip("matplotlib")
CLIP = Path(__file__).parents[1] / "data" / "speech" / "yes_slt.wav"
LAYERS = [0, 5, 11]
R = 6


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger()


@pytest.fixture(scope="module")
def clip(tagger: Tagger) -> MergedClip:
    return merge_clip(tagger, CLIP, R, LAYERS)


@torch.inference_mode()
def models_maps(tagger: Tagger) -> list[np.ndarray]:
    """What the model says of each patch, frequency first, as AST numbers its patches."""
    inputs = tagger.features([load_audio(CLIP)]).input_values
    outputs = tagger.model(inputs, tome_r=R, output_merge_map=LAYERS)
    return [layer[0].numpy().reshape(12, 12) for layer in outputs.merge_map]


def test_patches_share_a_colour_exactly_where_they_share_a_token(tagger: Tagger, clip: MergedClip) -> None:
    _, *panels = plot_merges(clip).axes
    assert [panel.get_title().partition(":")[0] for panel in panels] == [f"after layer {n + 1}" for n in LAYERS]
    for panel, tokens in zip(panels, models_maps(tagger), strict=True):
        (_, drawn) = panel.images
        colours = np.asarray(drawn.get_array())
        assert drawn.origin == "lower" and colours.shape == (12, 12, 4)
        shown = [{tuple(colour) for colour in colours[tokens == token]} for token in np.unique(tokens)]
        assert all(len(of_token) == 1 for of_token in shown)
        merged = [colour for (colour,) in shown if colour[3] > 0]
        assert len(merged) == sum(np.bincount(tokens.ravel()) > 1) > 0
        assert all(max(abs(np.subtract(one, other))) > 0.004 for one, other in combinations(merged, 2))
        assert f"144 patches in {len(shown)} token" in panel.get_title()


def test_patches_lie_where_the_model_took_them_from(clip: MergedClip) -> None:
    drawn = plot_merges(clip).axes[1].images[1]
    # Patches of 16 by 16 every 10 frames and bins: the cell of the first is around its middle, at 8.
    assert drawn.get_extent() == pytest.approx([0.03, 1.23, 3, 123])


def test_the_vertical_axis_is_in_hertz(tagger: Tagger) -> None:
    """A tone's brightest bin stands where the axis has its frequency."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(20720) / 16000)
    clip = merge_clip(tagger, (tone, 16000), R)
    for panel in plot_merges(clip).axes:
        ticks = dict(zip([tick.get_text() for tick in panel.get_yticklabels()], panel.get_yticks(), strict=True))
        assert list(ticks) == ["200", "500", "1000", "2000", "4000"] and panel.get_ylabel() == "Hz"
        assert ticks["1000"] == pytest.approx(clip.spectrogram.mean(axis=0).argmax() + 0.5, abs=1)


# Samples; from where to where the spectrogram is hatched, in seconds.
PADDING = [(16000, (0.98, 1.28)), (8000, (0.48, 1.28)), (20720, None), (40000, None)]


@pytest.mark.parametrize(("length", "hatched"), PADDING)
def test_padding_is_hatched_from_the_clips_end(
    length: int, hatched: tuple[float, float] | None, tagger: Tagger
) -> None:
    sound = np.sin(np.arange(length) / 6)
    spectrogram, *panels = plot_merges(merge_clip(tagger, (sound, 16000), R)).axes
    spans = [patch.get_extents().transformed(spectrogram.transData.inverted()) for patch in spectrogram.patches]
    assert [(span.x0, span.x1) for span in spans] == ([pytest.approx(hatched)] if hatched else [])
    assert [text.get_text() for text in spectrogram.texts] == (["padding"] if hatched else [])
    assert not any(panel.patches for panel in panels)


def test_title_and_labels_are_the_taggers(clip: MergedClip) -> None:
    best = Tagger(tome_r=R, top_k=3)(CLIP)
    assert [label["label"] for label in clip.labels[:3]] == [label["label"] for label in best]
    title = plot_merges(clip, "yes.wav").axes[0].get_title()
    assert title == "yes.wav: " + ", ".join(f"{label['label']} {label['score']:.2f}" for label in best)
    assert plot_merges(clip).axes[0].get_title() == title.removeprefix("yes.wav: ")


def test_by_default_three_layers_with_the_models_own_r(tagger: Tagger) -> None:
    clip = merge_clip(tagger, CLIP)
    assert list(clip.maps) == [3, 7, 11] and clip.tome_r == tagger.model.config.tome_r == 12
    assert clip.tokens == tagger.model.token_schedule(128)


REFUSED = [
    ((CLIP, -1), ValueError, "tome_r is -1"),
    ((CLIP, R, [12]), ValueError, "a list of their indices"),
    ((CLIP.with_name("gone.wav"),), AudioError, "no such file"),
    ((([0.0] * 9, 16000),), AudioError, "too short"),
]


@pytest.mark.parametrize(("arguments", "error", "said"), REFUSED, ids=[said for _, _, said in REFUSED])
def test_what_cannot_be_drawn_is_said(arguments: tuple, error: type[Exception], said: str, tagger: Tagger) -> None:
    with pytest.raises(error, match=said):
        merge_clip(tagger, *arguments)
