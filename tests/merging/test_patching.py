"""Token Merging put into stock models in place, and taken out again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import ASTForAudioClassification, ASTModel, pipeline

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification, FastASTModel
from fastast_hf.merging.patching import apply_token_merging, remove_token_merging

Make = Callable[..., Any]
RS: list[tuple[Any, str]] = [(4, "constant"), (1000, "constant"), ([0, 5, 2], "constant"), (4, "decreasing")]


def logits(model: nn.Module, clips: Tensor, **kwargs: Any) -> Tensor:
    with torch.no_grad():
        return model(clips, **kwargs).logits


def pointers(model: nn.Module) -> dict[str, int]:
    return {name: parameter.data_ptr() for name, parameter in model.named_parameters()}


class Ensemble(nn.Module):
    """Two encoders, one of them deep inside."""

    def __init__(self, one: ASTForAudioClassification, other: ASTForAudioClassification) -> None:
        super().__init__()
        self.encoder = one.audio_spectrogram_transformer
        self.members = nn.ModuleDict({"other": nn.Sequential(nn.Identity(), other)})

    def forward(self, clips: Tensor) -> Tensor:
        return self.encoder(clips).pooler_output.sum() + self.members["other"](clips).logits.sum()


@pytest.mark.parametrize(("r", "schedule"), RS)
def test_a_patched_model_computes_what_fastast_computes(
    r: Any, schedule: str, make_ast: Make, spectrogram: Make
) -> None:
    model, clips = make_ast(), spectrogram()
    plain = logits(model, clips)
    expected = logits(FastASTForAudioClassification.from_ast(model, tome_r=r, tome_schedule=schedule), clips)
    apply_token_merging(model, r, schedule)
    assert type(model) is ASTForAudioClassification
    assert torch.equal(logits(model, clips), expected)
    assert not torch.allclose(plain, expected)


def test_r_can_be_changed_and_merging_removed_again(make_ast: Make, spectrogram: Make) -> None:
    model, clips = make_ast(), spectrogram()
    plain, weights = logits(model, clips), {name: value.clone() for name, value in model.state_dict().items()}
    where = pointers(model)

    apply_token_merging(model, 0)
    assert torch.equal(logits(model, clips), plain)
    apply_token_merging(model, 4)
    encoder = model.audio_spectrogram_transformer
    assert type(encoder) is FastASTModel
    four = logits(model, clips)
    apply_token_merging(model, 8)
    assert model.audio_spectrogram_transformer is encoder
    assert not torch.equal(logits(model, clips), four)
    apply_token_merging(model, 4)
    assert torch.equal(logits(model, clips), four)
    assert pointers(model) == where

    remove_token_merging(model)
    assert type(model.audio_spectrogram_transformer) is ASTModel
    assert model.audio_spectrogram_transformer.config.model_type == "audio-spectrogram-transformer"
    assert torch.equal(logits(model, clips), plain)
    assert pointers(model) == where
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    remove_token_merging(model)  # nothing left to remove
    assert torch.equal(logits(model, clips), plain)


def test_a_pipeline_is_patched_through_its_model(make_ast: Make) -> None:
    model, extractor = make_ast(), FastASTFeatureExtractor(max_length=128, num_mel_bins=48)
    classify = pipeline("audio-classification", model=model, feature_extractor=extractor, device="cpu")
    clip = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    plain = classify(clip)
    fast = FastASTForAudioClassification.from_ast(model, tome_r=8)
    expected = pipeline("audio-classification", model=fast, feature_extractor=extractor, device="cpu")(clip)

    apply_token_merging(classify, 8)
    assert classify(clip) == expected != plain
    remove_token_merging(classify)
    assert classify(clip) == plain


def test_every_encoder_of_a_module_is_patched(make_ast: Make, spectrogram: Make) -> None:
    module, clips = Ensemble(make_ast(0), make_ast(1)).eval(), spectrogram()
    with torch.no_grad():
        plain = module(clips)
        apply_token_merging(module, 4)
        inner = module.members["other"][1]
        assert type(module.encoder) is type(inner.audio_spectrogram_transformer) is FastASTModel
        assert not torch.equal(module(clips), plain)
        remove_token_merging(module)
        assert type(module.encoder) is type(inner.audio_spectrogram_transformer) is ASTModel
        assert torch.equal(module(clips), plain)


def test_what_is_removed_leaves_the_model_with_its_own_config_and_hooks(make_ast: Make, spectrogram: Make) -> None:
    model, clips, seen = make_ast(), spectrogram(), []
    handle = model.audio_spectrogram_transformer.register_forward_hook(lambda *_: seen.append(1))
    apply_token_merging(model, 4)
    logits(model, clips)
    remove_token_merging(model)
    assert model.audio_spectrogram_transformer.config is model.config
    model.config.output_hidden_states = True
    with torch.no_grad():
        assert len(model(clips).hidden_states) == 4
    assert len(seen) == 2
    handle.remove()
    logits(model, clips)
    assert len(seen) == 2


def test_an_encoder_at_two_places_is_patched_at_both(make_ast: Make) -> None:
    module = nn.Module()
    module.one = module.other = make_ast().audio_spectrogram_transformer
    apply_token_merging(module, 4)
    assert type(module.one) is type(module.other) is FastASTModel


def test_a_model_compiled_whole_merges_and_an_encoder_compiled_alone_is_refused(
    make_ast: Make, spectrogram: Make
) -> None:
    model, clips = make_ast(), spectrogram()
    expected = logits(FastASTForAudioClassification.from_ast(model, tome_r=4), clips)
    alone = make_ast()
    alone.audio_spectrogram_transformer = torch.compile(alone.audio_spectrogram_transformer, backend="eager")
    with pytest.raises(TypeError, match=r"the ASTModel is compiled on its own.*merge tokens first, then compile"):
        apply_token_merging(alone, 4)

    compiled: Any = torch.compile(model, backend="eager")
    logits(compiled, clips)
    apply_token_merging(compiled, 4)
    torch.testing.assert_close(logits(compiled, clips), expected)


def test_a_fastast_model_takes_r_as_set_tome_r_does(make_fastast: Make) -> None:
    model = make_fastast(tome_r=2)
    apply_token_merging(model, [1, 2, 3])
    assert model.config.tome_r == [1, 2, 3]
    apply_token_merging(nn.Sequential(model), 5)
    assert model.audio_spectrogram_transformer.config.tome_r == 5


def test_a_patched_model_saves_the_checkpoint_that_stock_ast_reads(
    make_ast: Make, spectrogram: Make, tmp_path: Path
) -> None:
    model, clips = make_ast(), spectrogram()
    plain = logits(model, clips)
    apply_token_merging(model, 8)
    model.save_pretrained(tmp_path)
    loaded, info = ASTForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.config.model_type == "audio-spectrogram-transformer"
    assert torch.equal(logits(loaded.eval(), clips), plain)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("training", [True, False])
def test_mode_dtype_and_attention_are_kept(
    implementation: str, training: bool, make_ast: Make, spectrogram: Make
) -> None:
    model = make_ast(attn_implementation=implementation).train(training).to(torch.bfloat16)
    plain = logits(model, spectrogram().bfloat16())
    for change in (lambda: apply_token_merging(model, 4), lambda: remove_token_merging(model)):
        change()
        encoder = model.audio_spectrogram_transformer
        assert {module.training for module in model.modules()} == {training}
        assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
        assert encoder.config._attn_implementation == implementation
        assert encoder.layers[0].attention.config._attn_implementation == implementation
    assert torch.equal(logits(model, spectrogram().bfloat16()), plain)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers 5.23 renames the methods; 5.17 has these alone
def test_what_was_set_up_for_training_goes_on(make_ast: Make, spectrogram: Make) -> None:
    model, clips = make_ast().train(), spectrogram()
    frozen = dict(model.audio_spectrogram_transformer.embeddings.named_parameters(prefix="embeddings"))
    for parameter in frozen.values():
        parameter.requires_grad_(False)
    model.gradient_checkpointing_enable()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for change in (lambda: apply_token_merging(model, 4), lambda: remove_token_merging(model)):
        change()
        assert model.is_gradient_checkpointing
        before = {name: parameter.clone() for name, parameter in model.named_parameters()}
        model(clips, labels=torch.tensor([1, 2])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        for name, parameter in model.named_parameters():
            is_frozen = "embeddings" in name
            assert parameter.requires_grad != is_frozen
            if not name.endswith("k_proj.bias"):  # which softmax is blind to, so long as nothing is merged
                assert torch.equal(parameter, before[name]) == is_frozen, name


def test_hidden_states_attentions_and_another_attention_work_on_a_patched_model(
    make_ast: Make, spectrogram: Make
) -> None:
    model, clips = make_ast(), spectrogram()
    apply_token_merging(model, 4)
    by_sdpa = logits(model, clips)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = model(clips, output_hidden_states=True, output_attentions=True)
    assert [state.shape[1] for state in outputs.hidden_states] == [50, 46, 42, 38]
    assert [weights.shape[-1] for weights in outputs.attentions] == [50, 46, 42]
    torch.testing.assert_close(outputs.logits, by_sdpa, atol=1e-5, rtol=1e-5)


WRONG_R = [(-1, "constant"), ([1, 2], "constant"), (2.5, "constant"), (True, "constant"), (4, "sideways")]


@pytest.mark.parametrize("patched", [True, False])
@pytest.mark.parametrize(("r", "schedule"), WRONG_R)
def test_a_wrong_r_changes_nothing(r: Any, schedule: str, patched: bool, make_ast: Make) -> None:
    model = make_ast()
    if patched:
        apply_token_merging(model, 3)
    encoder = model.audio_spectrogram_transformer
    with pytest.raises(ValueError, match=r"^tome_(r|schedule) ") as caught:
        apply_token_merging(model, r, schedule)
    assert "\n" not in str(caught.value)
    assert model.audio_spectrogram_transformer is encoder
    assert getattr(encoder.config, "tome_r", None) == (3 if patched else None)


def test_one_encoder_that_refuses_r_leaves_the_others_alone(make_ast: Make) -> None:
    module = Ensemble(make_ast(), make_ast(num_hidden_layers=2))
    with pytest.raises(ValueError, match="lists 3 numbers for 2 layers"):
        apply_token_merging(module, [1, 2, 3])
    assert type(module.encoder) is ASTModel


def test_what_cannot_be_patched_is_refused_in_one_line(make_ast: Make, make_fastast: Make) -> None:
    cases = [
        (apply_token_merging, make_ast().audio_spectrogram_transformer, r"^a bare ASTModel .* FastASTModel.from_ast"),
        (apply_token_merging, nn.Sequential(nn.Linear(2, 2)), r"^Sequential has no AST encoder inside"),
        (apply_token_merging, "MIT/ast", r"^a str was given: give an AST model or a pipeline"),
        (apply_token_merging, None, r"^a NoneType was given"),
        (lambda model, r: remove_token_merging(model), "MIT/ast", r"^a str was given"),
        (lambda model, r: remove_token_merging(model), make_fastast(), r"merges by nature: model.set_tome_r\(0\)"),
    ]
    for function, model, message in cases:
        with pytest.raises(TypeError, match=message) as caught:
            function(model, 4)
        assert "\n" not in str(caught.value)
