"""The weights of a checkpoint, as transformers finds them: their sizes, and a digest to know them again by."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from transformers.utils.hub import cached_file, get_checkpoint_shard_files

from ..model.configuration_fastast import adapted_checkpoint

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"  # read where there is no other


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
        found: dict[Path, list[str]] = defaultdict(list)
        for name, place in places:
            found[folder / Path(place).name].append(name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{index} is no index of weights ({error!r}): save the model anew") from error
    for file, names in found.items():
        if not file.is_file():
            raise FileNotFoundError(f"{index} names {file.name}, which is not there: save the model anew")
        with safe_open(file, framework="pt") as weights:
            if lacking := sorted(set(names) - set(weights.keys())):
                raise ValueError(f"{file} has no {lacking[0]}, which {INDEX} names there: save the model anew")
    return dict(found)


def tensor_sizes(folder: Path) -> list[int]:
    """How many numbers each tensor in the safetensors files of a folder has, from their headers.

    Raises:
        OSError: As [`tensors_by_file`].
        ValueError: As [`tensors_by_file`].
    """
    sizes = []
    for file, names in tensors_by_file(folder).items():
        with safe_open(file, framework="pt") as weights:
            sizes += [prod(weights.get_slice(name).get_shape()) for name in names]
    return sizes


def sizes_of_checkpoint(checkpoint: str | os.PathLike[str]) -> list[int]:
    """How many numbers each tensor of a checkpoint has: of a folder or the Hub, safetensors or pickled.

    Raises:
        OSError: As [`tensors_by_file`], or the Hub can't be reached.
        ValueError: As [`tensors_by_file`].
        UnpicklingError: Pickled weights hold code.
    """
    place = os.fspath(adapted_checkpoint(checkpoint))
    for name in (WHOLE, INDEX, PICKLED, PICKLED_INDEX):
        found = cached_file(place, name, _raise_exceptions_for_missing_entries=False)
        if found is None:
            continue
        files = [found]
        if name == PICKLED_INDEX or (name == INDEX and not Path(place).is_dir()):
            files = get_checkpoint_shard_files(place, found)[0]  # of the Hub, they are fetched here
        if name in (WHOLE, INDEX):
            return tensor_sizes(Path(found).parent)
        return [
            tensor.numel()
            for file in files
            for tensor in torch.load(file, map_location="meta", weights_only=True).values()
        ]
    raise FileNotFoundError(
        f"{checkpoint} has a config.json and no weights ({WHOLE}): fetch them from where it comes from, or save the "
        "model with save_pretrained"
    )


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
