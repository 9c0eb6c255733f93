"""The whole model: stock AST at r = 0, the float64 reference at any r, and the ways to say r."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import reference
import torch
from torch import Tensor
from transformers import ASTForAudioClassification

from fastast_hf.model.modeling_fastast import FastASTForAudioClassification, FastASTModel

Make = Callable[..., Any]
BASE = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "num_mel_bins": 128, "num_labels": 7}
MERGES = [
    # r for each of three layers, on 50 tokens
    [0, 0, 0],
    [4, 4, 4],
    [7, 0, 12],
    [23, 100, 100],
    [100, 100, 100],
]
BAD_CALLS = [
    # r given to set_tome_r and to a call; what the message says
    (-1, "tome_r is -1: the tokens to merge in a layer are a whole number, 0 or more"),
    ([1, 2], "tome_r lists 2 numbers for 3 layers: give one per layer, or one int"),
    ([1, -2, 3], "the tokens to merge in a layer are a whole number, 0 or more"),
    ([1, True, 3], "the tokens to merge in a layer are a whole number, 0 or more"),
    (True, "tome_r is True: give an int, or a list of one int per layer"),
    ("8", "tome_r is '8': give an int, or a list of one int per layer"),
    (1.5, "tome_r is 1.5: give an int, or a list of one int per layer"),
]


def assert_equals_stock(stock: ASTForAudioClassification, fast: FastASTForAudioClassification, clips: Tensor) -> None:
    """Logits and every hidden state, bit for bit."""
    with torch.no_grad():
        expected, got = stock(clips, output_hidden_states=True), fast(clips, output_hidden_states=True)
        assert torch.equal(got.logits, expected.logits)
        assert len(got.hidden_states) == len(expected.hidden_states) == stock.config.num_hidden_layers + 1
        for mine, theirs in zip(got.hidden_states, expected.hidden_states, strict=True):
            assert torch.equal(mine, theirs)


@pytest.mark.parametrize("frames", [128, 512, 1024])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_r_0_is_stock_ast_bit_for_bit(
    frames: int, implementation: str, make_ast: Make, make_fastast: Make, spectrogram: Make
) -> None:
    fields = {"max_length": frames, "num_mel_bins": 128, "attn_implementation": implementation}
    stock, clips = make_ast(**fields), spectrogram(frames=frames, mel_bins=128)
    assert_equals_stock(stock, make_fastast(**fields), clips)
    encoder = stock.audio_spectrogram_transformer
    with torch.no_grad():
        expected, got = encoder(clips), FastASTModel.from_ast(encoder)(clips)
    assert torch.equal(got.last_hidden_state, expected.last_hidden_state)
    assert torch.equal(got.pooler_output, expected.pooler_output)


@pytest.mark.parametrize("frames", [128, 512, 1024])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_r_0_is_stock_ast_bit_for_bit_at_base_size(
    frames: int, implementation: str, make_ast: Make, spectrogram: Make
) -> None:
    stock = make_ast(**BASE, num_hidden_layers=2, max_length=frames, attn_implementation=implementation)
    fast = FastASTForAudioClassification.from_ast(stock)
    assert_equals_stock(stock, fast, spectrogram(batch=1, frames=frames, mel_bins=128))


@pytest.mark.slow
@pytest.mark.parametrize("frames", [128, 512, 1024])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_r_0_is_stock_ast_bit_for_bit_at_full_depth(
    frames: int, implementation: str, make_ast: Make, spectrogram: Make
) -> None:
    stock = make_ast(**BASE, num_hidden_layers=12, max_length=frames, attn_implementation=implementation)
    fast = FastASTForAudioClassification.from_ast(stock)
    assert_equals_stock(stock, fast, spectrogram(batch=1, frames=frames, mel_bins=128))


@pytest.mark.parametrize("merges", MERGES)
@pytest.mark.parametrize(("proportional", "metric"), [(True, "keys"), (False, "keys"), (True, "hidden_states")])
def test_model_equals_the_reference(
    merges: list[int], proportional: bool, metric: str, make_fastast: Make, spectrogram: Make
) -> None:
    model = make_fastast(tome_r=merges, tome_proportional_attention=proportional, tome_metric=metric)
    clips = spectrogram()
    with torch.no_grad():
        got = model(clips, output_hidden_states=True, output_merge_map=True)
    for clip in range(len(clips)):
        expected = reference.ReferenceAST.of(model)(clips[clip].numpy(), merges, proportional)
        np.testing.assert_allclose(got.logits[clip], expected.logits, rtol=0, atol=1e-5)
        for hidden, tokens in zip(got.hidden_states, expected.tokens, strict=True):
            np.testing.assert_allclose(hidden[clip], [token.value for token in tokens], rtol=0, atol=1e-5)
        for layer in range(3):
            assert got.merge_map[layer][clip].tolist() == expected.merge_map(layer)


def test_proportional_attention_matters_and_merging_does(make_fastast: Make, spectrogram: Make) -> None:
    clips = spectrogram()
    with torch.no_grad():
        plain, merged = make_fastast()(clips).logits, make_fastast(tome_r=8)(clips).logits
        unweighted = make_fastast(tome_r=8, tome_proportional_attention=False)(clips).logits
    for one, other in ((plain, merged), (merged, unweighted), (plain, unweighted)):
        assert (one - other).abs().max() > 1e-2


def test_every_way_to_say_r_gives_the_same(make_fastast: Make, spectrogram: Make) -> None:
    clips, model = spectrogram(), make_fastast(tome_r=6)
    with torch.no_grad():
        expected = model(clips).logits
        model.set_tome_r([6, 6, 6])
        assert torch.equal(model(clips).logits, expected)
        assert not torch.equal(model(clips, tome_r=2).logits, expected)
        assert torch.equal(model(clips).logits, expected)  # a call's own r leaves nothing behind
        model.set_tome_r(0)
        for r in (6, [6, 6, 6], (6, 6, 6)):
            assert torch.equal(model(clips, tome_r=r).logits, expected)
        assert torch.equal(
            model.audio_spectrogram_transformer(clips, tome_r=6).pooler_output,
            make_fastast(tome_r=6).audio_spectrogram_transformer(clips).pooler_output,
        )
        model.set_tome_r(3, "decreasing")
        assert torch.equal(model(clips).logits, model(clips, tome_r=[6, 3, 0]).logits)
        model.set_tome_r(3, "increasing")
        assert torch.equal(model(clips).logits, model(clips, tome_r=[0, 3, 6]).logits)
        model.set_tome_r(4)
        assert model.config.tome_schedule == "increasing"


@pytest.mark.parametrize(
    ("r", "schedule", "expected"),
    [
        (20, "constant", [146, 126, 106, 86, 66, 46, 26, 14, 8, 5, 4, 3]),
        (40, "constant", [146, 106, 66, 34, 18, 10, 6, 4, 3, 3, 3, 3]),
        (8, "decreasing", [146, 130, 115, 102, 90, 80, 71, 64, 58, 54, 51, 50]),
        (8, "increasing", [146, 146, 145, 142, 138, 132, 125, 116, 106, 94, 81, 66]),
        ([0] * 11 + [30], "constant", [146] * 12),
    ],
)
def test_token_schedule_says_what_each_layer_gets(
    r: int | list[int], schedule: str, expected: list[int], make_fastast: Make, spectrogram: Make
) -> None:
    model = make_fastast(num_hidden_layers=12, num_mel_bins=128, tome_r=r, tome_schedule=schedule)
    assert model.token_schedule() == model.token_schedule(128) == model.token_schedule(tome_r=r) == expected
    with torch.no_grad():
        hidden_states = model(spectrogram(1, mel_bins=128), output_hidden_states=True).hidden_states
    assert [hidden.shape[1] for hidden in hidden_states[:-1]] == expected
    assert model.token_schedule(1024)[0] == 1214
    with pytest.raises(ValueError, match="a clip of 0 frames is shorter than one patch"):
        model.token_schedule(0)


@pytest.mark.parametrize(("r", "message"), BAD_CALLS)
def test_a_wrong_r_is_refused_in_one_line(r: Any, message: str, make_fastast: Make, spectrogram: Make) -> None:
    model = make_fastast(tome_r=2)
    for call in (lambda: model.set_tome_r(r), lambda: model(spectrogram(), tome_r=r)):
        with pytest.raises(ValueError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert model.config.tome_r == 2
    with pytest.raises(ValueError, match="choose one of constant, decreasing, increasing"):
        model.set_tome_r(3, "linear")
    assert (model.config.tome_r, model.config.tome_schedule) == (2, "constant")


@pytest.mark.parametrize("shape", [(128, 48), (2, 128, 64), (2, 1, 128, 48)])
def test_a_spectrogram_of_the_wrong_shape_is_refused(shape: tuple[int, ...], make_fastast: Make) -> None:
    with pytest.raises(
        ValueError, match=r"^input_values has shape \(.*\); FastAST takes \(batch, frames, 48 mel bins\)"
    ):
        make_fastast()(torch.zeros(shape))


def test_a_clip_shorter_than_a_patch_is_refused(make_fastast: Make, spectrogram: Make) -> None:
    with pytest.raises(ValueError, match=r"^a clip of 15 frames is shorter than one patch of 16: pad it"):
        make_fastast()(spectrogram(frames=15))


@pytest.mark.parametrize("r", [0, 8, 100])
def test_a_clip_does_not_depend_on_its_batch(r: int, make_fastast: Make, spectrogram: Make) -> None:
    model, clips = make_fastast(tome_r=r), spectrogram(batch=7)
    clips[3] *= 1000
    with torch.no_grad():
        together = model(clips).logits
        for clip in range(len(clips)):
            torch.testing.assert_close(model(clips[clip : clip + 1]).logits[0], together[clip], rtol=1e-5, atol=2e-6)
        torch.testing.assert_close(model(clips.flip(0)).logits.flip(0), together, rtol=1e-5, atol=2e-6)


def test_same_seed_gives_the_same_bits(make_fastast: Make, spectrogram: Make) -> None:
    def gradients() -> list[Tensor]:
        model = make_fastast(tome_r=8, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1).train()
        torch.manual_seed(0)
        model(spectrogram(), labels=torch.tensor([0, 3])).loss.backward()
        return [parameter.grad for parameter in model.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(gradients(), gradients(), strict=True))


def test_eight_threads_at_eight_r_give_what_one_thread_gives(make_fastast: Make, spectrogram: Make) -> None:
    model, clips = make_fastast(tome_r=5), spectrogram(batch=3)

    def call(r: int) -> tuple[Tensor, ...]:
        with torch.no_grad():
            out = model(clips, tome_r=r, output_hidden_states=True, output_merge_map=True)
        return out.logits, *out.hidden_states, *out.merge_map

    alone = [call(r) for r in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(call, list(range(8)) * 10))
    for i, out in enumerate(together):
        assert all(torch.equal(one, other) for one, other in zip(out, alone[i % 8], strict=True))
    assert model.config.tome_r == 5
