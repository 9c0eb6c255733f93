"""A small archive: recordings as files, in a tar and in a table, some of which can't be used."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import soundfile
from pyarrow import parquet
from sounds import tone

BROKEN = {"text.wav": b"no audio", "empty.wav": b""}


def wav(hz: float, seconds: float = 0.5) -> bytes:
    """A file with a tone."""
    file = io.BytesIO()
    soundfile.write(file, tone(hz, seconds=seconds), 16000, format="WAV")
    return file.getvalue()


def contents(count: int) -> dict[str, bytes]:
    """So many recordings by their names, of two lengths, the longer ones of three windows of a tiny model."""
    return {f"clip {index}#.wav": wav(200 + 40 * index, 3.0 if index % 3 == 2 else 0.5) for index in range(count)}


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    """A shard as WebDataset's: a label beside each recording."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            for member, data in ((name, content), (f"{name[:-4]}.cls", b"1")):
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def write_sound_table(path: Path, files: dict[str, bytes]) -> Path:
    """Parquet as datasets writes `Audio`."""
    sounds = [{"bytes": content, "path": name} for name, content in files.items()]
    parquet.write_table(pa.table({"audio": sounds}), path)
    return path
