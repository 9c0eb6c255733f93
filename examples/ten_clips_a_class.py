"""Learn new classes from ten clips each, on embeddings.

    python examples/ten_clips_a_class.py sounds/ new.wav

`sounds/` holds one folder for each class. The model itself is not trained, so this takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastast_hf import Tagger
from fastast_hf.audio import find_audio
from fastast_hf.errors import counted, one_line_errors


@one_line_errors("ten_clips_a_class.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Embed, fit, say how good it is, and label new recordings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("new", nargs="*", help="recordings to label")
    parser.add_argument("--model", help="folder, Hub id or name of a bundled checkpoint")
    args = parser.parse_args(argv)

    files = find_audio([args.folder]).files if args.folder.is_dir() else []
    classes = [Path(file).parent.name for file in files]
    clips = Counter(classes)
    if len(clips) < 2 or min(clips.values()) < 2:
        found = ", ".join(f"{counted(number, 'clip')} of {name}" for name, number in clips.items()) or "no clips"
        raise ValueError(f"{args.folder}: {found}: give a folder of two or more folders, of two or more clips each")
    tagger = Tagger(args.model)
    vectors = tagger.embed(files)  # (recordings, width)

    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    parts = min(5, *clips.values())
    right = cross_val_score(classifier, vectors, classes, cv=parts)
    # Clips of one recording belong in one part, or this is too good: see StratifiedGroupKFold.
    print(f"{len(files)} clips of {len(clips)} classes: {right.mean():.0%} right, in {parts} parts")
    classifier.fit(vectors, classes)
    for file, label in zip(args.new, classifier.predict(tagger.embed(args.new)) if args.new else [], strict=True):
        print(f"{file}: {label}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
