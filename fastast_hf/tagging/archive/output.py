"""Results in a folder of parquet files, here or in an object store: what is there, and what a run adds."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...audio.addresses import arrow_filesystem, filesystem_of, is_address
from ...loading.places import check_output
from ..score_settings import check_same_settings

FAILED = "failed"  # the column that parts the files: failed=false/…, failed=true/…
SETTINGS = "_settings.json"
AT_ONCE = 16  # files whose names are read


class Archive:
    """A folder `failed=false` of results and a folder `failed=true` of reasons, both with files of parquet.

    Args:
        place: Path or address of the folder that holds both.

    Attributes:
        damaged: Files that a killed run left without an end; [`names`] removes them, as nobody can read them.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self.files, self.path = filesystem_of(place)
        self.filesystem = arrow_filesystem(self.files)
        self.damaged: list[str] = []
        self._settings = posixpath.join(self.path, SETTINGS)

    def begin(self, settings: Mapping[str, Any], resume: bool) -> set[str]:
        """Make sure that results may be added here; what failed in an earlier run is done again.

        Returns:
            The names of the recordings that have results.

        Raises:
            ValueError: There are results and `resume` is False, or they are of other settings.
        """
        self.check(resume, settings)
        done = self.names(failed=False)
        if self.files.exists(failed := posixpath.join(self.path, f"{FAILED}=true")):
            self.files.rm(failed, recursive=True)
        self.files.makedirs(self.path, exist_ok=True)
        with self.files.open(self._settings, "wb") as file:
            file.write(json.dumps(settings, indent=1).encode() + b"\n")
        return done

    def check(self, resume: bool, settings: Mapping[str, Any] | None = None) -> None:
        """Refuse a place that can't be written to, or with results that are not to be added to.

        Args:
            resume: Whether they are.
            settings: What new scores depend on; None where that is not known yet.

        Raises:
            ValueError: It can't, or there are such; or nothing says what those there depend on, or it differs.
        """
        if not is_address(self.place):
            check_output(Path(self.place), "folder")
        if not self._parquet():
            return
        if not resume:
            raise ValueError(f"{self.place} has results: add --resume to go on with them, or give another folder")
        earlier = self.files.cat_file(self._settings) if self.files.exists(self._settings) else None
        told = None if earlier is None else earlier.decode(errors="replace")
        check_same_settings(self.place, SETTINGS, told, settings, "folder")

    def names(self, failed: bool) -> set[str]:
        """The recordings that have results, or reasons."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(self._names_in, self._parquet(f"{FAILED}={str(failed).lower()}"))
            return set().union(*found)

    def _names_in(self, path: str) -> set[str]:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            with self.files.open(path, "rb") as file:
                return set(parquet.ParquetFile(file).read(["file"])["file"].to_pylist())
        except pa.ArrowInvalid:
            self.files.rm_file(path)
            self.damaged.append(path)
            return set()

    def _parquet(self, folder: str = "") -> list[str]:
        path = posixpath.join(self.path, folder) if folder else self.path
        return [one for one in self.files.find(path) if one.endswith(".parquet")] if self.files.exists(path) else []
