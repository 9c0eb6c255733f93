"""Make a pipeline that you already have faster, in place.

    python examples/merge_in_a_pipeline.py recording.wav

The same works for any module with transformers' ASTModel inside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from transformers import pipeline

from fastast_hf import apply_token_merging, load_audio, remove_token_merging
from fastast_hf.errors import one_line_errors


def best_and_seconds(pipe: Any, sound: Any) -> tuple[str, float]:
    """The best label, and how long it took."""
    pipe(sound)  # once to warm up
    begun = perf_counter()
    best = pipe(sound)[0]
    return f"{best['label']} {best['score']:.3f}", perf_counter() - begun


@one_line_errors("merge_in_a_pipeline.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Label before, while and after merging."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--model", default="MIT/ast-finetuned-audioset-10-10-0.4593", help="folder or Hub id")
    parser.add_argument("--r", type=int, default=40, help="tokens to merge in each layer")
    args = parser.parse_args(argv)

    pipe = pipeline("audio-classification", args.model)  # somebody else's code made this
    sound = load_audio(args.file, pipe.feature_extractor.sampling_rate)  # the pipeline needs ffmpeg to read files
    rows = [("stock", *best_and_seconds(pipe, sound))]
    apply_token_merging(pipe, r=args.r)
    rows.append((f"r = {args.r}", *best_and_seconds(pipe, sound)))
    remove_token_merging(pipe)
    rows.append(("stock again", *best_and_seconds(pipe, sound)))
    for name, best, seconds in rows:
        print(f"{name:12} {best:30} {1000 * seconds:8.1f} ms")
    return 0 if rows[0][1] == rows[2][1] else 1


if __name__ == "__main__":
    sys.exit(main())
