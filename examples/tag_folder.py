"""Label every recording of a folder, and count the labels in pandas.

python examples/tag_folder.py recordings/
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastast_hf import Tagger
from fastast_hf.audio import find_audio
from fastast_hf.errors import counted, one_line_errors


@one_line_errors("tag_folder.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Label, count, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="folder, Hub id or name of a bundled checkpoint")
    parser.add_argument("--output", type=Path, default=Path("labels.csv"))
    args = parser.parse_args(argv)

    files = find_audio([args.folder]).files
    if not files or not args.folder.exists():
        raise ValueError(f"{args.folder}: no recordings are there: give a folder that has some")
    args.output.parent.mkdir(parents=True, exist_ok=True)  # now, so that no labels are lost
    tagger = Tagger(args.model, top_k=3, preset="balanced")
    print(tagger)  # what it is: labels, merging, dtype, device
    table = tagger.to_pandas(files)
    table.to_csv(args.output, index=False)

    failed = table[table.error.notna()]
    print(f"{counted(table.file.nunique() - len(failed), 'recording')} labelled, {len(failed)} failed")
    if len(failed) == len(table):
        raise ValueError(failed.error.iloc[0])
    best = table[table.error.isna()].drop_duplicates("file")  # the first row of each file is its best label
    print(best.label.value_counts().head(10).to_string())
    return 0


if __name__ == "__main__":
    sys.exit(main())
