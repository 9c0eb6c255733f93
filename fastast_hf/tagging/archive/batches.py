"""A callable on columns of recordings, as Ray Data, datasets and Spark map one over a table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ...audio.addresses import Address, is_address
from ...errors import one_line
from ..tagger import Tagger

COLUMNS = ("bytes", "audio", "path", "file")


class BatchTagger:
    """Recordings to labels, a batch of a table at a time.

    It is pickled without the model, which each process loads at its first batch. A recording that can't be used has an
    error in its row, and the others are labelled.

    Args:
        model: As of [`Tagger`].
        column: Of the recordings; None for the first of `bytes`, `audio`, `path` and `file` that there is. They are
            paths, addresses (`s3://…`), the bytes of files, or what datasets leaves undecoded, `{"bytes", "path"}`.
        embeddings: Give a vector (hidden size,) of each, `embedding`, instead of labels.
        **settings: As of [`Tagger`].

    Example:
        >>> tagged = BatchTagger(top_k=2)({"path": ["missing.wav"]})
        >>> tagged["labels"], tagged["error"]
        ([[]], ['missing.wav: no such file; check the path'])
    """

    def __init__(
        self, model: Any = None, *, column: str | None = None, embeddings: bool = False, **settings: Any
    ) -> None:
        self.model, self.column, self.embeddings, self.settings = model, column, embeddings, settings

    @cached_property
    def tagger(self) -> Tagger:
        """The model, loaded when it is first asked for."""
        return Tagger(self.model, **self.settings)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "tagger"}

    def __call__(self, batch: Any) -> Any:
        """Label a batch.

        Args:
            batch: Columns by their names, a pyarrow table, or a DataFrame.

        Returns:
            The same kind with the columns `labels` and `scores` (lists, best first) and `error` (empty where there is
            none), in place of any so called. All others are kept, but that of the recordings where it holds sound.

        Raises:
            ValueError: It has no such column, or the settings are not a tagger's.
        """
        if isinstance(batch, Mapping):
            return self._columns(batch)
        if hasattr(batch, "to_pydict"):
            columns = self._columns({name: batch[name].to_pylist() for name in batch.column_names})
            return self._table(batch, columns)
        columns = self._columns({name: batch[name].tolist() for name in batch.columns})
        return type(batch)(columns, index=batch.index)

    def _columns(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        name = self.column or next((name for name in COLUMNS if name in batch), None)
        if name is None or name not in batch:
            raise ValueError(f"column is {name!r}, and the batch has {', '.join(batch)}: give that of the recordings")
        found = list(batch[name])
        paths = next((list(batch[other]) for other in ("path", "file") if other in batch), [None] * len(found))
        sources = [self._source(value, path) for value, path in zip(found, paths, strict=True)]
        kept = {other: values for other, values in batch.items() if other != name or not _hold_sound(found)}
        return kept | self._results(sources)

    def _results(self, sources: list[Any]) -> dict[str, Any]:
        stream = self.tagger.stream_embeddings if self.embeddings else self.tagger.stream
        results = list(stream(sources, on_error="return", progress=False))
        errors = [one_line(result) if isinstance(result, Exception) else "" for result in results]
        found = [[] if error else result for result, error in zip(results, errors, strict=True)]
        if self.embeddings:
            found = [list(map(float, vector)) for vector in found]
            nothing = [float("nan")] * self.tagger.model.config.hidden_size
            return {"embedding": [vector or nothing for vector in found], "error": errors}
        return {
            "labels": [[label["label"] for label in labels] for labels in found],
            "scores": [[label["score"] for label in labels] for labels in found],
            "error": errors,
        }

    @staticmethod
    def _source(value: Any, path: Any) -> Any:
        if is_address(value):
            return Address(value)
        if isinstance(value, bytes):
            return {"bytes": value, "path": path}
        if isinstance(value, dict) and value.get("bytes", b"") is None:
            return BatchTagger._source(value.get("path"), None)
        return "" if value is None else value

    def _table(self, batch: Any, columns: dict[str, Any]) -> Any:
        import pyarrow as pa

        floats = pa.list_(pa.float32())
        kinds = {"labels": pa.list_(pa.string()), "scores": floats, "embedding": floats, "error": pa.string()}
        own = {name: pa.array(values, kinds[name]) for name, values in columns.items() if name in kinds}
        return pa.table({name: own.get(name, batch[name] if name in batch.column_names else None) for name in columns})


def _hold_sound(values: Sequence[Any]) -> bool:
    return not all(isinstance(value, (str, os.PathLike)) for value in values)
