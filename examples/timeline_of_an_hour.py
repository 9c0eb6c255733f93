"""Find when something is heard in a long recording.

    python examples/timeline_of_an_hour.py hour.flac --plot hour.png

Memory does not grow with the recording: windows are read, scored and forgotten.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastast_hf import Tagger
from fastast_hf.errors import counted, one_line_errors
from fastast_hf.tagging.timelines.events import clock


@one_line_errors("timeline_of_an_hour.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Print events, and draw them if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording")
    parser.add_argument("--model", help="folder, Hub id or name of a bundled checkpoint")
    parser.add_argument("--window", type=float, default=1.0, help="seconds of a window")
    parser.add_argument("--hop", type=float, default=0.5, help="seconds from one window to the next")
    parser.add_argument("--threshold", type=float, default=0.5, help="the score from which on an event begins")
    parser.add_argument("--plot", help="a picture to write")
    args = parser.parse_args(argv)

    tagger = Tagger(args.model, preset="fast")
    timeline = tagger.timeline(args.recording, window=args.window, hop=args.hop)
    # `off` lets an event go on while its score wavers; gaps of half a second are closed.
    events = timeline.events(args.threshold, off=0.6 * args.threshold, merge_seconds=0.5)
    for event in events:
        print(f"{clock(event.start, 1)} – {clock(event.end, 1)}  {event.label}  {event.score:.2f}")
    print(f"{counted(len(events), 'event')} with scores of {args.threshold:g} or more")
    if args.plot:
        timeline.plot(args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
