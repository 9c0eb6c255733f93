"""Results in a file, written as they come: a run that was stopped goes on, and several processes share the work."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..tagging.parquet import SUFFIX, Row, write_parquet
from ..tagging.processes import Processes
from ..tagging.results_file import Appender, Output
from ..tagging.score_settings import check_same, score_settings
from .recordings import count, describe_merging, error_of, list_files, make_tagger, print_errors

if TYPE_CHECKING:
    from ..tagging.tagger import Tagger


class Results(ABC):
    """What a command makes of recordings, and how that is written: labels, events or vectors.

    Args:
        args: Of the command.

    Attributes:
        done: What was done to a recording that has a result.
        made: Endings of the files that are made of a journal at the end.
        at_stop: Whether they are made of what there is when a run is stopped, too.
        columns: As of [`Appender`].
        settings: What the results depend on, besides the tagger's scores.
    """

    done = "labelled"
    made: tuple[str, ...] = (SUFFIX,)
    at_stop = False
    columns: int | Sequence[str] = 0

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.output = args, args.output
        self.settings: dict[str, Any] = {}

    @property
    def journal(self) -> Path:
        """Where results go as they come: the output itself, or a .jsonl file beside it of which it is made."""
        made = self.output.name.endswith(self.made)
        return self.output.with_name(f"{self.output.name}.jsonl") if made else self.output

    def check(self, files: Sequence[Path]) -> None:
        """Before anything is computed, refuse an output that could not be written, or would be lost.

        Raises:
            ValueError: It is there, without `--resume` or without its journal.
            ImportError: A package that it needs is not installed.
        """
        if self.output is None or self.journal == self.output:
            return
        import pyarrow  # noqa: F401

        if self.output.exists() and not self.args.resume:
            raise ValueError(f"{self.output} exists: add --resume to go on with it, or give another file")
        if self.output.exists() and not self.journal.exists():
            raise ValueError(
                f"{self.output} exists, and {self.journal.name}, from which --resume goes on, does not: give another "
                "file"
            )

    def start(self, tagger: Tagger) -> None:
        """Take the tagger.

        Raises:
            ValueError: It can't give what is asked for.
        """
        self.tagger = tagger

    @abstractmethod
    def of(self, files: Sequence[Any], progress: bool | None = None) -> Iterator[Any]:
        """The result of each file, as an [`Appender`] takes it; a file may also be any source that a tagger takes."""

    def heard(self) -> str:
        """What there is in the output besides recordings, to be said before their count."""
        return ""

    @abstractmethod
    def schema(self) -> Any:
        """pyarrow's, of the columns of a parquet file."""

    @abstractmethod
    def rows(self, line: Row) -> Iterator[Row]:
        """What a line of the journal is in a parquet file."""

    def write(self) -> None:
        """Make the output of its journal, where there is one: here, a parquet file."""
        if self.journal != self.output:
            write_parquet(self.output, self.journal, self.schema(), self.rows)


def run_to_file(results: Results) -> int:
    """Work on what was given and is not in the output file yet, in all processes that there are."""
    args = results.args
    with Processes() as processes, Output(results.journal) as output:
        files, failed = processes.of_first(partial(plan, results, output))
        if not files:
            return 2
        if args.device in (None, "cuda") and not runs_on_cpu(args):
            args.device = processes.device() or args.device
        tagger = make_tagger(args)
        results.start(tagger)
        settings = score_settings(tagger, args.model) | results.settings
        check_same(processes.gather(settings))
        todo = processes.of_first(partial(begin, args, output, settings, files))
        # Every process takes the next file in turn, so that recordings of all lengths are spread evenly.
        own = todo[processes.rank :: processes.count]
        errors: list[Any] = []
        try:
            if todo:
                path = output.path if processes.count == 1 else output.part(processes.rank)
                with Appender(path, output.path.suffix, results.columns) as appender:
                    shown = None if processes.rank == 0 else False
                    for file, result in zip(own, results.of(own, shown), strict=True):
                        appender.add(str(file), result)
                        if error_of(result):
                            errors.append(result)
        finally:
            print_errors(errors, args.command)
            if results.at_stop and processes.count == 1 and output.path.exists():
                results.write()
        added = sum(processes.gather(len(own) - len(errors)))
        if processes.rank == 0:
            made, failed_files = output.merge(list(map(str, files)))
            failed += failed_files
            results.write()  # in the order of the files
            counts = count(made, failed, made - added, results.done)
            print(f"{args.output}: {results.heard()}{counts}{describe_merging(tagger, made)}")
        # A launcher ends all processes once one has ended with 2, and the file is not whole before.
        failed = processes.gather(failed)[0]
    return 2 if failed else 0


def plan(results: Results, output: Output) -> tuple[list[Path], int]:
    """All files once, and how much of what was given can't be listed; before a model is loaded for nothing."""
    found, failed = list_files(results.args.paths, results.args.command)
    results.check(found)
    if found:
        output.open(results.args.resume)
    return list(dict.fromkeys(found)), failed


def begin(args: argparse.Namespace, output: Output, settings: dict[str, Any], files: list[Path]) -> list[Path]:
    """The files that have no labels yet."""
    here = args.model is not None and Path(args.model).exists()
    model = str(Path(args.model).resolve()) if here else args.model
    done = output.begin({"model": model, **settings}, args.resume)
    return [file for file in files if str(file) not in done]


def runs_on_cpu(args: argparse.Namespace) -> bool:
    """Whether what is asked for runs on the CPU alone."""
    from ..onnx.runtime import is_onnx_file

    return is_onnx_file(args.model) or args.dtype == "int8"
