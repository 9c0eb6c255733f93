"""Results as parquet, made of a file of JSON lines.

Parquet can't be added to row by row. So results go into `results.parquet.jsonl` as they come, from which a run that
was stopped goes on, and `results.parquet` is made of it at the end.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

SUFFIX = ".parquet"
ROWS_AT_ONCE = 1000

Row = dict[str, Any]


def write_parquet(path: Path, journal: Path, schema: Any, rows: Callable[[Row], Iterator[Row]]) -> None:
    """Write a parquet file of what its journal holds.

    Args:
        path: Its name; it is whole as soon as it is there.
        journal: A file of JSON lines.
        schema: pyarrow's, of the columns.
        rows: A line of the journal to the rows that it makes.
    """
    import pyarrow as pa
    from pyarrow import parquet

    partial = path.with_name(f"{path.name}.partial")
    with journal.open(encoding="ascii") as lines, parquet.ParquetWriter(partial, schema) as writer:
        made = (row for line in lines for row in rows(json.loads(line)))
        while some := list(islice(made, ROWS_AT_ONCE)):
            writer.write_batch(pa.RecordBatch.from_pylist([as_text(row) for row in some], schema))
    partial.replace(path)


def as_text(row: Row) -> Row:
    r"""A row in which bytes of names that are no text are written out, in the error that names the file, too.

    Example:
        >>> as_text({"file": "a\udcff", "error": None})
        {'file': 'a\\udcff', 'error': None}
    """
    told = {name: row[name] for name in ("file", "error") if row.get(name)}
    return row | {name: text.encode("utf-8", "backslashreplace").decode() for name, text in told.items()}


def labels_schema(labels: int | Sequence[str]) -> Any:
    """The columns of a csv: so many labels with their scores, or a score for each label of these names."""
    import pyarrow as pa

    if isinstance(labels, int):
        pairs = ((("label", pa.string()), ("score", pa.float32())) for _ in range(labels))
        columns = [(f"{name}_{k}", kind) for k, pair in enumerate(pairs, 1) for name, kind in pair]
    else:
        columns = [(name, pa.float32()) for name in labels]
    return pa.schema([("file", pa.string()), *columns, ("error", pa.string())])


def label_rows(line: Row) -> Iterator[Row]:
    """One for each file."""
    row = {"file": line["file"], "error": line.get("error"), **line.get("scores", {})}
    for k, label in enumerate(line.get("labels", ()), 1):
        row |= {f"label_{k}": label["label"], f"score_{k}": label["score"]}
    yield row


def embeddings_schema(width: int, tokens: bool) -> Any:
    """A vector for each file, or for each of its windows the vectors and sizes of its tokens."""
    import pyarrow as pa

    vector = pa.list_(pa.float32(), width)
    of_tokens = [("window", pa.int32()), ("sizes", pa.list_(pa.float32())), ("embeddings", pa.list_(vector))]
    columns = of_tokens if tokens else [("embedding", vector)]
    return pa.schema([("file", pa.string()), *columns, ("error", pa.string())])


def embedding_rows(line: Row) -> Iterator[Row]:
    """One for each file, or each window of a file."""
    if "embeddings" not in line:
        yield {"file": line["file"], "error": line.get("error")} | (
            {"embedding": from_text(line["embedding"])} if "embedding" in line else {}
        )
        return
    for window, (embeddings, sizes) in enumerate(
        zip(from_text(line["embeddings"]), from_text(line["sizes"]), strict=True)
    ):
        yield {"file": line["file"], "window": window, "sizes": sizes, "embeddings": list(embeddings)}


def to_text(array: np.ndarray) -> dict[str, Any]:
    """An array of float32 for a line of JSON, exactly and in a third of the room that numbers take."""
    return {"shape": array.shape, "float32": base64.b64encode(array.astype("<f4").tobytes()).decode()}


def from_text(stored: Mapping[str, Any]) -> np.ndarray:
    """What [`to_text`] made the text of.

    Example:
        >>> from_text(to_text(np.ones((1, 2)))).tolist()
        [[1.0, 1.0]]
    """
    return np.frombuffer(base64.b64decode(stored["float32"]), "<f4").reshape(stored["shape"])
