"""Frame masks: padding takes no part in attention and means, and goes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference
import torch
from torch import Tensor

Make = Callable[..., Any]
REAL_FRAMES = (128, 50)  # of two clips of 128 frames; the second has columns 0 to 4 of 12
LAST_FRAME_SEEN = 40 + 16  # by its last real column


def frame_mask(dtype: torch.dtype = torch.int64) -> Tensor:
    mask = torch.zeros(2, 128, dtype=dtype)
    for row, frames in zip(mask, REAL_FRAMES, strict=True):
        row[:frames] = 1
    return mask


def real_tokens() -> Tensor:
    columns = torch.ones(2, 4, 12, dtype=torch.bool)
    columns[1, :, 5:] = False
    return torch.cat([torch.ones(2, 2, dtype=torch.bool), columns.flatten(1)], dim=1)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_r_0_equals_stock_ast_with_the_tokens_masked(
    implementation: str, make_ast: Make, make_fastast: Make, spectrogram: Make
) -> None:
    clips = spectrogram()
    with torch.no_grad():
        stock = make_ast(attn_implementation=implementation)
        expected = stock(clips, attention_mask=real_tokens()).logits
        model = make_fastast(attn_implementation=implementation)
        got = model(clips, attention_mask=frame_mask()).logits
        assert (expected[1] - stock(clips).logits[1]).abs().max() > 1e-2  # the mask matters
    torch.testing.assert_close(got, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("r", [0, 4, 8, 20, 100])
@pytest.mark.parametrize("proportional", [True, False])
def test_masked_model_equals_the_reference(r: int, proportional: bool, make_fastast: Make, spectrogram: Make) -> None:
    model, clips = make_fastast(tome_r=r, tome_proportional_attention=proportional), spectrogram()
    with torch.no_grad():
        got = model(clips, attention_mask=frame_mask(), output_merge_map=True)
    real = real_tokens()
    for clip in range(2):
        expected = reference.ReferenceAST.of(model)(clips[clip].numpy(), [r] * 3, proportional, real[clip].tolist())
        np.testing.assert_allclose(got.logits[clip], expected.logits, rtol=0, atol=1e-5)
        for layer in range(3):
            places = torch.tensor(expected.merge_map(layer))
            assert torch.equal(got.merge_map[layer][clip][real[clip, 2:]], places[real[clip, 2:]])


@pytest.mark.parametrize("r", [0, 4, 8, 20, 100])
@pytest.mark.parametrize("implementation", ["eager", "sdpa", "sdpa_folded"])
def test_what_the_padding_holds_does_not_matter(
    r: int, implementation: str, make_fastast: Make, spectrogram: Make
) -> None:
    model, clips = make_fastast(tome_r=r, attn_implementation=implementation), spectrogram()
    other = clips.clone()
    other[1, LAST_FRAME_SEEN:] = 100 * spectrogram(seed=9)[1, LAST_FRAME_SEEN:]
    with torch.no_grad():
        assert not torch.equal(model(clips).logits, model(other).logits)
        masked = [model(x, attention_mask=frame_mask()).logits for x in (clips, other)]
    assert torch.equal(*masked)


@pytest.mark.parametrize("r", [0, 8])
def test_a_mask_of_ones_changes_nothing(r: int, make_fastast: Make, spectrogram: Make) -> None:
    model, clips = make_fastast(tome_r=r), spectrogram()
    with torch.no_grad():
        got = model(clips, attention_mask=torch.ones(2, 128)).logits
        torch.testing.assert_close(got, model(clips).logits, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_masks_of_frames_and_of_tokens_say_the_same(dtype: torch.dtype, make_fastast: Make, spectrogram: Make) -> None:
    model, clips = make_fastast(tome_r=8), spectrogram()
    with torch.no_grad():
        expected = model(clips, attention_mask=frame_mask()).logits
        assert torch.equal(model(clips, attention_mask=frame_mask(dtype)).logits, expected)
        assert torch.equal(model(clips, attention_mask=real_tokens().to(dtype)).logits, expected)


@pytest.mark.parametrize("shape", [(2, 127), (1, 128), (2, 49), (128,), (2, 1, 1, 50)])
def test_a_mask_of_the_wrong_shape_is_refused(shape: tuple[int, ...], make_fastast: Make, spectrogram: Make) -> None:
    message = r"^attention_mask has shape \(.*\); it masks the frames, \(2, 128\), or the tokens, \(2, 50\)$"
    with pytest.raises(ValueError, match=message):
        make_fastast(tome_r=8)(spectrogram(), attention_mask=torch.ones(shape))


@pytest.mark.parametrize("implementation", ["eager", "sdpa", "sdpa_folded"])
@pytest.mark.parametrize("r", [0, 8, 100])
def test_a_clip_of_nothing_but_padding_gives_finite_numbers(
    implementation: str, r: int, make_fastast: Make, spectrogram: Make
) -> None:
    model = make_fastast(tome_r=r, attn_implementation=implementation)
    mask = frame_mask()
    mask[1] = 0
    out = model(spectrogram(), attention_mask=mask, labels=torch.tensor([0, 1]))
    out.loss.backward()
    assert torch.isfinite(out.logits).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("implementation", ["eager", "sdpa", "sdpa_folded"])
def test_half_precision_takes_a_mask(
    dtype: torch.dtype, implementation: str, make_fastast: Make, spectrogram: Make
) -> None:
    model = make_fastast(tome_r=8, attn_implementation=implementation).to(dtype)
    with torch.no_grad():
        logits = model(spectrogram().to(dtype), attention_mask=frame_mask()).logits
        expected = model.float()(spectrogram().to(dtype).float(), attention_mask=frame_mask()).logits
    torch.testing.assert_close(logits.float(), expected, rtol=0, atol=0.2)


@pytest.mark.parametrize("implementation", ["eager", "sdpa", "sdpa_folded"])
def test_a_token_mask_of_zeros_gives_finite_numbers(
    implementation: str, make_fastast: Make, spectrogram: Make
) -> None:
    for r in (0, 8):
        model = make_fastast(tome_r=r, attn_implementation=implementation)
        with torch.no_grad():
            assert model(spectrogram(), attention_mask=torch.zeros(2, 50)).logits.isfinite().all()
