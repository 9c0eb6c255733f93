"""Which column of a table says what: by its usual spellings, or by the name that is given."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..corpus import first_of
from ..errors import CorpusError

logger = logging.getLogger(__name__)

# Usual spellings, the first that a table has is taken. Upper case, spaces and hyphens do not matter.
SPELLINGS = {
    "file": ("file_name", "filename", "file", "path", "file_path", "filepath", "audio", "audio_file", "audio_path",
             "audio_filename", "audio_filepath", "wav", "fname", "slice_file_name"),
    "label": ("label", "labels", "category", "categories", "class", "classes", "class_name", "tag", "tags"),
    "split": ("split", "subset", "partition"),
    "fold": ("fold",),
    "group": ("group", "speaker", "speaker_id"),
    "start": ("start", "start_time", "start_seconds", "onset"),
    "end": ("end", "end_time", "end_seconds"),
    "duration": ("duration",),
}  # fmt: skip
SEVERAL = ("labels", "categories", "classes", "tags")  # whose cells hold several labels
NUMBERS = ("target", "classid", "class_id", "class_index", "label_id", "label_index")  # of the labels beside them
# The end of what has an onset, but the start of what has a duration, as in NeMo's manifests.
_OFFSET = "offset"
# UrbanSound8K's files are slices, and its start and end are of the recordings that they were cut from.
_CUT = "slice_file_name"

Columns = dict[str, Any]  # what a column says → its name; of labels also several names, of columns of 0 and 1


def find_columns(source: str, names: Sequence[str], given: Mapping[str, str | Sequence[str] | None]) -> Columns:
    """The columns that are given or recognised.

    Args:
        source: What errors call the table.
        names: All columns of the table.
        given: Names of columns by what they say, such as `{"label": "species"}`; `label` may be several, of 0 and 1.

    Raises:
        CorpusError: A column that is given is not there.

    Example:
        >>> find_columns("a.csv", ["Filename", "species", "split"], {"label": "species"})
        {'label': 'species', 'file': 'Filename', 'split': 'split'}
    """
    found: Columns = {}
    for what, column in given.items():
        wanted = [column] if isinstance(column, str) else list(column or ())
        for name in wanted:
            if name not in names:
                raise CorpusError(
                    f"{source}: no column {name!r} among {', '.join(names) or 'none'}; give one of them as "
                    f"--{what}-column"
                )
        if wanted:
            found[what] = wanted[0] if len(wanted) == 1 else wanted
    by_spelling = {spelled(name): name for name in reversed(names)}
    offset_is = "end" if "onset" in by_spelling else "start" if "duration" in by_spelling else None
    if _OFFSET in by_spelling and offset_is is None and by_spelling[_OFFSET] not in found.values():
        logger.warning("%s: column offset is left out: give it as --start-column or --end-column to use it", source)
    for what, spellings in SPELLINGS.items():
        spellings += (_OFFSET,) * (what == offset_is)
        if what not in found and (known := [by_spelling[each] for each in spellings if each in by_spelling]):
            found[what] = known[0]
    if spelled(found.get("file", "")) == _CUT:
        found = {what: name for what, name in found.items() if what not in ("start", "end") or given.get(what)}
    if "start" not in found or "end" in found:
        found.pop("duration", None)  # of the file, or said twice
    return found


def describe(columns: Columns) -> str:
    """What is in which column, for a message."""
    return ", ".join(
        f"{what} in {name if isinstance(name, str) else f'{len(name)} columns of 0 and 1 ({first_of(name)})'}"
        for what, name in columns.items()
    )


def spelled(name: str) -> str:
    """A column's name without upper case, spaces and hyphens."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")
