"""Weights into FastAST and out again: old and new key names, other sizes, models in memory, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from running_scripts import CPU, load_script
from safetensors.torch import load_file, save_file
from small_corpora import write_tone
from transformers import ASTForAudioClassification, ASTModel, AutoModelForAudioClassification, BertConfig

from fastast_hf.cli.main import main
from fastast_hf.loading.checkpoint import load_classifier
from fastast_hf.loading.saved_weights import sizes_of_checkpoint
from fastast_hf.model.configuration_fastast import FastASTConfig
from fastast_hf.model.feature_extraction_fastast import FastASTFeatureExtractor
from fastast_hf.model.modeling_fastast import FastASTForAudioClassification, FastASTModel

Make = Callable[..., Any]
HEAD = "audio_spectrogram_transformer."
# Names in a layer: of the checkpoints on the Hub, and of transformers from 5.9 on.
LAYER_NAMES = [
    ("encoder.layer.{}.attention.attention.query", "layers.{}.attention.q_proj"),
    ("encoder.layer.{}.attention.attention.key", "layers.{}.attention.k_proj"),
    ("encoder.layer.{}.attention.attention.value", "layers.{}.attention.v_proj"),
    ("encoder.layer.{}.attention.output.dense", "layers.{}.attention.o_proj"),
    ("encoder.layer.{}.intermediate.dense", "layers.{}.mlp.fc1"),
    ("encoder.layer.{}.output.dense", "layers.{}.mlp.fc2"),
    ("encoder.layer.{}.layernorm_before", "layers.{}.layernorm_before"),
    ("encoder.layer.{}.layernorm_after", "layers.{}.layernorm_after"),
]
OTHER_NAMES = [
    "embeddings.cls_token",
    "embeddings.distillation_token",
    "embeddings.position_embeddings",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.projection.bias",
    "layernorm.weight",
    "layernorm.bias",
]
CLASSIFIER_NAMES = [f"classifier.{part}.{kind}" for part in ("layernorm", "dense") for kind in ("weight", "bias")]
SIZES = [
    {},
    {"num_hidden_layers": 1, "num_labels": 35},
    {"hidden_size": 48, "num_attention_heads": 3, "intermediate_size": 100, "max_length": 100},
    {"frequency_stride": 16, "time_stride": 8, "patch_size": 16, "num_labels": 1},
    {"num_mel_bins": 64, "patch_size": 8, "time_stride": 5, "max_length": 60, "qkv_bias": False},
]
FILES = ["model.safetensors", "pytorch_model.bin"]


def write_checkpoint(
    folder: Path, model: ASTForAudioClassification, old_names: bool, file: str = FILES[0], with_head: bool = True
) -> None:
    """A checkpoint as a stranger would have written it: names by hand, not by save_pretrained."""
    state, prefix = model.state_dict(), HEAD if with_head else ""
    weights = {prefix + name: state[HEAD + name] for name in OTHER_NAMES}
    for layer in range(model.config.num_hidden_layers):
        for old, new in LAYER_NAMES:
            for kind in ("weight", "bias"):
                source = f"{HEAD}{new.format(layer)}.{kind}"
                if source in state:  # without qkv_bias there are fewer
                    weights[f"{prefix}{(old if old_names else new).format(layer)}.{kind}"] = state[source]
    if with_head:
        weights.update({name: state[name] for name in CLASSIFIER_NAMES})
        assert len(weights) == len(state)
    weights = {name: value.clone().contiguous() for name, value in weights.items()}
    if file.endswith(".bin"):
        torch.save(weights, folder / file)
    else:
        save_file(weights, folder / file, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))


def assert_complete(info: dict[str, Any], missing: set[str] | None = None) -> None:
    assert set(info["missing_keys"]) == (missing or set())
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def assert_same(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal, but for a last bit that depends on where in memory a file's weights came to lie."""
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def clips_for(model: Any, spectrogram: Make) -> torch.Tensor:
    return spectrogram(frames=model.config.max_length, mel_bins=model.config.num_mel_bins)


@pytest.mark.parametrize("fields", SIZES)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("old_names", [True, False])
def test_any_ast_checkpoint_loads_complete(
    old_names: bool, file: str, fields: dict[str, Any], make_ast: Make, spectrogram: Make, tmp_path: Path
) -> None:
    stock = make_ast(**fields)
    write_checkpoint(tmp_path, stock, old_names, file)
    model, info = FastASTForAudioClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert_complete(info)
    assert type(model.config) is FastASTConfig
    assert model.config.model_type == "fastast"
    assert not model.training
    assert_same_weights(model, stock)
    with torch.no_grad():
        clips = clips_for(stock, spectrogram)
        assert_same(model(clips).logits, stock(clips).logits)


@pytest.mark.parametrize("old_names", [True, False])
def test_base_and_head_models_load_each_others_checkpoints(
    old_names: bool, make_ast: Make, spectrogram: Make, tmp_path: Path
) -> None:
    stock, clips = make_ast(), spectrogram()
    with_head, without = tmp_path / "with", tmp_path / "without"
    for folder, head in ((with_head, True), (without, False)):
        folder.mkdir()
        write_checkpoint(folder, stock, old_names, with_head=head)

    with torch.no_grad():
        expected = stock.audio_spectrogram_transformer(clips).pooler_output
        model, info = FastASTForAudioClassification.from_pretrained(without, output_loading_info=True)
        assert_complete(info, missing=set(CLASSIFIER_NAMES))
        assert_same(model.audio_spectrogram_transformer(clips).pooler_output, expected)
        for folder, unexpected in ((without, set()), (with_head, set(CLASSIFIER_NAMES))):
            base, info = FastASTModel.from_pretrained(folder, output_loading_info=True)
            assert not info["missing_keys"]
            assert set(info["unexpected_keys"]) == unexpected
            assert_same(base(clips).pooler_output, expected)


@pytest.mark.parametrize("origin", ["new", "old names", "new names", "from_ast"])
def test_stock_ast_loads_what_fastast_saves(
    origin: str, make_ast: Make, make_fastast: Make, spectrogram: Make, tmp_path: Path
) -> None:
    stock, clips = make_ast(), spectrogram()
    if origin.endswith("names"):
        (tmp_path / "first").mkdir()
        write_checkpoint(tmp_path / "first", stock, old_names=origin == "old names")
        model = FastASTForAudioClassification.from_pretrained(tmp_path / "first", tome_r=[4, 2, 0])
    elif origin == "from_ast":
        model = FastASTForAudioClassification.from_ast(stock, tome_r=[4, 2, 0])
    else:
        model = make_fastast(tome_r=[4, 2, 0])
    model.save_pretrained(tmp_path / "saved")
    with torch.no_grad():
        again, info = ASTForAudioClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
        assert_complete(info)
        assert_same_weights(again, stock)
        assert_same(again(clips).logits, stock(clips).logits)
        _, info = ASTModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
        assert not info["missing_keys"]
        back, info = FastASTForAudioClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
        assert_complete(info)
        assert back.config.tome_r == [4, 2, 0]
        assert_same(back(clips).logits, model(clips).logits)


def test_settings_can_be_given_at_load(make_ast: Make, make_fastast: Make, spectrogram: Make, tmp_path: Path) -> None:
    make_ast().save_pretrained(tmp_path)
    load = FastASTForAudioClassification.from_pretrained
    model = load(tmp_path, tome_r=8, tome_schedule="decreasing", tome_proportional_attention=False)
    expected = make_fastast(tome_r=8, tome_schedule="decreasing", tome_proportional_attention=False)
    with torch.no_grad():
        assert_same(model(spectrogram()).logits, expected(spectrogram()).logits)
    assert load(tmp_path, attn_implementation="eager").config._attn_implementation == "eager"
    assert load(tmp_path, attn_implementation="sdpa_folded").config._attn_implementation == "sdpa_folded"
    assert load(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16
    config = FastASTConfig.from_pretrained(tmp_path, tome_r=5, attn_implementation="eager")
    model = load(tmp_path, config=config)
    assert (model.config.tome_r, model.config._attn_implementation) == (5, "eager")
    weights = make_ast().state_dict()
    model = load(None, config=FastASTConfig.from_pretrained(tmp_path), state_dict=weights)
    assert_same(model(spectrogram()).logits, make_ast()(spectrogram()).logits)


@pytest.mark.parametrize("frames", [16, 64, 118, 200])
@pytest.mark.parametrize("way", ["keyword", "config object", "config in a keyword"])
def test_another_length_can_be_given_at_load(
    way: str, frames: int, make_ast: Make, make_fastast: Make, spectrogram: Make, tmp_path: Path
) -> None:
    make_ast().save_pretrained(tmp_path)
    kwargs: dict[str, Any] = {"max_length": frames}
    if way == "config object":
        kwargs = {"config": FastASTConfig.from_pretrained(tmp_path, max_length=frames)}
    elif way == "config in a keyword":
        kwargs["config"] = FastASTConfig.from_pretrained(tmp_path)
    model, info = FastASTForAudioClassification.from_pretrained(tmp_path, **kwargs, output_loading_info=True)
    assert_complete(info)
    assert model.config.max_length == frames
    with torch.no_grad():
        expected = make_fastast()(spectrogram(frames=frames)).logits  # cut at run time
        assert_same(model(spectrogram(frames=frames)).logits, expected)
        model.save_pretrained(tmp_path / "saved")
        stock, info = ASTForAudioClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
        assert_complete(info)
        assert_same(stock(spectrogram(frames=frames)).logits, expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_from_ast_shares_the_weights_and_changes_nothing(
    training: bool, dtype: torch.dtype, implementation: str, make_ast: Make, spectrogram: Make
) -> None:
    stock = make_ast(attn_implementation=implementation).to(dtype).train(training)
    stock.audio_spectrogram_transformer.requires_grad_(False)
    frozen = {name: not parameter.requires_grad for name, parameter in stock.named_parameters()}
    model = FastASTForAudioClassification.from_ast(stock, tome_r=4)
    mine, theirs = dict(model.named_parameters()), dict(stock.named_parameters())
    assert mine.keys() == theirs.keys()
    assert all(mine[name] is theirs[name] for name in theirs)
    assert all(mine[name].data_ptr() == theirs[name].data_ptr() for name in theirs)
    assert {name: not parameter.requires_grad for name, parameter in model.named_parameters()} == frozen
    assert model.training == stock.training == training
    assert all(module.training == training for module in [*model.modules(), *stock.modules()])
    assert model.dtype == dtype
    assert model.config._attn_implementation == implementation
    assert (model.config.tome_r, stock.config.model_type) == (4, "audio-spectrogram-transformer")
    clips = spectrogram().to(dtype)
    assert torch.equal(model(clips, tome_r=0).logits, stock(clips).logits)
    with torch.no_grad():
        stock.classifier.dense.bias += 1
        assert torch.equal(model(clips, tome_r=0).logits, stock(clips).logits)


def test_from_ast_refuses_another_class(make_ast: Make) -> None:
    with pytest.raises(TypeError, match="was given a ASTModel; it takes a ASTForAudioClassification"):
        FastASTForAudioClassification.from_ast(make_ast().audio_spectrogram_transformer)
    with pytest.raises(TypeError, match="was given a ASTForAudioClassification; it takes a ASTModel"):
        FastASTModel.from_ast(make_ast())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tome_r": -1}, "tome_r is -1: the tokens to merge in a layer are a whole number, 0 or more"),
        ({"tome_r": [1, 2]}, "tome_r lists 2 numbers for 3 layers: give one per layer, or one int"),
        ({"tome_r": True}, "tome_r is True: give an int, or a list of one int per layer"),
        ({"tome_schedule": "linear"}, "choose one of constant, decreasing, increasing"),
        ({"max_length": 15}, "a clip of 15 frames is shorter than one patch of 16: pad it"),
    ],
)
def test_wrong_settings_at_load_are_refused_in_one_line(
    fields: dict[str, Any], message: str, make_ast: Make, tmp_path: Path
) -> None:
    make_ast().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"^[^\n]*{message}[^\n]*$"):
        FastASTForAudioClassification.from_pretrained(tmp_path, **fields)


def test_auto_classes_refuse_a_wrong_r_in_one_line(make_fastast: Make, tmp_path: Path) -> None:
    make_fastast().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^[^\n]*tome_r is -1[^\n]*$"):
        AutoModelForAudioClassification.from_pretrained(tmp_path, tome_r=-1)


def test_a_checkpoint_that_is_no_ast_is_refused(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    for model in (FastASTModel, FastASTForAudioClassification):
        with pytest.raises(ValueError, match=r"^[^\n]* is a 'bert' checkpoint; FastAST needs an Audio[^\n]*$"):
            model.from_pretrained(tmp_path)
    with pytest.raises(OSError, match="nowhere does not exist: give a checkpoint's folder, or a model id of the Hub"):
        FastASTModel.from_pretrained(tmp_path / "nowhere")


def test_another_number_of_labels_is_refused_unless_asked_for(
    make_ast: Make, spectrogram: Make, tmp_path: Path
) -> None:
    make_ast().save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):  # as stock AST does
        FastASTForAudioClassification.from_pretrained(tmp_path, num_labels=9)
    model = FastASTForAudioClassification.from_pretrained(tmp_path, num_labels=9, ignore_mismatched_sizes=True)
    assert model(spectrogram()).logits.shape == (2, 9)


def write_json(file: Path, **fields: Any) -> None:
    """Set fields of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def spoil_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["classifier.dense.bias"][1] = torch.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def empty_index(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text("{}")


CONTRADICTIONS: list[tuple[Callable[[Path], Any], str]] = [
    (
        lambda folder: write_json(folder / "config.json", num_hidden_layers=2),
        "num_hidden_layers is 2, which leaves 16",
    ),
    (lambda folder: write_json(folder / "config.json", num_hidden_layers=4), "lacks 16 weights"),
    (lambda folder: write_json(folder / "config.json", hidden_size=64), "has the shape .* instead of"),
    (
        lambda folder: write_json(folder / "config.json", id2label={"0": "a"}),
        r"has the shape \(5,\) instead of \(1,\)",
    ),
    (lambda folder: write_json(folder / "config.json", qkv_bias=False), "which leaves 9 weights over"),
    (lambda folder: write_json(folder / "preprocessor_config.json", num_mel_bins=64), "num_mel_bins is 64 in prepro"),
    (lambda folder: write_json(folder / "preprocessor_config.json", std=0), "std is 0: give a number above 0"),
    (lambda folder: write_json(folder / "preprocessor_config.json", mean=None), "mean is None: give a number"),
    (
        lambda folder: write_json(folder / "preprocessor_config.json", max_length=10**6),
        "max_length is 1000000 in prepr",
    ),
    (
        lambda folder: write_json(folder / "preprocessor_config.json", max_length=10**9),
        "max_length is 1000000000: give",
    ),
    (lambda folder: write_json(folder / "preprocessor_config.json", sampling_rate=10**9), "sampling_rate is 10000000"),
    (spoil_weight, "are damaged: classifier.dense.bias is not finite"),
    (empty_index, "is no index of weights"),
]


@pytest.mark.parametrize(("spoil", "said"), CONTRADICTIONS)
def test_a_checkpoint_that_contradicts_itself_is_one_line(
    spoil: Callable[[Path], Any], said: str, make_fastast: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_fastast().save_pretrained(tmp_path)
    FastASTFeatureExtractor(num_mel_bins=48, max_length=128).save_pretrained(tmp_path)
    spoil(tmp_path)
    clip = Path(__file__).parents[1] / "data" / "speech" / "yes_rms.wav"
    assert main(["classify", str(clip), "--model", str(tmp_path), "--device", "cpu"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert re.search(said, printed.err) and str(tmp_path) in printed.err and "yes_rms" not in printed.err


DATA = ("audiofolder", "--data", "{corpus}")
WAYS: dict[str, list[str]] = {
    "classify": ["classify", "{clip}", "--model", "{folder}"],
    "visualize": ["visualize", "{clip}", "--model", "{folder}", "--output", "{folder}/p.png"],
    "evaluate": ["evaluate", *DATA, "--model", "{folder}", "--output", "{out}", "--split", "train"],
    "export": ["export", "onnx", "{folder}", "--output", "{folder}/m.onnx"],
    "benchmark": ["benchmark", "--model", "{folder}"],
    "card": ["card", "{folder}", "--license", "mit"],
    "push": ["push", "{folder}", "me/tiny"],
    "run_finetune": ["--corpus", *DATA, "--model", "{folder}", "--output_dir", "{out}"],
    "run_kd": ["--corpus", *DATA, "--model", "none", "--teacher", "{folder}", "--output_dir", "{out}"],
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_config_of_far_more_than_the_weights_is_one_line_and_nothing_is_allocated(
    way: str, make_fastast: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, corpus = tmp_path / "tiny", tmp_path / "corpus"
    make_fastast(num_labels=2, id2label={0: "dog", 1: "rain"}).save_pretrained(folder)
    FastASTFeatureExtractor(num_mel_bins=48, max_length=128).save_pretrained(folder)
    for number in range(3):
        write_tone(corpus / "dog" / f"{number}.wav", 300 + number)
        write_tone(corpus / "rain" / f"{number}.wav", 2000 + number)
    places = {"clip": corpus / "dog" / "1.wav", "folder": folder, "corpus": corpus, "out": tmp_path / "out"}
    arguments = [part.format(**places) for part in WAYS[way]]
    command = partial(main, arguments)
    if way.startswith("run_"):
        command = partial(load_script(way).main, [*arguments, *CPU])
    sizes: list[dict[str, Any]] = [
        {"hidden_size": 800_000}, {"num_hidden_layers": 900_000}, {"intermediate_size": 10**9}, {"num_labels": 10**10},
        {"max_length": 10**6, "time_stride": 1, "frequency_stride": 1},
    ]  # fmt: skip
    sound = json.loads((folder / "config.json").read_text())
    monkeypatch.setattr(FastASTForAudioClassification, "_load_pretrained_model", None)  # which allocates
    for size in sizes if way == "classify" else sizes[:1]:
        stored = {key: value for key, value in sound.items() if "num_labels" not in size or "label" not in key}
        (folder / "config.json").write_text(json.dumps(stored | size))
        assert command() == 2, size
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1, size
        assert str(folder) in printed.err and re.search(
            r"do not fit its config.json: that describes a model of|or less|or fewer", printed.err
        ), size


def test_weights_that_are_missing_are_named_with_what_to_do(
    make_fastast: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_fastast().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert main(["benchmark", "--model", str(tmp_path), "--frames", "64"]) == 2
    assert capsys.readouterr().err == (
        f"fastast benchmark: {tmp_path} has a config.json and no weights (model.safetensors): fetch them from where "
        "it comes from, or save the model with save_pretrained\n"
    )


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("sharded", [False, True])
def test_sizes_are_those_of_the_weights_however_they_are_saved(
    file: str, sharded: bool, make_ast: Make, tmp_path: Path
) -> None:
    model = make_ast()
    if sharded and file.endswith(".bin"):
        state = list(model.state_dict().items())
        parts = {"a.bin": dict(state[:9]), "b.bin": dict(state[9:])}
        for name, part in parts.items():
            torch.save(part, tmp_path / name)
        places = {key: name for name, part in parts.items() for key in part}
        index = {"metadata": {}, "weight_map": places}
        (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    elif sharded:
        model.save_pretrained(tmp_path, max_shard_size="20KB")
    else:
        write_checkpoint(tmp_path, model, old_names=True, file=file)
    assert sorted(sizes_of_checkpoint(tmp_path)) == sorted(weight.numel() for weight in model.parameters())


def test_weights_outside_of_ast_are_left_out_with_a_warning(
    make_fastast: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_fastast().save_pretrained(tmp_path)
    weights = {**load_file(tmp_path / "model.safetensors"), "loss.weight": torch.ones(5)}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert load_classifier(tmp_path).config.num_labels == 5
    assert "which are left out: loss.weight" in caplog.text
