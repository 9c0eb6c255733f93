"""What `fastast classify` does when it is asked when something is heard: events instead of labels."""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import counted, one_line
from ..tagging.parquet import Row
from ..tagging.results_file import read_file
from ..tagging.timelines.files import FORMATS, events_schema, format_of, write_events
from .recordings import sources_of
from .tables import format_table
from .to_file import Results

if TYPE_CHECKING:
    from ..tagging.tagger import Tagger
    from ..tagging.timelines.events import EventFinder

PICTURES = (".png", ".svg", ".pdf")
# Of which each means that events are wanted.
SETTINGS = ("window", "hop", "off", "min_seconds", "merge_seconds")


def add_event_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how recordings are cut, what an event is and how it is written."""
    group = parser.add_argument_group(
        "when something is heard", "Any of these gives events: rows of start, end, label, score (peak) and mean."
    )
    group.add_argument("--events", action="store_true", help="give events, with the settings below as they are")
    add_event_settings(group, "the window")
    group.add_argument(
        "--plot",
        type=Path,
        metavar="FILE",
        help="draw one recording: its spectrogram and the labels that reach --threshold",
    )
    group.add_argument(
        "--format",
        choices=tuple(FORMATS),
        help="of the files when --output is a folder, one for each recording (default: csv)",
    )


def add_event_settings(group: Any, hop: str) -> None:
    """Add how sound is cut, with a word for the default hop, and what an event is."""
    group.add_argument("--window", type=float, metavar="S", help="seconds of a window (default: the model's input)")
    group.add_argument("--hop", type=float, metavar="S", help=f"seconds between starts of windows (default: {hop})")
    group.add_argument(
        "--off", type=float, metavar="S", help="an event lasts until its score is below this (default: --threshold)"
    )
    group.add_argument("--min-seconds", type=float, metavar="S", help="drop shorter events (default: 0)")
    group.add_argument(
        "--merge-seconds", type=float, metavar="S", help="make one event of those this close (default: 0)"
    )


def are_asked_for(args: argparse.Namespace) -> bool:
    """Whether events are wanted, and not labels."""
    endings = (".csv", ".jsonl", ".parquet")  # which labels are written with, too
    is_file = args.output is not None and args.engine != "ray"
    of_events = is_file and format_of(args.output) and args.output.suffix not in endings
    return (
        args.events
        or args.format
        or args.plot
        or of_events
        or any(getattr(args, name) is not None for name in SETTINGS)
    )


def finder_of(args: argparse.Namespace, tagger: Tagger) -> EventFinder:
    """With the thresholds of the arguments."""
    from ..tagging.timelines.events import EventFinder

    return EventFinder(
        tagger.label_names(), threshold_of(tagger), args.off, args.min_seconds or 0.0, args.merge_seconds or 0.0
    )


def threshold_of(tagger: Tagger) -> float | list[float]:
    """Where an event begins."""
    return 0.5 if tagger.thresholds is None else list(tagger.thresholds.tolist())


def _reason(error: BaseException) -> str:
    return "stopped" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {one_line(error)}"


def event_table(files: Sequence[Path], results: Sequence[dict[str, Any]]) -> str:
    """A row for each event; empty where there are none."""
    from ..tagging.timelines.events import clock

    rows = [
        [str(file), clock(e["start"], 2), clock(e["end"], 2), e["label"], f"{e['score']:.3f}", f"{e['mean']:.3f}"]
        for file, result in zip(files, results, strict=False)
        for e in result["events"]
    ]
    return format_table(["file", "start", "end", "label", "score", "mean"], rows, "lrrlrr") if rows else ""


class Events(Results):
    """The events of each recording, kept in a .jsonl file of which all others are made and from which runs go on."""

    made = tuple(form.ending for name, form in FORMATS.items() if name != "jsonl")
    at_stop = True

    @property
    def journal(self) -> Path:
        """A file of an output folder, too."""
        return self.output / "events.jsonl" if format_of(self.output) is None else super().journal

    def check(self, files: Sequence[Path]) -> None:
        """Refuse a picture or output that can't hold the events of these files.

        Raises:
            ValueError: It can't.
        """
        plot, output = self.args.plot, self.output
        if plot and (len(files) > 1 or plot.suffix not in PICTURES):
            raise ValueError(f"--plot {plot}: give one recording, and a name that ends in {', '.join(PICTURES)}")
        if output is None:
            return
        kind = format_of(output)
        if kind is None and output.suffix and not output.is_dir():
            endings = ", ".join(form.ending for form in FORMATS.values())
            raise ValueError(
                f"{output}: events are written as {endings}: give a name with such an ending, or a folder"
            )
        if kind is not None and self.args.format:
            raise ValueError(f"--format is of the files in a folder, and {output} is one file: leave it out")
        if kind is not None and not FORMATS[kind].many and len(files) > 1:
            raise ValueError(f"{output} holds the events of one recording, not of {len(files)}: give a folder")
        if output.is_file() and not self.journal.exists():
            raise ValueError(f"{output} exists, and no {self.journal.name} to go on from: give another file")

    def start(self, tagger: Tagger) -> None:
        """Take the tagger.

        Raises:
            ValueError: It can't give the events that are asked for.
            ImportError: A package that the output needs is not installed.
        """
        super().start(tagger)
        args = self.args
        self.settings = {"events": True, **{name: getattr(args, name) for name in SETTINGS}}
        if args.engine != "ray" and args.output is not None and "parquet" in (format_of(args.output), args.format):
            import pyarrow  # noqa: F401
        if args.plot:
            import matplotlib  # noqa: F401
        finder_of(args, tagger)
        tagger.timeline("", args.window, args.hop)

    def of(self, files: Sequence[Any], progress: bool | None = None) -> Iterator[dict[str, Any]]:
        """The events of each recording; those until there of one that breaks off or is stopped, with the reason.

        Raises:
            SystemExit: Ctrl-C, once the events of the recording at hand were given.
        """
        from tqdm.auto import tqdm

        from ..audio import AudioError
        from ..tagging.timelines.events import clock

        for file, source in zip(files, sources_of(files), strict=True):
            name = str(source["path"]) if isinstance(source, dict) else str(file)
            timeline = self.tagger.timeline(source, self.args.window, self.args.hop)
            finder = finder_of(self.args, self.tagger)
            events, reached = [], 0.0
            error: BaseException | None = None
            try:
                hidden = None if progress is None else not progress
                with tqdm(desc=name, unit=" s of sound", disable=hidden, leave=False, delay=1) as bar:
                    for moment in timeline:
                        events += finder.push(moment)
                        reached = moment.end
                        bar.update(round(reached) - bar.n)
            except BaseException as raised:  # once what was found is given
                error = raised
            events += finder.close()
            result: dict[str, Any] = {
                "seconds": reached,
                "hertz": self.tagger.feature_extractor.sampling_rate / 2,
                "events": [event._asdict() for event in sorted(events, key=lambda event: event.start)],
            }
            if error is not None:
                reason = one_line(error) if isinstance(error, AudioError) else f"{name}: {_reason(error)}"
                result["error"] = f"{reason}; its events until {clock(reached)} stand" if reached else reason
            yield result
            if self.args.plot and reached:
                timeline.plot(self.args.plot, threshold=threshold_of(self.tagger))
            if isinstance(error, KeyboardInterrupt):
                raise SystemExit(128 + getattr(error, "number", signal.SIGINT))
            if error is not None and not isinstance(error, (AudioError, OSError)):
                raise error

    def heard(self) -> str:
        """How many events."""
        found = sum(len(json.loads(record.raw)["events"]) for record in read_file(self.journal)[1])
        return f"{counted(found, 'event')}, "

    def schema(self) -> Any:
        """Of a row for each event."""
        return events_schema()

    def rows(self, line: Row) -> Iterator[Row]:
        """One for each event, or one without any where nothing was heard; an error is told in each of its file's."""
        events = line.get("events") or [{}]
        return ({"file": line["file"], **event, "error": line.get("error")} for event in events)

    def write(self) -> None:
        """Make the output of what was found so far. In a folder, a recording's file stands where its path says."""
        kind = format_of(self.output)
        if kind == "jsonl":
            return
        results = [json.loads(record.raw) for record in read_file(self.journal)[1]]
        if kind is not None:
            write_events(self.output, results, kind)
            return
        name = self.args.format or "csv"
        for result in results:
            if "error" in result and not result["events"]:
                continue
            file = Path(result["file"])
            place = Path(*(part for part in file.parts if part not in ("..", file.anchor)))
            write_events(self.output / place.with_name(place.name + FORMATS[name].ending), [result], name)
