"""A batch of any kind gets the labels that its recordings have alone."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from archives import BROKEN, contents, write_folder

from fastast_hf import Tagger
from fastast_hf.tagging.archive.batches import BatchTagger

FILES = contents(3) | BROKEN


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "sounds", FILES)


@pytest.fixture
def expected(checkpoint: Path, folder: Path) -> list[Any]:
    return Tagger(checkpoint)([folder / name for name in FILES], on_error="return", progress=False)


def check(tagged: dict[str, Any], expected: list[Any]) -> None:
    rows = zip(expected, tagged["labels"], tagged["scores"], tagged["error"], strict=True)
    for result, labels, scores, error in rows:
        if isinstance(result, Exception):
            assert list(labels) == list(scores) == [] and error.partition(": ")[2] == str(result).partition(": ")[2]
        else:
            assert error == "" and list(labels) == [label["label"] for label in result]
            assert np.allclose(list(scores), [label["score"] for label in result], atol=1e-6)


def test_paths_and_bytes_in_every_kind_of_table(checkpoint: Path, folder: Path, expected: list[Any]) -> None:
    tagger = BatchTagger(checkpoint)
    paths, sounds = [str(folder / name) for name in FILES], list(FILES.values())
    of_paths = tagger({"path": paths, "row": list(range(5))})
    check(of_paths, expected)
    assert of_paths["path"] == paths and of_paths["row"] == list(range(5))
    assert of_paths["error"][3].startswith(paths[3])
    arrays = {"bytes": np.array(sounds, object), "path": np.array(paths)}  # as Ray Data has them
    check(tagger(arrays), expected)
    assert list(tagger(arrays)) == ["path", "labels", "scores", "error"]
    table = tagger(pa.table({"bytes": pa.array(sounds, pa.binary()), "path": paths}))
    check(table.to_pydict(), expected)
    assert table.schema.field("scores").type == pa.list_(pa.float32()) and table["path"].to_pylist() == paths
    frame = tagger(pd.DataFrame({"path": paths}, index=[2, 3, 5, 7, 11]))
    check(frame.to_dict("list"), expected)
    assert frame.index.tolist() == [2, 3, 5, 7, 11]


def test_datasets_map_it(checkpoint: Path, folder: Path, expected: list[Any]) -> None:
    sounds = [{"bytes": content, "path": name} for name, content in FILES.items()]
    rows = datasets.Dataset.from_dict({"audio": sounds, "id": list(range(5))})
    rows = rows.cast_column("audio", datasets.Audio(decode=False))
    mapped = rows.map(BatchTagger(checkpoint), batched=True, batch_size=2)
    check({name: mapped[name] for name in mapped.column_names}, expected)
    assert mapped.column_names == ["audio", "id", "labels", "scores", "error"]


def test_it_travels_without_the_model(checkpoint: Path, folder: Path) -> None:
    tagger = BatchTagger(checkpoint, top_k=1, column="wav")
    batch = {"wav": [str(folder / "clip 0#.wav")]}
    before = tagger(batch)
    sent = pickle.dumps(tagger)
    assert len(sent) < 1000 and pickle.loads(sent)(batch) == before


def test_vectors_are_those_of_the_tagger(checkpoint: Path, folder: Path) -> None:
    paths = [str(folder / name) for name in FILES]
    tagged = BatchTagger(checkpoint, embeddings=True)({"file": paths})
    vectors = np.array(tagged["embedding"])
    assert np.allclose(vectors[:3], Tagger(checkpoint).embed(paths[:3]), atol=1e-6)
    assert np.isnan(vectors[3:]).all() and all(tagged["error"][3:]) and list(tagged) == ["file", "embedding", "error"]


def test_a_batch_without_recordings_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"column is None, and the batch has id: give that of the recordings"):
        BatchTagger(checkpoint)({"id": [1]})
    assert BatchTagger(checkpoint)({"path": [None]})["error"] == ["'': no such file; check the path"]
