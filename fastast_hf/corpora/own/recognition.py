"""What a file or folder of sound holds, where nobody says."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet

from ..audiofolder import split_folders
from ..errors import CorpusError
from .dataset import is_saved
from .reading import ENDINGS, find_tables

# The corpora that lie in a layout of their own, by a file that each has.
_OFFICIAL = {
    "meta/esc50.csv": "esc50",
    "testing_list.txt": "speech_commands",
    "balanced_train_segments.csv": "audioset",
}


def recognise(data: Path, file_column: str | None = None) -> tuple[str, str]:
    """The corpus that a file or folder is, as `--corpus` has it, and why.

    Raises:
        CorpusError: There is nothing there, or it is nothing known.

    Example:
        >>> recognise(Path("nowhere"))
        Traceback (most recent call last):
        ...
        fastast_hf.corpora.errors.CorpusError: nowhere: no such file or folder; give the folder that holds ...
    """
    if not data.exists():
        raise CorpusError(
            f"{data}: no such file or folder; give the folder that holds your sounds, or a table of files and labels"
        )
    for file, name in _OFFICIAL.items():
        if (data / file).is_file():
            return name, f"it holds {file}"
    parquet = [data] if data.is_file() else sorted([*data.glob("*.parquet"), *data.glob("*/*.parquet")])
    if data.is_dir() and is_saved(data):
        return "datasets", "save_to_disk wrote it"
    if parquet and _has_sound(parquet[0]):
        return "datasets", "a parquet dataset with a column of audio"
    if tables := find_tables(data, file_column):
        return "csv", f"its table is {', '.join(str(table) for table in tables)}"
    folders = split_folders(data) or {"": data}
    classes = [child for folder in folders.values() for child in folder.iterdir() if child.is_dir()]
    if classes:
        return "audiofolder", "one folder for each class"
    raise CorpusError(
        f"{data}: holds neither a table ({', '.join(ENDINGS)}) nor folders named after classes; give one of them, or "
        "--corpus"
    )


def _has_sound(file: Path) -> bool:
    """Whether a parquet file has a column of audio, with bytes and paths."""
    try:
        schema = pyarrow.parquet.read_schema(file)
    except (OSError, pyarrow.ArrowException):
        return False
    return any(pyarrow.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0 for field in schema)
