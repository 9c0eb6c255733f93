"""Tokens and MACs from a config alone: against counted operations, numbers worked out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import ASTConfig, ASTForAudioClassification

from fastast_hf import FastASTConfig, FastASTForAudioClassification
from fastast_hf.merging.complexity import clip_frames, complexity, solve_tome_r

# AST-base, worked out apart from this package: frames, merges, MAC ratio of the whole model and of its layers alone.
ROUNDED_FROM_40_TO_0 = [40, 36, 33, 29, 25, 22, 18, 15, 11, 7, 4, 0]
ROUNDED_FROM_80_TO_0 = [80, 73, 65, 58, 51, 44, 36, 29, 22, 15, 7, 0]
RATIOS = [
    (1024, 20, 1.13, 1.13),
    (1024, 40, 1.29, 1.29),
    (512, 20, 1.28, 1.28),
    (512, 40, 1.74, 1.74),
    (128, 20, 3.24, 3.26),
    (128, 40, 5.68, 5.74),
    (1024, ROUNDED_FROM_40_TO_0, 1.19, 1.19),
    (1024, ROUNDED_FROM_80_TO_0, 1.44, 1.44),
    (512, ROUNDED_FROM_40_TO_0, 1.41, 1.42),
    (512, ROUNDED_FROM_80_TO_0, 2.32, 2.32),
]
TINY = {
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 5,
    "num_attention_heads": 3,
    "max_length": 60,
    "num_mel_bins": 32,
    "num_labels": 5,
}
STRIDES = [{}, {"frequency_stride": 16, "time_stride": 16}, {"frequency_stride": 6, "time_stride": 9}]
# Of 2 + 2 * 5 tokens: even and odd counts, capped ones, and with 40 a last layer that is left nothing to merge.
MERGES = [1, 3, 40, [0, 4, 1, 0, 9], [2, 0, 0, 0, 0]]
SECONDS = [(0.175, 16), (1, 98), (5, 498), (5.12, 510), (10, 998), (10.24, 1022)]
TOO_SHORT = [
    ({"num_frames": 15}, "15 frames"),
    ({"num_frames": 0}, "0 frames"),
    ({"num_frames": -3}, "-3 frames"),
    ({"seconds": 0.17}, "0.175"),
    ({"seconds": 0.0}, "0.175"),
    ({"seconds": -1.0}, "-1 seconds"),
    ({"seconds": math.nan}, "nan seconds"),
    ({"seconds": math.inf}, "inf seconds"),
]
WANTED = [1.0, 1.01, 1.5, 2.0, 3.7]


def counted_flops(model: torch.nn.Module, frames: int) -> int:
    """What torch counts in a forward pass over one clip: two floating-point operations for each MAC."""
    # With gradients on: the counter does not know the oneDNN operator that inference takes on a CPU.
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.randn(1, frames, model.config.num_mel_bins))
    return counter.get_total_flops()


@pytest.mark.parametrize("strides", STRIDES)
def test_macs_are_half_the_flops_counted_in_stock_ast(strides: dict[str, int]) -> None:
    config = ASTConfig(**TINY, **strides)
    stock = ASTForAudioClassification._from_config(config, attn_implementation="eager")
    assert counted_flops(stock, 60) == 2 * complexity(config).macs


@pytest.mark.parametrize("tome_r", MERGES)
@pytest.mark.parametrize(("frames", "metric"), [(60, "keys"), (75, "keys"), (60, "hidden_states")])
def test_macs_with_matching_are_half_the_flops_counted_in_fastast(
    frames: int, metric: str, tome_r: int | list[int]
) -> None:
    config = FastASTConfig(**TINY, tome_r=tome_r, tome_metric=metric)
    model = FastASTForAudioClassification._from_config(config, attn_implementation="eager")
    cost = complexity(config, num_frames=frames)
    matching = sum(layer.matching_macs for layer in cost.layers)
    assert matching > 0
    assert counted_flops(model, frames) == 2 * (cost.macs + matching)


class Outputs(TorchDispatchMode):
    """Counts the numbers that matrix products and convolutions write."""

    def __init__(self) -> None:
        super().__init__()
        self.written = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        aten = torch.ops.aten
        if func.overloadpacket in (aten.addmm, aten.bmm, aten.baddbmm, aten.convolution):
            self.written += outputs.numel()
        return outputs


@pytest.mark.parametrize("tome_r", [0, 3, 1000])
def test_activations_are_the_numbers_that_products_write(tome_r: int) -> None:
    config = FastASTConfig(**TINY, tome_r=tome_r)
    model = FastASTForAudioClassification._from_config(config, attn_implementation="eager")
    cost = complexity(config, num_frames=60)
    # What matching writes is not counted: the similarities of the even to the odd tokens.
    pairs = [((layer.tokens_in - 1) // 2, (layer.tokens_in - 2) // 2, layer.tokens_merged) for layer in cost.layers]
    matching = sum(even * odd for even, odd, merged in pairs if merged)
    with Outputs() as outputs:
        model.eval()(torch.randn(1, 60, config.num_mel_bins))
    assert outputs.written == cost.activations + matching


@pytest.mark.parametrize("tome_r", MERGES)
def test_macs_are_counted_alike_with_and_without_gradients(tome_r: int | list[int]) -> None:
    config = FastASTConfig(**TINY, tome_r=tome_r)
    model = FastASTForAudioClassification._from_config(config, attn_implementation="eager")
    with torch.no_grad():  # by oneDNN, where it is, which is tried out at first use
        counted_flops(model, 60)
        without = counted_flops(model, 60)
    assert without == counted_flops(model, 60)


@pytest.mark.parametrize("tome_r", MERGES)
def test_tokens_are_those_of_the_model(tome_r: int | list[int]) -> None:
    config = FastASTConfig(**TINY)
    model = FastASTForAudioClassification(config)
    cost = complexity(config, tome_r, num_frames=90)
    assert [layer.tokens_in for layer in cost.layers] == model.token_schedule(90, tome_r)
    encoded = model.audio_spectrogram_transformer(torch.zeros(1, 90, 32), tome_r=tome_r).last_hidden_state
    assert cost.tokens_out == encoded.shape[1]


@pytest.mark.parametrize(("frames", "tome_r", "ratio", "layers_ratio"), RATIOS)
def test_mac_ratio_of_ast_base(frames: int, tome_r: int | list[int], ratio: float, layers_ratio: float) -> None:
    cost, stock = (complexity(ASTConfig(max_length=frames), r) for r in (tome_r, 0))
    assert round(cost.speedup, 2) == round(stock.macs / cost.macs, 2) == ratio
    of_layers, of_stock_layers = (sum(layer.macs for layer in c.layers) for c in (cost, stock))
    assert round(of_stock_layers / of_layers, 2) == layers_ratio


def test_one_layer_worked_by_hand() -> None:
    # 4 patches and 2 prefix tokens of width 4, of which 2 heads take 2 each; one pair is merged.
    config = FastASTConfig(
        hidden_size=4, num_attention_heads=2, intermediate_size=10, num_hidden_layers=1, patch_size=2,
        frequency_stride=2, time_stride=2, num_mel_bins=4, max_length=4, num_labels=3, tome_r=1,
    )  # fmt: skip
    (layer,) = complexity(config).layers
    assert (layer.tokens_in, layer.tokens_merged) == (6, 1)
    assert layer.attention_macs == 6 * 4 * 4 * 4 + 2 * 6 * 6 * 4
    assert layer.mlp_macs == 2 * 5 * 4 * 10
    assert layer.matching_macs == 2 * 2 * 2  # CLS and distillation take no part
    assert layer.macs == layer.attention_macs + layer.mlp_macs
    cost = complexity(config)
    assert (cost.patch_macs, cost.head_macs, cost.tokens_out) == (4 * 4 * 2 * 2, 4 * 3, 5)
    assert cost.macs == cost.patch_macs + layer.macs + cost.head_macs
    assert cost.stock_macs == cost.macs + 2 * 1 * 4 * 10


def test_layers_that_merge_nothing_match_nothing() -> None:
    cost = complexity(FastASTConfig(**TINY), [0, 2, 0, 0, 1])
    assert [layer.matching_macs > 0 for layer in cost.layers] == [False, True, False, False, True]


def test_settings_of_the_config_hold_unless_given() -> None:
    config = FastASTConfig(max_length=512, tome_r=20, tome_schedule="decreasing")
    assert complexity(config) == complexity(ASTConfig(max_length=512), 20, "decreasing")
    assert complexity(config, 0).speedup == 1
    assert complexity(config, tome_schedule="increasing") == complexity(ASTConfig(), 20, "increasing", 512)


def test_schedules_spend_an_r_early_or_late() -> None:
    decreasing, constant, increasing = (
        complexity(ASTConfig(max_length=512), 20, schedule) for schedule in ("decreasing", "constant", "increasing")
    )
    assert decreasing.speedup > constant.speedup > increasing.speedup
    assert decreasing.layers[0].tokens_merged == increasing.layers[-1].tokens_merged == 40
    assert decreasing.layers[-1].tokens_merged == increasing.layers[0].tokens_merged == 0


@pytest.mark.parametrize(("seconds", "frames"), SECONDS)
def test_seconds_are_the_frames_the_front_end_makes(seconds: float, frames: int) -> None:
    assert clip_frames(ASTConfig(), seconds=seconds) == frames
    assert complexity(ASTConfig(), 5, seconds=seconds) == complexity(ASTConfig(), 5, num_frames=frames)


@pytest.mark.parametrize(("length", "told"), TOO_SHORT)
def test_lengths_without_a_patch_are_refused_in_one_line(length: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told) as error:
        complexity(ASTConfig(), **length)
    assert "\n" not in str(error.value)


def test_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one clip length"):
        complexity(ASTConfig(), num_frames=100, seconds=1)


def test_config_is_left_as_it_was() -> None:
    config = FastASTConfig(max_length=128, tome_r=7)
    before = config.to_dict()
    solve_tome_r(config, 2.0, "decreasing", seconds=3)
    assert config.to_dict() == before


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("schedule", ["constant", "decreasing", "increasing"])
def test_solved_r_is_the_smallest_that_reaches_the_speedup(schedule: str, wanted: float) -> None:
    config = ASTConfig(max_length=512)
    r = solve_tome_r(config, wanted, schedule)
    assert complexity(config, r, schedule).speedup >= wanted
    assert r == 0 if wanted == 1 else complexity(config, r - 1, schedule).speedup < wanted


def test_solving_agrees_with_trying_each_r() -> None:
    config = FastASTConfig(max_length=128, num_hidden_layers=4, tome_schedule="decreasing")
    ratios = [complexity(config, r).speedup for r in range(200)]
    assert ratios == sorted(ratios)
    for wanted in (1.2, ratios[9], 1.9, max(ratios)):
        assert solve_tome_r(config, wanted) == next(r for r, ratio in enumerate(ratios) if ratio >= wanted)


def test_solving_takes_the_place_of_a_list_in_the_config() -> None:
    config = FastASTConfig(max_length=128, num_hidden_layers=2, tome_r=[3, 4])
    assert solve_tome_r(config, 1.2) == solve_tome_r(FastASTConfig(max_length=128, num_hidden_layers=2), 1.2)


@pytest.mark.parametrize("schedule", ["constant", "decreasing", "increasing"])
def test_unreachable_speedup_is_refused_with_the_highest_there_is(schedule: str) -> None:
    config = ASTConfig(max_length=128)
    with pytest.raises(ValueError, match="half of its patch tokens") as error:
        solve_tome_r(config, 50.0, schedule)
    assert "\n" not in str(error.value)
    highest = math.floor(100 * complexity(config, 10**6, schedule).speedup) / 100
    assert f"allows {highest:.2f};" in str(error.value)
    solve_tome_r(config, highest, schedule)  # what the message offers can be had


@pytest.mark.parametrize("wanted", [0.99, 0.0, -2.0, math.nan, math.inf])
def test_speedups_that_are_none_are_refused(wanted: float) -> None:
    with pytest.raises(ValueError, match=f"speed-up of {wanted:g} "):
        solve_tome_r(ASTConfig(max_length=128), wanted)
