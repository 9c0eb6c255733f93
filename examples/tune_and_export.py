"""Find how much to merge for your recordings, and export that.

    python examples/tune_and_export.py recordings/

No labels are needed. The file runs on ONNX Runtime, without PyTorch's kernels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fastast_hf import Tagger, tune
from fastast_hf.audio import find_audio
from fastast_hf.errors import one_line_errors
from fastast_hf.onnx.export import export_onnx


@one_line_errors("tune_and_export.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Tune, print what was found, save and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a hundred recordings or more, like those to be labelled")
    parser.add_argument("--model", help="folder, Hub id or name of a bundled checkpoint")
    parser.add_argument("--speedup", type=float, default=1.5, help="wanted over the unmerged model")
    parser.add_argument("--trials", type=int, default=60, help="how many ways of merging are tried")
    parser.add_argument("--output", type=Path, default=Path("tuned"))
    args = parser.parse_args(argv)

    files = find_audio([args.folder]).files
    # float32, because the file has float32 weights; `fastast export int8` makes a smaller one.
    found = tune(args.model, files, speedup=args.speedup, trials=args.trials, dtypes=["float32"])
    print(found)
    print(found.to_pandas()[["found_by", "mac_ratio", "speedup", "held_out.kept", "held_out.kl", "chosen"]])
    found.save(args.output)
    file = args.output / "model.onnx"
    export_onnx(args.output, file)
    print(Tagger(file, top_k=1)(files[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
