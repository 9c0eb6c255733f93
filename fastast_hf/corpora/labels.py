"""A corpus' class names, and how they are brought into a checkpoint's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from datasets import ClassLabel
from numpy.typing import NDArray

from .corpus import Corpus, CorpusError, StreamingCorpus, replace_labels

AnyCorpus = TypeVar("AnyCorpus", Corpus, StreamingCorpus)

_NAMED = 5  # names in a message, each way


def label_names(dataset: Any) -> list[str]:
    """The class names of a corpus or of one of its splits, in the order of the ids.

    Example:
        >>> from datasets import Dataset, Features
        >>> features = Features({"label": ClassLabel(names=["dog", "rain"])})
        >>> label_names(Dataset.from_dict({"label": [1, 0]}, features=features))
        ['dog', 'rain']
    """
    feature = _label_feature(dataset)
    return list((feature if isinstance(feature, ClassLabel) else feature.feature).names)


def is_multi_label(dataset: Any) -> bool:
    """Whether the clips of a corpus or split carry several labels (`labels`) or one (`label`).

    Example:
        >>> from datasets import Dataset, Features
        >>> features = Features({"label": ClassLabel(names=["dog", "rain"])})
        >>> is_multi_label(Dataset.from_dict({"label": [1, 0]}, features=features))
        False
    """
    return not isinstance(_label_feature(dataset), ClassLabel)


def targets_of(dataset: Any) -> NDArray[np.float32]:
    """The labels of a split's clips, (clips, classes): 1 for each of a clip's classes, else 0.

    Example:
        >>> from datasets import Dataset, Features
        >>> features = Features({"label": ClassLabel(names=["dog", "rain"])})
        >>> targets_of(Dataset.from_dict({"label": [1, 0]}, features=features)).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    ids = dataset["labels" if is_multi_label(dataset) else "label"]
    targets = np.zeros((len(dataset), len(label_names(dataset))), np.float32)
    for target, own in zip(targets, ids, strict=True):
        target[own] = 1
    return targets


def with_label_order(corpus: AnyCorpus, names: Sequence[str]) -> AnyCorpus:
    """Renumber a corpus' classes by name to the order of a checkpoint's labels.

    Args:
        corpus: What `load_corpus` returned.
        names: The same class names in the wanted order, such as `config.id2label` has them.

    Returns:
        The corpus with other ids; its clips, their order and `missing` stay.

    Raises:
        CorpusError: If the names are not those of the corpus.

    Example:
        >>> from datasets import Dataset, Features, Value
        >>> features = Features({"id": Value("string"), "label": ClassLabel(names=["dog", "rain"])})
        >>> data = Dataset.from_dict({"id": ["a", "b"], "label": [1, 0]}, features=features)
        >>> corpus = Corpus({"train": data}, missing={"train": 0})
        >>> with_label_order(corpus, ["rain", "dog"])["train"]["label"][:]
        [0, 1]
    """
    names, own = list(names), label_names(corpus)
    check_label_names(names, own)
    if names == own:
        return corpus
    ids = {index: names.index(name) for index, name in enumerate(own)}
    return type(corpus)({split: replace_labels(data, ids, names) for split, data in corpus.items()}, corpus.missing)


def check_label_names(names: Sequence[str], own: Sequence[str], checkpoint: str = "the checkpoint") -> None:
    """Raise a [`CorpusError`] if a checkpoint's names are not those of a corpus' own classes, in any order."""
    if len(set(names)) < len(names):
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        raise CorpusError(f"{checkpoint} has the label {_listed(twice)} twice; give each class once")
    if set(names) != set(own):
        lacked, foreign = [name for name in own if name not in names], [name for name in names if name not in own]
        differ = [f"lacks {_listed(lacked)}"] * bool(lacked) + [f"adds {_listed(foreign)}"] * bool(foreign)
        raise CorpusError(
            f"{checkpoint} knows {len(names)} labels, the corpus has {len(own)}: it {' and '.join(differ)}; give the "
            "corpus that the checkpoint was trained on, or train a new head"
        )


def _label_feature(dataset: Any) -> Any:
    if isinstance(dataset, dict):
        dataset = next(iter(dataset.values()))
    features = dataset.features or {}
    for column in ("label", "labels"):
        if column in features:
            return features[column]
    raise CorpusError(f"dataset with the columns {', '.join(features) or 'none'}; give one with label or labels")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name) for name in names[:_NAMED]) + more
