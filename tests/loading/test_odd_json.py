"""A checkpoint's json with a field of a wrong kind is used all the same, or refused in one line."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from fastast_hf.loading.checkpoint import front_end_of, load_classifier
from fastast_hf.loading.saved_weights import INDEX, WHOLE, tensors_by_file
from fastast_hf.model.configuration_fastast import FastASTConfig

ODD: list[Any] = [True, -1, 1.5, float("inf"), "x", [], {"a": 1}, None]
CONFIG, FRONT_END = "config.json", "preprocessor_config.json"
# A handful, and all else that failed within transformers or stands for the rest.
FIELDS = [(CONFIG, "auto_map"), (CONFIG, "patch_size"), (CONFIG, "tome_r"), (FRONT_END, "max_length")]
MORE = [
    *((CONFIG, field) for field in ["dtype", "quantization_config", "base_model_tp_plan", "transformers_weights"]),
    *((CONFIG, field) for field in ["attn_implementation", "id2label", "hidden_act", "max_length", "thresholds"]),
    (CONFIG, "layer_norm_eps"),
    *((FRONT_END, field) for field in ["sampling_rate", "num_mel_bins", "mean", "std", "do_normalize"]),
    (FRONT_END, "feature_size"),
]
TEXTS = ["[" * 100_000, "5", "[]", "null", "", "\x00"]


def load(folder: Path) -> None:
    front_end_of(load_classifier(folder).config, folder)


@pytest.mark.parametrize(("name", "field"), [*FIELDS, *(pytest.param(*more, marks=pytest.mark.slow) for more in MORE)])
def test_odd_fields(name: str, field: str, checkpoint: Path) -> None:
    whole = json.loads((checkpoint / name).read_text(encoding="utf-8"))
    for value in ODD:
        (checkpoint / name).write_text(json.dumps({**whole, field: value}), encoding="utf-8")
        with contextlib.suppress(ValueError, OSError):  # what a user is told; whatever else is raised fails
            load(checkpoint)


@pytest.mark.parametrize("name", [CONFIG, FRONT_END])
def test_what_is_no_object_is_refused(name: str, checkpoint: Path) -> None:
    for text in TEXTS:
        (checkpoint / name).write_text(text, encoding="utf-8")
        with pytest.raises((ValueError, OSError)):
            load(checkpoint)


@pytest.mark.parametrize(
    "index", [*TEXTS, '{"weight_map": {"a": 5}}', '{"weight_map": {"a": null}}', '{"weight_map": []}']
)
def test_a_wrong_index_of_weights_is_refused(index: str, checkpoint: Path) -> None:
    (checkpoint / WHOLE).unlink()
    (checkpoint / INDEX).write_text(index, encoding="utf-8")
    with pytest.raises(ValueError, match="is no index of weights"):
        tensors_by_file(checkpoint)


@pytest.mark.parametrize("adapter", [*TEXTS, '{"base_model_name_or_path": 5}', '{"base_model_name_or_path": ["a"]}'])
def test_a_wrong_adapter_is_refused(adapter: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(adapter, encoding="utf-8")
    with pytest.raises(ValueError, match=r"adapter_config\.json"):
        FastASTConfig.from_pretrained(tmp_path)
