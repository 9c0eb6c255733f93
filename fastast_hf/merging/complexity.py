"""What a model costs: tokens and multiply-accumulates (MACs) of each layer, from its config alone.

MACs are those of the matrix products and the convolution, for one clip; normalisation, softmax and the gathering of
merged tokens are not counted. Choosing whom to merge is a matrix product too, but it is kept apart: without it, the
ratio of a stock model's MACs to a merging model's is the limit that its measured speed-up can come near.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from transformers import ASTConfig

from ..model.configuration_fastast import FastASTConfig
from ..model.feature_extraction_fastast import num_frames as frames_of_samples
from ..model.feature_extraction_fastast import window_samples
from ..model.token_merging import NUM_PREFIX_TOKENS, capped_merges, merges_per_layer
from ..showing import html_table

SAMPLING_RATE = 16000


@dataclass(frozen=True)
class LayerComplexity:
    """Cost of one layer, which merges between attention and MLP.

    Attributes:
        index: Of the layer, from 0.
        tokens_in: N, the two prefix tokens among them.
        tokens_merged: Tokens merged away, after the 50 % cap.
        attention_macs: Projections, scores and weighted values, on N tokens.
        mlp_macs: Of the MLP, on N - `tokens_merged` tokens.
        matching_macs: Similarities of the even to the odd tokens; 0 where nothing is merged. Not part of `macs`.
        activations: Numbers that its matrix products, matching left out, write.
    """

    index: int
    tokens_in: int
    tokens_merged: int
    attention_macs: int
    mlp_macs: int
    matching_macs: int
    activations: int

    @property
    def macs(self) -> int:
        """MACs of attention and MLP."""
        return self.attention_macs + self.mlp_macs


@dataclass(frozen=True, repr=False)
class Complexity:
    """Cost of a model on one clip; see [`complexity`].

    Attributes:
        layers: One [`LayerComplexity`] each.
        patch_macs: Of the patch embedding.
        head_macs: Of the classification head, on the one pooled token.
        tokens_out: Tokens left after the last layer.
        stock_macs: `macs` of the same model with r = 0.
        activations: Numbers that matrix products and the convolution write.
    """

    layers: tuple[LayerComplexity, ...]
    patch_macs: int
    head_macs: int
    tokens_out: int
    stock_macs: int
    activations: int

    @property
    def macs(self) -> int:
        """MACs of patch embedding, layers and head."""
        return self.patch_macs + sum(layer.macs for layer in self.layers) + self.head_macs

    @property
    def speedup(self) -> float:
        """MACs of stock AST divided by this model's: the limit of what merging can gain."""
        return self.stock_macs / self.macs

    def __repr__(self) -> str:
        return (
            f"Complexity({self.layers[0].tokens_in} tokens in, {self.tokens_out} left, {self._gmacs(self.macs)} of "
            f"{self._gmacs(self.stock_macs)} GMACs, MAC ratio {self.speedup:.2f})"
        )

    def _gmacs(self, macs: int) -> str:
        """With as many decimals as show four digits of the stock model's, and two or more."""
        return f"{macs / 1e9:.{max(2, 3 - math.floor(math.log10(self.stock_macs / 1e9)))}f}"

    def _repr_html_(self) -> str:
        rows = [[layer.index, layer.tokens_in, layer.tokens_merged, self._gmacs(layer.macs)] for layer in self.layers]
        return html_table(repr(self), rows, ["layer", "tokens in", "merged", "GMACs"])

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each layer: the fields of [`LayerComplexity`] and its MACs.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        return pd.DataFrame([{**asdict(layer), "macs": layer.macs} for layer in self.layers]).set_index("index")


def complexity(
    config: ASTConfig,
    tome_r: int | Sequence[int] | None = None,
    tome_schedule: str | None = None,
    num_frames: int | None = None,
    seconds: float | None = None,
) -> Complexity:
    """Tokens and MACs of each layer, for one clip. Builds no weights.

    Args:
        config: Of a FastAST or any AST model.
        tome_r: Tokens merged in every layer, or a list of one number per layer; the config's if None.
        tome_schedule: `"constant"`, `"decreasing"` or `"increasing"`; the config's if None.
        num_frames: Frames of the clip; the config's `max_length` if None.
        seconds: The clip's length in seconds, instead: the frames that the front end makes of it at 16 kHz, with no
            padding after them.

    Raises:
        ValueError: Both lengths are given, the clip is shorter than one patch, or `tome_r` or its schedule is wrong.

    Example:
        >>> cost = complexity(ASTConfig(max_length=512), tome_r=40)
        >>> [layer.tokens_in for layer in cost.layers[:3]], round(cost.speedup, 2)
        ([602, 562, 522], 1.74)
    """
    if not isinstance(config, FastASTConfig):
        config = FastASTConfig.from_ast(config)
    grid = config.patch_grid_of(clip_frames(config, num_frames, seconds))
    tome_r = config.tome_r if tome_r is None else tome_r
    schedule = config.tome_schedule if tome_schedule is None else tome_schedule
    num_layers = config.num_hidden_layers
    merges = merges_per_layer(tome_r, num_layers, schedule)

    num_patches = grid[0] * grid[1]
    patch_macs = num_patches * config.hidden_size * config.patch_size**2
    head_macs = config.hidden_size * config.num_labels
    layers = _layers(config, NUM_PREFIX_TOKENS + num_patches, merges)
    stock = _layers(config, NUM_PREFIX_TOKENS + num_patches, [0] * num_layers)
    return Complexity(
        layers=layers,
        patch_macs=patch_macs,
        head_macs=head_macs,
        tokens_out=layers[-1].tokens_in - layers[-1].tokens_merged,
        stock_macs=patch_macs + sum(layer.macs for layer in stock) + head_macs,
        activations=num_patches * config.hidden_size + sum(layer.activations for layer in layers) + config.num_labels,
    )


def solve_tome_r(
    config: ASTConfig,
    speedup: float,
    tome_schedule: str | None = None,
    num_frames: int | None = None,
    seconds: float | None = None,
) -> int:
    """The smallest `tome_r` with which stock AST's MACs are at least `speedup` times the merging model's.

    Args:
        config: Of a FastAST or any AST model.
        speedup: The MAC ratio wanted, 1 or more.
        tome_schedule: As in [`complexity`], like the two lengths.
        num_frames: Frames of the clip.
        seconds: The clip's length, instead.

    Raises:
        ValueError: The speed-up is below 1 or no number, or above what the 50 % cap leaves within reach; and what
            [`complexity`] raises.

    Example:
        >>> solve_tome_r(ASTConfig(max_length=512), speedup=1.5)
        32
    """
    if not speedup >= 1:  # this way round, NaN is caught too
        raise ValueError(f"a speed-up of {speedup:g} is asked for: give 1 or more, which is how many times as fast")

    def reached(r: int) -> float:
        return complexity(config, r, tome_schedule, num_frames, seconds).speedup

    # Tokens times layers: with this r a layer merges all that it may, whatever the schedule, unless it is given none.
    stock = complexity(config, 0, tome_schedule, num_frames, seconds)
    largest = stock.tokens_out * len(stock.layers)
    if speedup > reached(largest):
        # Rounded down, so that the number in the message can be asked for.
        highest = math.floor(100 * reached(largest)) / 100
        raise ValueError(
            f"no r reaches a speed-up of {speedup:g} here: a layer merges at most half of its patch tokens, and that "
            f"allows {highest:.2f}; ask for less, or for another schedule"
        )
    # A larger r never leaves more tokens in any layer, so the ratio never falls.
    return bisect_left(range(largest + 1), speedup, key=reached)


def clip_frames(config: ASTConfig, num_frames: int | None = None, seconds: float | None = None) -> int:
    """Frames of a clip whose length is given in frames, in seconds at 16 kHz, or not at all (`config.max_length`).

    Raises:
        ValueError: Both are given, or `seconds` is shorter than one patch.

    Example:
        >>> clip_frames(ASTConfig(), seconds=5)
        498
    """
    if seconds is None:
        return config.max_length if num_frames is None else num_frames
    if num_frames is not None:
        raise ValueError(f"num_frames={num_frames} and seconds={seconds:g} are both given: give one clip length")
    shortest = window_samples(config.patch_size, SAMPLING_RATE)
    if not shortest <= seconds * SAMPLING_RATE < math.inf:
        raise ValueError(
            f"a clip of {seconds:g} seconds is asked for: one patch of {config.patch_size} frames takes "
            f"{shortest / SAMPLING_RATE:g} seconds; give that or more"
        )
    return frames_of_samples(round(seconds * SAMPLING_RATE), SAMPLING_RATE)


def _layers(config: FastASTConfig, num_tokens: int, merges: Sequence[int]) -> tuple[LayerComplexity, ...]:
    """The cost of each layer, if it is asked to merge `merges`."""
    hidden, intermediate = config.hidden_size, config.intermediate_size
    head_dim = getattr(config, "head_dim", hidden // config.num_attention_heads)  # as ASTAttention has it
    width = config.num_attention_heads * head_dim
    compared = head_dim if config.tome_metric == "keys" else hidden
    layers = []
    for index, asked in enumerate(merges):
        merged = capped_merges(num_tokens, asked)
        even, odd = (num_tokens - 1) // 2, (num_tokens - 2) // 2  # without the prefix
        layers.append(
            LayerComplexity(
                index=index,
                tokens_in=num_tokens,
                tokens_merged=merged,
                attention_macs=4 * num_tokens * hidden * width + 2 * num_tokens**2 * width,
                mlp_macs=2 * (num_tokens - merged) * hidden * intermediate,
                matching_macs=even * odd * compared if merged else 0,
                activations=num_tokens * (4 * width + hidden)
                + config.num_attention_heads * num_tokens**2
                + (num_tokens - merged) * (intermediate + hidden),
            )
        )
        num_tokens -= merged
    return tuple(layers)
