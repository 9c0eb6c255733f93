"""Heads alone, upper layers, adapters and rates by layer: what is trained, what is kept, and that runs resume."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from running_scripts import CPU, load_script
from small_corpora import write_esc50
from torch import nn
from torch.nn import functional as F
from transformers import ASTConfig, ASTForAudioClassification

from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification, Tagger
from fastast_hf.loading.adapters import has_adapters, merged
from fastast_hf.training.inputs.batches import weights_of_classes
from fastast_hf.training.start.adaptation import AdaptationArguments, adapt, frozen_parts, learning_rate_scale
from fastast_hf.training.trainer import clip_losses

LAYERS = 3
# What of the start is kept, by the beginnings of its names in the model.
KEPT = {
    "--freeze": ["audio_spectrogram_transformer"],
    "--freeze-layers 2": [f"audio_spectrogram_transformer.{part}" for part in ("embeddings", "layers.0", "layers.1")],
    "--freeze-layers 1 --lora-r 2": [f"audio_spectrogram_transformer.{part}" for part in ("embeddings", "layers.0")],
    "--lora-r 2": ["audio_spectrogram_transformer.embeddings", "audio_spectrogram_transformer.layernorm"],
    "--layer-decay 0.5": [],
    "--class-weights": [],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus, and a checkpoint that has dropout and other labels."""
    place = tmp_path_factory.mktemp("adaptation")
    write_esc50(place / "esc50")
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": LAYERS, "intermediate_size": 48}
    config = ASTConfig(**sizes, max_length=64, id2label={0: "a", 1: "b", 2: "c"}, hidden_dropout_prob=0.2)
    for folder, labels in (("start", {0: "a", 1: "b", 2: "c"}), ("teacher", {0: "dog", 1: "rain"})):
        config.id2label, config.label2id = labels, {name: index for index, name in labels.items()}
        ASTForAudioClassification(config).save_pretrained(place / folder)
        FastASTFeatureExtractor(max_length=64, mean=-5.0, std=4.0).save_pretrained(place / folder)
    return place


def train(place: Path, out: Path, script: str, *options: str) -> dict[str, torch.Tensor]:
    """Four steps; the weights of the saved model by their names in it."""
    settings = ["--corpus", "esc50", "--data", place / "esc50", "--fold", "1", "--model", place / "start", *options]
    settings += ["--max_steps", 4, "--save_strategy", "steps", "--save_steps", 2, "--learning_rate", "0.01"]
    settings += [
        "--per_device_train_batch_size",
        4,
        "--output",
        out,
        *(["--teacher", place / "teacher"] * (script == "run_kd")),
    ]
    assert load_script(script).main(list(map(str, [*settings, *CPU]))) == 0
    model, info = FastASTForAudioClassification.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not has_adapters(model)
    _, info = ASTForAudioClassification.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    return dict(model.state_dict())


@pytest.mark.parametrize("script", ["run_finetune", pytest.param("run_kd", marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", KEPT)
def test_what_is_kept_stays_and_a_stopped_run_ends_with_the_same_weights(
    options: str, script: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = FastASTForAudioClassification.from_pretrained(place / "start").state_dict()
    made = train(place, tmp_path / "whole", script, *options.split())
    printed = capsys.readouterr().out
    kept = {name for name in made if any(name.startswith(f"{part}.") for part in KEPT[options])}
    for name, weight in made.items():
        if name.startswith("audio_"):
            adapted = "lora" not in options or any(target in name for target in ("q_proj.weight", "v_proj.weight"))
            assert torch.equal(weight, start[name]) == (name in kept or not adapted), name
    optimizer = torch.load(tmp_path / "whole" / "checkpoint-2" / "optimizer.pt", weights_only=True)
    rates = {round(group["initial_lr"], 9) for group in optimizer["param_groups"]}
    assert rates == ({0.01, 0.005, 0.0025, 0.00125, 0.000625} if "decay" in options else {0.01})
    trained = sum(part["exp_avg"].numel() for part in optimizer["state"].values())
    assert (f" ({trained:,} of " in printed and " are trained)" in printed) == bool(KEPT[options])
    assert printed.count("M parameters") == 1
    (tmp_path / "resumed").mkdir()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    resumed = train(place, tmp_path / "resumed", script, *options.split(), "--resume")
    for name, weight in made.items():
        assert torch.equal(weight, resumed[name]), name


def small(**fields: Any) -> FastASTForAudioClassification:
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": LAYERS, "intermediate_size": 48}
    return FastASTForAudioClassification.from_ast(
        ASTForAudioClassification(ASTConfig(**sizes, max_length=64, **fields))
    )


def test_frozen_parts_have_no_dropout(place: Path) -> None:
    model = small(hidden_dropout_prob=0.5)
    adapt(model, AdaptationArguments(freeze=True), trained_before=True)
    assert frozen_parts(model) == [model.audio_spectrogram_transformer]
    other = small()
    adapt(other, AdaptationArguments(freeze_layers=2), trained_before=True)
    encoder = other.audio_spectrogram_transformer
    assert frozen_parts(other) == [encoder.embeddings, *encoder.layers[:2]]
    assert frozen_parts(small()) == []


def test_learning_rates_fall_from_the_head_down() -> None:
    rates = {name: learning_rate_scale(name, LAYERS, 0.5) for name, _ in small().named_parameters()}
    encoder = "audio_spectrogram_transformer"
    assert rates["classifier.dense.weight"] == rates[f"{encoder}.layernorm.bias"] == 1
    assert [rates[f"{encoder}.layers.{i}.mlp.fc1.weight"] for i in (2, 1, 0)] == [0.5, 0.25, 0.125]
    assert rates[f"{encoder}.embeddings.cls_token"] == 0.0625


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_tagger_takes_a_model_with_adapters_and_leaves_it_as_it_is(wrapped: bool) -> None:
    model = small(num_labels=3)
    if wrapped:
        config = LoraConfig(r=2, target_modules=["q_proj", "fc1"], modules_to_save=["classifier"])
        adapted: Any = get_peft_model(model, config)
    else:
        adapt(model, AdaptationArguments(lora_r=2), trained_before=True)
        adapted = model
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.5)
    sound = torch.randn(9000, generator=torch.Generator().manual_seed(0)).numpy()
    tagger = Tagger(adapted, device="cpu", top_k=None)
    inputs = tagger.features([sound])["input_values"]
    expected = adapted.eval()(inputs).logits.softmax(dim=1)[0]
    plain = FastASTForAudioClassification(model.config).eval()(inputs).logits
    assert has_adapters(adapted) and not has_adapters(tagger.model) and plain.shape == (1, 3)
    scores = {entry["label"]: entry["score"] for entry in tagger((sound, 16000))}
    torch.testing.assert_close(torch.tensor([scores[f"LABEL_{i}"] for i in range(3)]), expected, atol=1e-5, rtol=0)
    assert sorted(merged(adapted).state_dict()) == sorted(small(num_labels=3).state_dict())


def test_rare_classes_weigh_more() -> None:
    weights = weights_of_classes([[0, 1], [0], [0], []], 3)
    torch.testing.assert_close(weights, torch.tensor([4 / 9, 4 / 3, 1.0]))
    logits, targets = torch.randn(4, 3), torch.eye(3)[[0, 1, 0, 0]]
    own = weights_of_classes([0, 1, 0, 0], 3)
    losses = clip_losses(logits, targets, "cross_entropy", own)
    torch.testing.assert_close(losses, F.cross_entropy(logits, targets, reduction="none") * own[[0, 1, 0, 0]])
    bce = clip_losses(logits, targets, "bce", own)
    p = logits.sigmoid()
    by_hand = -(own * targets * p.log() + (1 - targets) * (1 - p).log()).mean(dim=1)
    torch.testing.assert_close(bce, by_hand)


WRONG = [
    ({"freeze": True, "lora_r": 2}, "--freeze trains the head alone: leave out --lora-r"),
    ({"layer_decay": 1.5}, "layer_decay is 1.5: give a factor above 0"),
    ({"lora_r": 0}, "lora_r is 0: give the rank"),
    ({"freeze_layers": -1}, "freeze_layers is -1: give"),
    ({"freeze_layers": 4}, "freeze_layers is 4, and the model has 3 layers"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapt(small(), AdaptationArguments(**settings), trained_before=True)


def test_a_new_model_has_nothing_to_keep() -> None:
    for settings in (AdaptationArguments(freeze=True), AdaptationArguments(lora_r=2)):
        with pytest.raises(ValueError, match=r"a new model has learnt nothing .* give --model"):
            adapt(small(), settings, trained_before=False)
