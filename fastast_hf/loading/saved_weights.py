"""The safetensors files of a checkpoint's folder, as transformers reads them, and a digest to know them again by."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def tensors_by_file(folder: Path) -> dict[Path, list[str]]:
    """The names of the tensors of a model in each of its files: where there is an index, those that it names.

    Raises:
        OSError: There are no weights, or a file that the index names is not there.
        ValueError: The index can't be read, or a file lacks a tensor that it names there.
    """
    if (folder / WHOLE).is_file():
        with safe_open(folder / WHOLE, framework="pt") as weights:
            return {folder / WHOLE: list(weights.keys())}
    index = folder / INDEX
    if not index.is_file():
        raise FileNotFoundError(f"{folder} has no safetensors weights: save the model with save_pretrained")
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"].items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of weights ({error!r}): save the model anew") from error
    found: dict[Path, list[str]] = defaultdict(list)
    for name, place in places:
        found[folder / Path(place).name].append(name)
    for file, names in found.items():
        if not file.is_file():
            raise FileNotFoundError(f"{index} names {file.name}, which is not there: save the model anew")
        with safe_open(file, framework="pt") as weights:
            if lacking := sorted(set(names) - set(weights.keys())):
                raise ValueError(f"{file} has no {lacking[0]}, which {INDEX} names there: save the model anew")
    return dict(found)


def count_parameters(folder: Path) -> int:
    """Parameters in the safetensors files of a folder, from their headers; AST has no other tensors.

    Raises:
        OSError: As [`tensors_by_file`].
        ValueError: As [`tensors_by_file`].
    """
    total = 0
    for file, names in tensors_by_file(folder).items():
        with safe_open(file, framework="pt") as weights:
            total += sum(prod(weights.get_slice(name).get_shape()) for name in names)
    return total


def weights_digest(tensors: Iterable[torch.Tensor]) -> str:
    """A text of 16 characters that is another one for other weights, about a second's work for a gigabyte.

    Of shapes and values alone: saved again, in other files or in a wider type, under the names of another version of
    transformers, weights keep it.

    Args:
        tensors: All of a model, in any order.

    Example:
        >>> weights_digest([torch.zeros(2), torch.ones(1).half()]) == weights_digest([torch.ones(1), torch.zeros(2)])
        True
        >>> weights_digest([torch.zeros(2)]) == weights_digest([torch.zeros(1, 2)])
        False
    """
    each = []
    for tensor in tensors:
        digest = hashlib.sha256(str(tuple(tensor.shape)).encode())
        digest.update(tensor.detach().float().cpu().contiguous().view(-1).numpy().data)
        each.append(digest.hexdigest())
    return hashlib.sha256(" ".join(sorted(each)).encode()).hexdigest()[:16]


def digest_of_folder(folder: Path) -> str:
    """[`weights_digest`] of what is saved in a folder.

    Raises:
        OSError: As [`tensors_by_file`].
        ValueError: As [`tensors_by_file`].
    """

    def tensors() -> Iterable[torch.Tensor]:
        for file, names in tensors_by_file(folder).items():
            with safe_open(file, framework="pt") as weights:
                for name in names:
                    yield weights.get_tensor(name)

    return weights_digest(tensors())
