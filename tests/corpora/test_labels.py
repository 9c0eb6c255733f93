"""Class names, and ids in the order of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from fastast_hf.corpora import Corpus, CorpusError, is_multi_label, label_names, with_label_order
from fastast_hf.corpora.corpus import Clip, build_corpus, stream

NAMES = ["dog", "rain", "wind"]
REFUSED = [
    # order, what is said
    (["dog", "rain"], "knows 2 labels, the corpus has 3: it lacks 'wind'; give"),
    (["dog", "rain", "wind", "sea"], "knows 4 labels, the corpus has 3: it adds 'sea'; give"),
    (["dog", "rain", "dog"], "'dog' twice"),
    (
        [f"class {i}" for i in range(9)],
        "it lacks 'dog', 'rain', 'wind' and adds 'class 0', .*'class 4' and 4 more;",
    ),
]


def make_corpus(multi_label: bool = False) -> Corpus:
    labels: list[Any] = [[0, 2], [1], [], [2, 1]] if multi_label else [0, 1, 2, 1]
    clips = [Clip(str(i), Path(f"{i}.wav"), label) for i, label in enumerate(labels)]
    missing = Clip("gone", None, [] if multi_label else 0)
    test = [clip._replace(file=Path(f"test/{clip.id}.wav")) for clip in clips[1:]]
    return build_corpus({"train": [*clips, missing], "test": test}, NAMES, Path("clips"), multi_label)


@pytest.mark.parametrize("multi_label", [False, True])
def test_names_and_kind_are_read_from_corpus_split_and_stream(multi_label: bool) -> None:
    corpus = make_corpus(multi_label)
    for dataset in (corpus, corpus["test"], stream(corpus), stream(corpus)["test"]):
        assert label_names(dataset) == NAMES
        assert is_multi_label(dataset) is multi_label


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("multi_label", [False, True])
def test_every_clip_keeps_its_names_in_another_order(multi_label: bool, streamed: bool) -> None:
    corpus: Any = stream(make_corpus(multi_label)) if streamed else make_corpus(multi_label)
    order = ["wind", "dog", "rain"]
    ordered = with_label_order(corpus, order)
    assert type(ordered) is type(corpus) and ordered.missing == {"train": 1, "test": 0}
    for split in corpus:
        assert label_names(ordered[split]) == order
        for old, new in zip(corpus[split], ordered[split], strict=True):
            if multi_label:
                assert [order[i] for i in new["labels"]] == [NAMES[i] for i in old["labels"]]
            else:
                assert order[new["label"]] == NAMES[old["label"]]
            assert (new["id"], new["audio"]) == (old["id"], old["audio"])


def test_corpus_in_the_wanted_order_is_left_alone() -> None:
    corpus = make_corpus()
    assert with_label_order(corpus, tuple(NAMES)) is corpus


@pytest.mark.parametrize(("names", "message"), REFUSED)
def test_other_names_are_refused_and_listed(names: list[str], message: str) -> None:
    with pytest.raises(CorpusError, match=message) as caught:
        with_label_order(make_corpus(), names)
    assert "\n" not in str(caught.value)


def test_dataset_without_labels_is_refused() -> None:
    with pytest.raises(CorpusError, match="columns id; give one with label"):
        label_names(Dataset.from_dict({"id": ["a"]}))
