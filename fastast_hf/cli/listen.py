"""`fastast listen`: labels of a microphone, of a pipe or of a file, while the sound comes in."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import counted, what_to_do
from ..tagging.timelines.files import FORMATS, format_of
from . import classify, events
from .event_commands import EventCommands
from .recordings import make_tagger

if TYPE_CHECKING:
    import numpy as np

    from ..tagging.live import LiveStream
    from ..tagging.tagger import Tagger
    from ..tagging.timelines.events import Event, Moment

ENDINGS = [form.ending for name, form in FORMATS.items() if name != "parquet"]  # which is written whole


def add_parser(commands: Any) -> None:
    """Add `listen` to the commands."""
    parser = commands.add_parser(
        "listen",
        help="label a microphone, a pipe or a file while the sound comes in",
        description="Label sound while it comes in. On a terminal you see the labels, the last minute and how fast it "
        "is; into a pipe go events, a JSON object a line. Ctrl-C ends it.",
    )
    parser.add_argument(
        "source",
        nargs="?",
        metavar="FILE",
        help="a file, as fast as it sounds; - for stdin, as fast as the model is (default: the microphone)",
    )
    sound = parser.add_argument_group("the sound")
    sound.add_argument(
        "--microphone",
        metavar="NAME",
        help="its name or number, as python -m sounddevice lists them (default: the system's)",
    )
    sound.add_argument("--pcm", choices=("s16le", "f32le"), help="samples without a header (default: stdin is wav)")
    sound.add_argument("--rate", type=int, metavar="HZ", help="of --pcm")
    sound.add_argument("--channels", type=int, default=1, metavar="N", help="of --pcm (default: 1)")
    sound.add_argument(
        "--full-speed", action="store_true", help="take a file as fast as the model is, and skip nothing, as stdin is"
    )
    sound.add_argument(
        "--follow",
        action="store_true",
        help="a file that still grows (wav or --pcm), from its start",
    )
    classify.add_tagger_options(parser)
    classify.add_score_options(parser)
    parser.add_argument("--top-k", type=int, default=5, metavar="N", help="labels to show (default: 5)")
    settings = parser.add_argument_group("windows and events", "An event is given when it is over.")
    events.add_event_settings(settings, "0.5")
    result = parser.add_mutually_exclusive_group()
    result.add_argument("--jsonl", action="store_true", help="print each window's labels, a JSON object a line")
    result.add_argument(
        "--events", dest="print_events", action="store_true", help="print events, a JSON object a line"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=f"write events to a new file: {' '.join(ENDINGS)}",
    )
    parser.add_argument(
        "--exec",
        metavar="CMD",
        help="run a command for each event, without a shell; it finds FASTAST_LABEL, FASTAST_START, FASTAST_END, "
        "FASTAST_SCORE and FASTAST_MEAN in its environment",
    )
    parser.set_defaults(run=run, batch_size=8, pool=None)


class Source(NamedTuple):
    """Where sound comes from: blocks at a rate, and whether hops are skipped when the model is too slow."""

    name: str
    rate: int
    blocks: Iterable[np.ndarray]
    skip: bool


def run(args: argparse.Namespace) -> int:
    """Listen until the sound ends or is stopped; then say in a line why, and what was heard."""
    check(args)
    tagger = make_tagger(args)
    source = source_of(args, tagger.feature_extractor.sampling_rate)
    session = _Session(args, tagger, source)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # how services are stopped
    try:
        if args.output is None:
            for _ in session.results():
                pass
        else:
            FORMATS[format_of(args.output) or ""].write(args.output, session.results())
    finally:
        signal.signal(signal.SIGTERM, before)
    print(f"fastast listen: {session.last_line()}", file=sys.stderr)
    if isinstance(session.ended, BrokenPipeError):
        raise session.ended
    return session.code


def check(args: argparse.Namespace) -> None:
    """Refuse what can't be done, before a model is loaded.

    Raises:
        ValueError: There is such a thing.
    """
    if args.top_k < 1:
        raise ValueError(f"--top-k is {args.top_k}: give 1 or more")
    if (args.pcm is None) != (args.rate is None):
        raise ValueError("--pcm and --rate go together: give both, or neither for sound with a header")
    if args.source is None and (args.pcm or args.full_speed or args.follow):
        raise ValueError(
            "--pcm, --full-speed and --follow are not of a microphone: give a file or -, or leave them out"
        )
    if args.source is not None and args.microphone is not None:
        raise ValueError(f"--microphone and {args.source} were given: leave one out")
    if args.source == "-" and (args.follow or args.full_speed):
        raise ValueError("--follow and --full-speed are of a file, and stdin skips nothing anyway: leave them out")
    if args.follow and args.full_speed:
        raise ValueError("--follow skips nothing anyway: leave --full-speed out")
    if args.output is not None and not any(args.output.name.endswith(ending) for ending in ENDINGS):
        raise ValueError(f"{args.output}: events are written as {', '.join(ENDINGS)}: give a name with such an ending")
    if args.output is not None and args.output.exists():
        raise ValueError(f"{args.output} exists: give the name of a new file")


def source_of(args: argparse.Namespace, rate: int) -> Source:
    """What the arguments name; a file comes at the model's rate.

    Raises:
        AudioError: It can't be used.
    """
    from ..audio.loading import read_audio
    from ..audio.microphone import Microphone
    from ..audio.pipes import growing, sound_in_bytes

    if args.source is None:
        chosen = args.microphone
        microphone = Microphone(int(chosen) if chosen and chosen.isdecimal() else chosen)
        return Source(microphone.name, microphone.rate, microphone, True)
    name = "stdin" if args.source == "-" else args.source
    in_bytes = partial(sound_in_bytes, name=name, rate=args.rate, pcm=args.pcm, channels=args.channels)
    if args.source == "-":
        return Source(name, *in_bytes(partial(os.read, sys.stdin.fileno())), False)  # its writer waits
    if args.follow:
        return Source(name, *in_bytes(growing(args.source, name), to_end=True), False)
    if args.pcm is not None:
        rate, blocks = in_bytes(Path(args.source).open("rb").read)  # noqa: SIM115 - open as long as it is read
    else:
        blocks = read_audio(args.source, rate)
    return Source(name, rate, blocks if args.full_speed else paced(blocks, rate), not args.full_speed)


def paced(blocks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Blocks of 20 ms, each when it has sounded."""
    begun, done = time.perf_counter(), 0
    for block in blocks:
        for start in range(0, len(block), rate // 50):
            part = block[start : start + rate // 50]
            done += len(part)
            time.sleep(max(0.0, begun + done / rate - time.perf_counter()))
            yield part


class _Session:
    """One run: scores to events, and events to whoever wants them."""

    def __init__(self, args: argparse.Namespace, tagger: Tagger, source: Source) -> None:
        from ..tagging.live import LiveStream

        self.args, self.source = args, source
        self.stream: LiveStream = LiveStream(
            tagger, source.blocks, source.rate, args.window, args.hop, source.skip, source.name
        )
        self.finder = events.finder_of(args, tagger)
        self.commands = EventCommands(args.exec) if args.exec else None
        self.hertz = tagger.feature_extractor.sampling_rate / 2
        self.ended: BaseException | None = None
        self.code = self.moments = self.events = 0

    def results(self) -> Iterator[dict[str, Any]]:
        """Events as they are written, each as soon as it is over; whatever ends the sound ends them."""
        with ExitStack() as stack:
            show = self._show(stack)
            if self.commands is not None:
                stack.callback(self.commands.close)
            try:
                for moment in self.stream:
                    self.moments += 1
                    found = self.finder.push(moment)
                    yield from self._given(found)
                    show(moment, found)
                last = self.finder.close(self.stream.seconds)
            except (KeyboardInterrupt, OSError, ValueError, MemoryError) as error:
                self.ended, last = error, self.finder.close()
            yield from self._given(last)
            try:
                show(None, last)
            except BrokenPipeError as error:
                self.ended = error
        if self.ended is not None and not isinstance(self.ended, BrokenPipeError):
            self.code = 130 if isinstance(self.ended, KeyboardInterrupt) else 2

    def last_line(self) -> str:
        """Why it ended, and what was heard."""
        from ..tagging.timelines.events import clock

        if self.ended is None:
            why = f"{self.source.name} ended"
        elif isinstance(self.ended, KeyboardInterrupt):
            why = "stopped"
        elif isinstance(self.ended, BrokenPipeError):
            why = "nobody reads the output any more"
        else:
            why = what_to_do(self.ended)
            if not self.stream.seconds:  # nothing could be heard
                return why
        counts = [counted(self.moments, "window"), f"{self.stream.skipped} skipped", counted(self.events, "event")]
        if gaps := getattr(self.source.blocks, "gaps", 0):
            counts.append(f"{gaps} gaps in the sound")
        if self.commands is not None:
            counts += self.commands.troubles()
        return f"{why}; heard {clock(self.stream.seconds, 1)}: {', '.join(counts)}"

    def _given(self, found: list[Event]) -> Iterator[dict[str, Any]]:
        for event in found:
            self.events += 1
            if self.commands is not None:
                self.commands(event)
            yield {"file": self.source.name, "seconds": 0.0, "hertz": self.hertz, "events": [event._asdict()]}

    def _show(self, stack: ExitStack) -> Callable[[Moment | None, list[Event]], None]:
        """What shows a moment, and the events that it ended."""
        if self.args.jsonl:
            return self._print_moment
        if self.args.print_events or not sys.stdout.isatty():
            return self._print_events
        from .live_view import LiveView

        if self.commands is not None:
            self.commands.quiet = True
        return stack.enter_context(LiveView(self.stream, self.source.name, self.args.top_k))

    def _print_moment(self, moment: Moment | None, found: list[Event]) -> None:
        if moment is not None:
            times = {name: round(getattr(moment, name), 4) for name in ("time", "start", "end")}
            latency = round(self.stream.last_latency, 4)
            print(json.dumps({**times, "labels": self.stream.best(moment), "latency": latency}), flush=True)

    def _print_events(self, moment: Moment | None, found: list[Event]) -> None:
        for event in found:
            print(json.dumps(event._asdict()), flush=True)
