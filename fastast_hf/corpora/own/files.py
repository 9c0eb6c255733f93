"""The recordings that a table lists, where they are."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import soundfile

from ...audio import AudioError, is_audio, walk
from ..corpus import first_of
from ..errors import CorpusError
from .entries import Entry

logger = logging.getLogger(__name__)

_MOST = 10_000  # files whose headers are read for their rates: more take minutes


def find_files(
    source: str, entries: Sequence[Entry], tables: Sequence[Path], searched: Path, given: bool
) -> list[Path | None]:
    """The file of each entry, None where it is not there."""
    if not searched.is_dir():
        raise CorpusError(f"{searched}: no such folder; give the one that holds the recordings as --audio-folder")
    beside = {str(table): table.parent for table in tables}
    files: list[Path | None] = []
    outside: list[str] = []
    elsewhere: list[str] = []
    by_name: dict[str, list[Path]] | None = None
    for entry in entries:
        listed = entry.file
        if "\\" in listed and os.sep == "/":
            listed = listed.replace("\\", "/")
        table = beside[entry.where.rpartition(", ")[0]]
        bases = [searched] if given else list(dict.fromkeys((table, searched)))
        normal = Path(os.path.normpath(listed))
        if normal.parts[:1] == (os.pardir,):
            outside.append(entry.file)
            continue
        paths = (base / normal for base in bases)
        file = next((path for path in paths if os.path.isfile(path)), None)  # noqa: PTH113 - no error of a long name
        if file is None and not Path(listed).is_absolute():
            by_name = _by_name(searched) if by_name is None else by_name
            folders, name = normal.parts[:-1], normal.name
            alike = by_name.get(name) or by_name.get(normal.stem if is_audio(name) else name) or []
            alike = [path for path in alike if path.parts[-len(folders) - 1 : -1] == folders]
            if len(alike) > 1:
                raise CorpusError(
                    f"{entry.where}: {entry.file} may be {alike[0]} or {alike[1]}; give paths from the table's folder "
                    "or from --audio-folder"
                )
            file = alike[0] if alike else None
            if file:
                elsewhere.append(f"{entry.file} ({file})")
        files.append(file)
    if elsewhere:
        logger.info("%s: %d files were looked for by name: %s", source, len(elsewhere), first_of(elsewhere))
    if outside:
        raise CorpusError(
            f"{source}: {len(outside)} paths lead out of {searched}: {first_of(outside)}; give as --audio-folder the "
            "folder that holds them all, or absolute paths"
        )
    if entries and not any(files):
        name = Path(entries[0].file).name
        around = (searched.parent, *searched.parent.glob("*"))
        near = next((folder for folder in around if os.path.isfile(folder / name)), None)  # noqa: PTH113 - as above
        raise CorpusError(
            f"{source}: none of its {len(entries)} files is in {searched}, such as {entries[0].file}; give the folder "
            f"that holds them, as --audio-folder{f' {near}' if near else ''}"
        )
    return files


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """The audio files at any depth by their names, and by these without their endings."""
    errors: list[AudioError] = []
    found: dict[str, list[Path]] = {}
    for path in filter(is_audio, walk(folder, errors)):
        name = os.path.basename(path)  # noqa: PTH119 - of millions
        for key in {name, os.path.splitext(name)[0]}:  # noqa: PTH122
            found.setdefault(key, []).append(Path(path))
    if errors:
        raise errors[0]
    return found


def tell_rates(source: str, files: list[Path]) -> None:
    """Say where sampling rates differ: a model may learn to tell classes by them."""
    rates: Counter[int] = Counter()
    for file in dict.fromkeys(files) if len(files) <= _MOST else ():
        try:
            rates[soundfile.info(str(file)).samplerate] += 1
        except (soundfile.SoundFileError, OSError):
            continue  # reading it tells
    if len(rates) > 1:
        counts = [f"{count} at {rate} Hz" for rate, count in rates.most_common()]
        logger.warning(
            "%s: sampling rates differ (%s), and all are resampled: a model may recognise a class by its sampling "
            "rate alone",
            source,
            first_of(counts),
        )
