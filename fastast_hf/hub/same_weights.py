"""Whether results were measured with the weights that they lie beside, by the digests that are written into them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..loading.saved_weights import digest_of_folder
from .card_schema import RESULTS


def check_results(folder: Path, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Refuse results of other weights than the folder's: of those before it was trained again, say.

    A table may be of several checkpoints, compared or trained on each fold: the folder's has to be one of them.
    Results without a digest, written by hand or by an older version, are taken as they are.

    Args:
        folder: The checkpoint's.
        results: Of a training run and of `fastast evaluate`, by their names in the folder.

    Returns:
        The digest of the folder's weights; empty where no results have one.

    Raises:
        ValueError: A file is of other weights.
        OSError: There are no weights.
    """
    measured = {name: digests for name, content in results.items() if (digests := digests_of(content))}
    own = digest_of_folder(folder) if measured else ""
    for name, digests in measured.items():
        if own not in digests:
            again = "train" if name == RESULTS else "evaluate"
            raise ValueError(
                f"{folder / name} is of other weights than those in {folder}: {again} again, or remove it"
            )
    return own


def digests_of(results: Mapping[str, Any]) -> set[str]:
    """The digests of all weights that a run's results, or a table of `fastast evaluate`, are of."""
    run = {results["weights"]} if "weights" in results else set()
    return run | {digest for row in results.get("rows", ()) for digest in row.get("weights", ())}
