"""Show the best label of a microphone as a bar.

    python examples/live_meter.py

With --file a recording is heard instead, as fast as the model is. `fastast listen` does more.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from fastast_hf import Tagger, load_audio
from fastast_hf.audio.microphone import Microphone
from fastast_hf.errors import counted, one_line_errors


@one_line_errors("live_meter.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each window, until Ctrl-C or the end of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="folder, Hub id or name of a bundled checkpoint")
    parser.add_argument("--file", help="a recording instead of the microphone")
    parser.add_argument("--window", type=float, default=1.0, help="seconds of a window")
    args = parser.parse_args(argv)

    tagger = Tagger(args.model, preset="fast")
    blocks: Iterable[Any]  # of samples
    if args.file:
        rate = 16000  # Hz
        blocks = [load_audio(args.file, rate)]
    else:
        blocks = Microphone()  # the system's; needs pip install '.[live]'
        rate = blocks.rate
    # A microphone does not wait: windows that there is no time for are skipped and counted.
    stream = tagger.listen(blocks, rate, window=args.window, hop=args.window / 4, skip=args.file is None)
    with contextlib.suppress(KeyboardInterrupt):
        for moment in stream:
            best = int(moment.scores.argmax())
            score = float(moment.scores[best])
            print(f"{moment.time:8.1f} s  {'█' * round(20 * score):20}  {score:.2f}  {stream.labels[best]}")
    print(f"{counted(stream.skipped, 'window')} skipped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
