"""FastASTConfig: AST's config, the merging fields, and what it refuses."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import ASTConfig, BertConfig

from fastast_hf.model import configuration_fastast
from fastast_hf.model.configuration_fastast import FastASTConfig
from fastast_hf.model.modeling_fastast import FastASTForAudioClassification

ONE_LINE = "[^\n]*"
BAD_SETTINGS = [
    # fields, what the message says was given, what it says to do
    ({"tome_r": -1}, "tome_r is -1", "a whole number, 0 or more"),
    ({"tome_r": [4] * 11 + [-4]}, "tome_r is ", "a whole number, 0 or more"),
    ({"tome_r": [4] * 11}, "tome_r lists 11 numbers for 12 layers", "give one per layer, or one int"),
    ({"tome_r": []}, "tome_r lists 0 numbers", "give one per layer, or one int"),
    ({"tome_r": True}, "tome_r is True", "give an int, or a list of one int per layer"),
    ({"tome_r": [True] * 12}, "tome_r is ", "a whole number, 0 or more"),
    ({"tome_r": 2.5}, "tome_r is 2.5", "give an int, or a list of one int per layer"),
    ({"tome_r": "20"}, "tome_r is '20'", "give an int, or a list of one int per layer"),
    (
        {"tome_r": 8, "tome_schedule": "linear"},
        "tome_schedule is 'linear'",
        "choose one of constant, decreasing, increasing",
    ),
    ({"tome_metric": "queries"}, "tome_metric is 'queries'", "give keys or hidden_states"),
    ({"hidden_size": -1}, "hidden_size is -1", "give 1 or more"),
    ({"num_attention_heads": 0}, "num_attention_heads is 0", "give 1 or more"),
    ({"num_attention_heads": 999}, "num_attention_heads is 999 and hidden_size 768", "give fewer heads"),
    ({"num_mel_bins": 8}, "num_mel_bins is 8 and patch_size 16", "give as many mel bins or more"),
    ({"max_length": 15}, "a clip of 15 frames is shorter than one patch", "or take a longer clip"),
    ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan", "give a number from 0 to 1"),
    ({"hidden_act": "x"}, "hidden_act is 'x'", "such as gelu"),
    ({"id2label": ["a", "b"]}, r"id2label is \['a', 'b'\]", "give a map of 0, 1, … to labels"),
    ({"id2label": {"0": "a", "7": "b"}}, "id2label has 2 labels, but none for class 1", "count from 0"),
    ({"id2label": {}}, "id2label has 0 labels, but none for class 0", "count from 0"),
    ({"problem_type": "x"}, "problem_type is 'x'", "multi_label_classification"),
]


def test_defaults_are_stock_ast() -> None:
    config, stock = FastASTConfig(), ASTConfig()
    assert config.tome_r == 0
    assert config.merges_per_layer() == [0] * 12
    fields = config.to_dict()
    assert {key: fields[key] for key in stock.to_dict() if key != "model_type"} == {
        key: value for key, value in stock.to_dict().items() if key != "model_type"
    }
    assert config.model_type == "fastast"


@pytest.mark.parametrize(("fields", "given", "advice"), BAD_SETTINGS)
def test_wrong_settings_are_refused_in_one_line(fields: dict[str, Any], given: str, advice: str) -> None:
    # huggingface_hub's strict dataclasses put a line of their own in front of ours.
    with pytest.raises(Exception, match=f"{given}{ONE_LINE}: {ONE_LINE}{advice}$"):
        FastASTConfig(**fields)


@pytest.mark.parametrize("tome_r", [0, 20, [3] * 12, list(range(12))])
@pytest.mark.parametrize("schedule", ["constant", "decreasing", "increasing"])
def test_settings_survive_saving(tmp_path: Path, tome_r: int | list[int], schedule: str) -> None:
    config = FastASTConfig(
        tome_r=tome_r, tome_schedule=schedule, tome_proportional_attention=False, num_labels=3, time_stride=12
    )
    config.save_pretrained(tmp_path)
    loaded = FastASTConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert (loaded.tome_r, loaded.tome_schedule, loaded.tome_proportional_attention) == (tome_r, schedule, False)
    assert loaded.num_labels == 3


def test_a_call_may_replace_the_configs_r_but_not_its_schedule() -> None:
    config = FastASTConfig(tome_r=20, tome_schedule="decreasing", num_hidden_layers=3)
    assert config.merges_per_layer() == [40, 20, 0]
    assert config.merges_per_layer(8) == [16, 8, 0]
    assert config.merges_per_layer([1, 2, 3]) == [1, 2, 3]
    assert config.tome_r == 20


def test_an_ast_config_becomes_a_fastast_config(tmp_path: Path) -> None:
    stock = ASTConfig(max_length=512, id2label={0: "a", 1: "b", 2: "c"}, attn_implementation="eager", dtype="bfloat16")
    config = FastASTConfig.from_ast(stock, tome_r=8)
    own = {
        "model_type",
        "tome_r",
        "tome_schedule",
        "tome_proportional_attention",
        "tome_metric",
        "window_pool",
        "thresholds",
        "thresholds_split",
        "transformers_version",
    }
    assert {k: v for k, v in config.to_dict().items() if k not in own} == {
        k: v for k, v in stock.to_dict().items() if k not in own
    }
    assert (config.tome_r, config.model_type, config.num_labels) == (8, "fastast", 3)
    assert config._attn_implementation == "eager"
    assert FastASTConfig.from_ast(stock, attn_implementation="sdpa")._attn_implementation == "sdpa"

    stock.save_pretrained(tmp_path)
    loaded = FastASTConfig.from_pretrained(tmp_path, tome_r=8)
    assert (loaded.model_type, loaded.tome_r, loaded.max_length) == ("fastast", 8, 512)
    assert loaded.id2label == stock.id2label


def test_stock_ast_reads_a_fastast_config(tmp_path: Path) -> None:
    FastASTConfig(tome_r=20, max_length=512, num_labels=7).save_pretrained(tmp_path)
    stock = ASTConfig.from_pretrained(tmp_path)
    assert (stock.max_length, stock.num_labels) == (512, 7)


def test_labels_that_are_no_text_become_text(tmp_path: Path) -> None:
    FastASTConfig(num_labels=2).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    numbers = {"id2label": {"0": 0, "1": 7.5}, "label2id": {"0": 0, "7.5": 1}}
    (tmp_path / "config.json").write_text(json.dumps({**stored, **numbers}))
    config = FastASTConfig.from_pretrained(tmp_path)
    assert config.id2label == {0: "0", 1: "7.5"}
    assert FastASTConfig(id2label={0: 3, 1: 4}, label2id={3: 0, 4: 1}).label2id == {"3": 0, "4": 1}
    assert FastASTConfig.from_ast(ASTConfig(id2label={0: 3, 1: 4})).id2label == {0: "3", 1: "4"}


WRONG_FILES = [
    ("[1, 2]", "it holds no JSON object"),
    ("7", "it holds no JSON object"),
    ('{"model_type": "fastast", "hidden_size": "x"}', "Field 'hidden_size' expected int, got str"),
    ('{"model_type": "fastast", "num_hidden_layers": 0}', "num_hidden_layers is 0: give 1 or more"),
    ('{"model_type": "fastast", "dtype": "floaty"}', "has no attribute 'floaty'"),
]


@pytest.mark.parametrize(("content", "said"), WRONG_FILES)
def test_a_wrong_config_file_is_named_in_one_line(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    for kind in (FastASTConfig, FastASTForAudioClassification):
        with pytest.raises(
            ValueError, match=f"^the config.json of {re.escape(str(tmp_path))} is wrong: {ONE_LINE}{said}{ONE_LINE}$"
        ):
            kind.from_pretrained(tmp_path)


@pytest.mark.parametrize("config", [BertConfig(), {"model_type": "wav2vec2"}])
def test_another_models_config_is_refused_in_one_line(tmp_path: Path, config: BertConfig | dict[str, str]) -> None:
    fields = config if isinstance(config, dict) else config.to_dict()
    (tmp_path / "config.json").write_text(json.dumps(fields))
    message = f"is a '{fields['model_type']}' checkpoint; FastAST needs an Audio Spectrogram Transformer"
    with pytest.raises(ValueError, match=f"^{ONE_LINE}{message}{ONE_LINE}$"):
        FastASTConfig.from_pretrained(tmp_path)


def test_a_config_that_names_no_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8}))
    with pytest.raises(ValueError, match=f"^{ONE_LINE}is no checkpoint of a known kind; FastAST needs{ONE_LINE}$"):
        FastASTConfig.from_pretrained(tmp_path)


def test_an_adapter_has_the_config_of_what_it_adapts(tmp_path: Path) -> None:
    FastASTConfig(max_length=77, tome_r=3).save_pretrained(tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    adapter = {"base_model_name_or_path": str(tmp_path / "base"), "peft_type": "LORA"}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(adapter))
    config = FastASTConfig.from_pretrained(tmp_path / "adapter")
    assert (config.max_length, config.tome_r) == (77, 3)


@pytest.mark.parametrize(
    ("frames", "fields", "grid"),
    [
        (1024, {}, (12, 101)),
        (512, {}, (12, 50)),
        (128, {}, (12, 12)),
        (16, {}, (12, 1)),
        (1024, {"frequency_stride": 16, "time_stride": 16}, (8, 64)),
        (100, {"num_mel_bins": 64, "time_stride": 5, "patch_size": 8}, (6, 19)),
    ],
)
def test_patch_grid_follows_size_and_stride(frames: int, fields: dict[str, int], grid: tuple[int, int]) -> None:
    config = FastASTConfig(max_length=frames, **fields)
    assert config.patch_grid == config.patch_grid_of(frames) == grid


def test_a_clip_shorter_than_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="a clip of 15 frames is shorter than one patch of 16: pad it"):
        FastASTConfig().patch_grid_of(15)


@pytest.mark.parametrize("version", ["4.51.3", "5.16.2", "5.0.0rc1"])
def test_an_older_transformers_is_told_which_one_is_needed(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `trust_remote_code=True` runs the file, alone and first of a checkpoint's code."""
    monkeypatch.setattr(transformers, "__version__", version)
    file = Path(configuration_fastast.__file__)
    said = f"FastAST needs transformers 5.17 or newer, and {version} is installed: pip install -U 'transformers>=5.17'"
    with pytest.raises(ImportError, match=f"^{re.escape(said)}$"):
        runpy.run_path(str(file))
    setup = (Path(__file__).parents[2] / "setup.cfg").read_text()
    assert "transformers>=5.17," in setup
