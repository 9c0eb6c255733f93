"""What is in a checkpoint's files of weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fastast_hf.loading.saved_weights import INDEX, digest_of_folder, tensor_sizes, weights_digest

Make = Callable[..., Any]


@pytest.mark.parametrize("saving", [{}, {"max_shard_size": "50KB"}], ids=["one file", "parts"])
def test_parameters_are_those_of_the_model_alone(saving: dict[str, str], make_fastast: Make, tmp_path: Path) -> None:
    model = make_fastast()
    model.save_pretrained(tmp_path, **saving)
    assert (tmp_path / INDEX).is_file() == bool(saving)
    for name in ("adapter_model.safetensors", "model-00001-of-00099.safetensors"):
        save_file({"other": torch.zeros(7)}, tmp_path / name)
    assert sum(tensor_sizes(tmp_path)) == model.num_parameters()


def test_a_tensor_that_the_index_does_not_name_is_none_of_the_models(make_fastast: Make, tmp_path: Path) -> None:
    make_fastast().save_pretrained(tmp_path, max_shard_size="50KB")
    index = json.loads((tmp_path / INDEX).read_text())
    whole, bias = sum(tensor_sizes(tmp_path)), "classifier.dense.bias"
    del index["weight_map"][bias]
    (tmp_path / INDEX).write_text(json.dumps(index))
    assert whole - sum(tensor_sizes(tmp_path)) == make_fastast().state_dict()[bias].numel()


BROKEN = [
    (None, FileNotFoundError, "has no safetensors weights: save"),
    ("{", ValueError, "is no index of weights"),
    ("[]", ValueError, "is no index of weights"),
    ('{"weight_map": {"a": "model-00001-of-00001.safetensors"}}', FileNotFoundError, "which is not there: save"),
    ('{"weight_map": {"a": "part.safetensors"}}', ValueError, "part.safetensors has no a, which"),
]


@pytest.mark.parametrize(("index", "error", "said"), BROKEN)
def test_weights_that_are_not_all_there_are_named_in_a_line(
    index: str | None, error: type[Exception], said: str, tmp_path: Path
) -> None:
    save_file({"b": torch.zeros(2)}, tmp_path / "part.safetensors")
    if index is not None:
        (tmp_path / INDEX).write_text(index)
    with pytest.raises(error, match=said) as caught:
        tensor_sizes(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_digest_is_of_the_weights_however_they_are_saved(make_fastast: Make, tmp_path: Path) -> None:
    model = make_fastast().half()
    own = weights_digest(model.state_dict().values())
    for saving in ({}, {"max_shard_size": "50KB"}, {"save_original_format": False}):
        for dtype in (torch.float16, torch.float32):
            folder = tmp_path / f"{dtype}{len(list(tmp_path.iterdir()))}"
            model.to(dtype).save_pretrained(folder, **saving)
            assert digest_of_folder(folder) == own
            model.half()


def test_a_digest_is_another_when_a_single_weight_is(make_fastast: Make) -> None:
    model = make_fastast()
    before = weights_digest(model.state_dict().values())
    for weight in (model.classifier.dense.bias, next(model.parameters())):
        kept = weight.data.clone()
        weight.data.view(-1)[0] += 1e-3
        assert weights_digest(model.state_dict().values()) != before
        weight.data.copy_(kept)
    assert weights_digest(model.state_dict().values()) == before
