"""One model, every attention implementation: the same numbers, and no bias dropped on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from transformers import AttentionInterface
from transformers.integrations import flex_attention as flex_integration

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification, load_audio
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.model.token_merging import attention_bias

Make = Callable[..., Any]
IMPLEMENTATIONS = ["sdpa", "sdpa_folded", "flex_attention"]
SETTINGS = [
    # r, proportional attention, whether a frame mask is given
    (8, True, False),
    (8, False, False),
    (100, True, False),
    (8, True, True),
    (8, False, True),
    (0, True, True),
]


@pytest.fixture
def uncompiled_flex(monkeypatch: pytest.MonkeyPatch) -> None:
    """The maths of flex attention without the minute that compiling it takes on a CPU."""

    def attend(query: Tensor, key: Tensor, value: Tensor, training: bool = False, **kwargs: Any) -> Tensor:
        return flex_attention(query, key, value, **kwargs)

    monkeypatch.setattr(flex_integration, "compile_friendly_flex_attention", attend)


def call(model: torch.nn.Module, clips: Tensor, masked: bool) -> Tensor:
    mask = torch.ones(clips.shape[:2])
    mask[0, 60:] = 0
    with torch.no_grad():
        return model(clips, attention_mask=mask if masked else None).logits


@pytest.mark.usefixtures("uncompiled_flex")
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("r", "proportional", "masked"), SETTINGS)
def test_every_implementation_gives_what_eager_gives(
    implementation: str, r: int, proportional: bool, masked: bool, make_fastast: Make, spectrogram: Make
) -> None:
    fields = {"tome_r": r, "tome_proportional_attention": proportional}
    clips = spectrogram()
    expected = call(make_fastast(**fields, attn_implementation="eager"), clips, masked)
    model = make_fastast(**fields, attn_implementation=implementation)
    torch.testing.assert_close(call(model, clips, masked), expected, rtol=0, atol=1e-5)
    model.set_attn_implementation("eager")
    assert torch.equal(call(model, clips, masked), expected)


@pytest.mark.slow
def test_compiled_flex_gives_what_eager_gives(make_fastast: Make, spectrogram: Make) -> None:
    expected = call(make_fastast(tome_r=8, attn_implementation="eager"), spectrogram(), masked=False)
    got = call(make_fastast(tome_r=8, attn_implementation="flex_attention"), spectrogram(), masked=False)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("proportional", [True, False])
def test_folding_is_as_near_to_the_truth_as_a_mask_in_half_precision(
    dtype: torch.dtype, proportional: bool, make_fastast: Make
) -> None:
    generator = torch.Generator().manual_seed(1)
    hidden_states = torch.randn(2, 60, 128, generator=generator).to(dtype)
    sizes = torch.randint(0, 40, (2, 60), generator=generator).float()
    bias = attention_bias(sizes, proportional)

    error = {}
    for implementation in ("sdpa", "sdpa_folded"):
        model = make_fastast(hidden_size=128, attn_implementation=implementation).to(dtype)
        attention = model.audio_spectrogram_transformer.layers[0].attention
        with torch.no_grad():
            got = attention(hidden_states, bias)[0]
            model.config._attn_implementation = "eager"
            truth = attention.double()(hidden_states.double(), bias)[0]
        error[implementation] = (got.double() - truth).pow(2).mean().sqrt()
    assert 0 < error["sdpa_folded"] < 1.1 * error["sdpa"]


@pytest.mark.parametrize("name", ["flash_attention_test", "someone/flash-attn-test"])
@pytest.mark.parametrize(("r", "proportional", "masked"), SETTINGS)
def test_flash_kernels_get_the_bias_inside_the_heads(
    name: str,
    r: int,
    proportional: bool,
    masked: bool,
    make_fastast: Make,
    spectrogram: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head_dims = []

    def flash(
        module: torch.nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> tuple[Tensor, None]:
        """An exact kernel that takes no bias of any kind, as flash attention takes none."""
        assert attention_mask is None
        assert kwargs.get("position_bias") is None
        assert query.shape == key.shape == value.shape
        head_dims.append(query.shape[-1])
        return ((query @ key.mT * scaling).softmax(-1) @ value).transpose(1, 2), None

    monkeypatch.setitem(AttentionInterface._global_mapping, name, flash)
    fields = {"hidden_size": 128, "tome_r": r, "tome_proportional_attention": proportional}
    expected = call(make_fastast(**fields, attn_implementation="eager"), spectrogram(), masked)
    model = make_fastast(**fields)
    model.config._attn_implementation = name
    torch.testing.assert_close(call(model, spectrogram(), masked), expected, rtol=0, atol=1e-5)
    # A bias comes with padding, or with the first merge where attention is proportional.
    later = 72 if masked or (r > 0 and proportional) else 64
    assert head_dims == [72 if masked else 64, later, later]


@pytest.mark.parametrize("implementation", ["sdpa", "flex_attention", "sdpa_folded"])
def test_without_merging_no_kernel_gets_a_bias(
    implementation: str, make_fastast: Make, spectrogram: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def record(module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
        calls.append((query.shape[-1], mask, kwargs.get("position_bias")))
        return value.transpose(1, 2), None

    monkeypatch.setitem(AttentionInterface._global_mapping, implementation, record)
    call(make_fastast(attn_implementation=implementation), spectrogram(), masked=False)
    assert calls == [(16, None, None)] * 3


@pytest.mark.parametrize("r", [8, 12, 20])
def test_the_bundled_checkpoint_gives_the_same_scores_but_for_near_ties(r: int) -> None:
    """Where two candidates are alike to within rounding, an implementation may merge the other one."""
    clips = sorted((Path(__file__).parents[1] / "data" / "speech").glob("*.wav"))
    samples = [load_audio(clip, 16000) for clip in clips]
    extractor = FastASTFeatureExtractor.from_pretrained(SPEECH_COMMANDS)
    inputs = extractor(samples, sampling_rate=16000, return_tensors="pt").input_values
    logits = {}
    for implementation in ("eager", "sdpa", "sdpa_folded"):
        model = FastASTForAudioClassification.from_pretrained(SPEECH_COMMANDS, attn_implementation=implementation)
        with torch.no_grad():
            logits[implementation] = model.eval().float()(inputs, tome_r=r).logits
    for implementation in ("sdpa", "sdpa_folded"):
        apart = (logits[implementation] - logits["eager"]).abs().amax(dim=1)
        assert (apart > 2e-5).sum() <= 3 and apart.max() < 0.1  # of 30; none or one where this was written
