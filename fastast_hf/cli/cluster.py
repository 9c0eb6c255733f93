"""`--engine ray`: the same results as of one machine, computed by actors of Ray Data, in a folder of parquet files."""

from __future__ import annotations

import argparse
import logging
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import counted, log_in_lines, one_line
from .recordings import count, describe_merging, make_tagger

if TYPE_CHECKING:
    from ..tagging.archive.inputs import Shard
    from .to_file import Results

# Recordings whose results are one block: what a killed worker does again, and one file of the output.
FILES_OF_A_BLOCK = 128
ROWS_AT_ONCE = 1000
# Of tasks that open shards and write: replicas may take every core, and nothing waits for ever.
SPARE: dict[str, Any] = {"num_cpus": 0}
SETTINGS = ("address", "num_gpus", "num_cpus", "replicas", "column")
WITHOUT = ("plot", "format", "json")  # what has no meaning for an archive
SECONDS_TO_ANSWER = 5
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
FILES = (".csv", ".jsonl", ".parquet")  # endings of an output that is one file


def place(text: str) -> Path | str:
    """What `--output` takes: a path, or an address as it is."""
    return text if "://" in text else Path(text)


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add where the work is done."""
    group = parser.add_argument_group(
        "an archive, on one machine or many",
        "With --engine ray, paths may also be lists (.txt), tables (.csv, .parquet), shards (.tar) and addresses "
        "(s3://, gs://, hf://), and --output is a folder or an address.",
    )
    group.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: on a cluster, by Ray Data")
    group.add_argument("--address", help="of the cluster, such as auto (default: $RAY_ADDRESS, or this machine alone)")
    group.add_argument("--replicas", type=int, metavar="N", help="models that compute at once (default: 1)")
    group.add_argument("--num-gpus", type=float, metavar="X", help="GPUs of each replica (default: 0)")
    group.add_argument("--num-cpus", type=float, metavar="X", help="cores of each replica (default: 1)")
    group.add_argument("--column", help="of tables: names of files or, in parquet, their sound (default: file)")


def uses_cluster(args: argparse.Namespace) -> bool:
    """Whether Ray is asked for.

    Raises:
        ValueError: Options do not go together.
    """
    if args.engine != "ray":
        given = [name for name in SETTINGS if getattr(args, name) is not None]
        if given:
            raise ValueError(f"--{given[0].replace('_', '-')} is of --engine ray: give that, too, or leave it out")
        if isinstance(args.output, str):
            raise ValueError(f"{args.output} is an address, which --engine ray writes to: give that, too, or a path")
        return False
    if args.output is None:
        raise ValueError("--engine ray writes to a folder or an address: give one with -o")
    ending = Path(str(args.output)).suffix.lower()
    if ending in FILES:
        raise ValueError(
            f"{args.output} is the name of a file, and --engine ray writes a folder: give -o a name without {ending}"
        )
    given = [name for name in WITHOUT if getattr(args, name, None)]
    if given:
        raise ValueError(f"--{given[0]} is not of --engine ray, which writes parquet: leave it out")
    for name, least in (("replicas", 1), ("num_cpus", 0), ("num_gpus", 0)):
        value = getattr(args, name)
        if value is not None and not value >= least:
            raise ValueError(f"--{name.replace('_', '-')} is {value:g}: give {least} or more")
    return True


def run_on_ray(results: Results) -> int:
    """Work on what is given and not in the output yet; 2 if anything could not be used."""
    from ..audio import AudioFiles
    from ..tagging.archive.inputs import list_inputs
    from ..tagging.archive.output import FAILED, Archive
    from ..tagging.parquet import as_text

    args = results.args
    place = args.address or os.environ.get("RAY_ADDRESS")
    if place:
        _check_address(place)
    if args.model and Path(args.model).exists():
        args.model = str(Path(args.model).resolve())  # a worker may have another working folder
    elif args.model and not HUB_ID.fullmatch(args.model):
        raise ValueError(f"model is {args.model}, and there is no such folder or file here: check the path")
    archive = Archive(args.output if isinstance(args.output, str) else str(args.output.absolute()))
    archive.check(args.resume)
    found = list_inputs(args.paths, args.column)
    for line in (*found.errors, AudioFiles(left_out=found.left_out).describe_left_out()):
        if line:
            print(f"fastast {args.command}: {line}", file=sys.stderr)
    if not found.files and not found.shards:
        return 2
    known = None
    if not place and _computes_on_cpu(args):  # as workers here do: a mistake is told before Ray starts
        known = _settings(type(results), _plain(args))
        archive.check(args.resume, {"model": args.model, **known[0]})
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")  # not each step
    import ray
    from ray.exceptions import RayError

    logging.getLogger("ray").setLevel(logging.ERROR)  # at once: logging_level holds from the end of init on
    own = not ray.is_initialized()
    if own:
        ray.init(args.address, logging_level=logging.ERROR)
    try:
        _check_room(args, ray.cluster_resources(), alone=not place)
        if known is None:
            on_a_worker = ray.remote(num_cpus=_cpus(args), num_gpus=args.num_gpus or 0)(_settings)
            known = ray.get(on_a_worker.remote(type(results), _plain(args)))
        settings, merging = known
        done = archive.begin({"model": args.model, **settings}, args.resume)
        todo = [file for file in found.files if as_text({"file": file})["file"] not in done]
        if todo or found.shards:
            _compute(results, archive, todo, found.shards, done)
    except RayError as error:
        raise _cause(error) from None
    finally:
        if own:
            ray.shutdown()
    labelled, failed = archive.names(failed=False), archive.names(failed=True)
    for damaged in archive.damaged:
        print(f"fastast {args.command}: {damaged}: cut off by a killed run, and removed", file=sys.stderr)
    counts = count(len(labelled), len(failed) + len(found.errors), len(done), results.done)
    print(f"{args.output}: {counts}{merging if labelled else ''}")
    if failed:
        print(f"fastast {args.command}: {args.output}/{FAILED}=true says why {len(failed)} failed", file=sys.stderr)
    return 2 if failed or found.errors else 0


def _check_address(place: str) -> None:
    """Try `HOST:PORT`, as Ray itself tries for minutes; auto and ray:// are Ray's to try.

    Raises:
        ValueError: Nobody answers there.
    """
    host, colon, port = place.rpartition(":")
    if "://" in place or not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or one_line(error)
        raise ValueError(
            f"address is {place}, where nobody answers ({why}): give that of a cluster's head, or leave it out"
        ) from None


def _computes_on_cpu(args: argparse.Namespace) -> bool:
    import torch

    return not args.num_gpus and not torch.cuda.is_available()


def _check_room(args: argparse.Namespace, there: Mapping[str, float], alone: bool) -> None:
    """Refuse, or tell, that there is less than is asked for: Ray would wait for more without a word.

    Raises:
        ValueError: There is, and this machine is all there is.
    """
    replicas = args.replicas or 1
    for kind, each in (("CPU", _cpus(args)), ("GPU", args.num_gpus or 0)):
        if replicas * each > there.get(kind, 0):
            replicas_of = f"{counted(replicas, 'replica')} of {each:g} {kind}{'' if each == 1 else 's'}"
            asked = f"{replicas_of} {'is' if replicas == 1 else 'are'} asked for, and there are {there.get(kind, 0):g}"
            if alone:
                raise ValueError(f"{asked}: ask for fewer, or give --address of a cluster")
            print(f"fastast {args.command}: {asked} now; waiting for the cluster to grow", file=sys.stderr)


class Worker:
    """An actor's part: sources in, rows out. The model is loaded once.

    Args:
        kind: What is made of recordings.
        args: Of the command.
    """

    def __init__(self, kind: type[Results], args: argparse.Namespace) -> None:
        from .main import keep_streams_clean

        keep_streams_clean()
        log_in_lines(f"fastast {args.command}")
        self.results = kind(args)
        self.results.start(make_tagger(args))

    def __call__(self, batch: Any) -> Iterator[Any]:
        """A table of `file`, `bytes` and `error` to tables of results."""
        import pyarrow as pa

        from ..tagging.archive.output import FAILED

        schema = self.results.schema().append(pa.field(FAILED, pa.bool_()))
        rows = self._rows(batch.to_pylist())
        while some := list(islice(rows, ROWS_AT_ONCE)):
            yield pa.Table.from_pylist(some, schema)

    def _rows(self, batch: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        from ..tagging.archive.output import FAILED
        from ..tagging.parquet import as_text
        from ..tagging.results_file import line_of

        given = [row for row in batch if row["error"] is None]
        lines = [line_of(os.fsdecode(row["file"]), ValueError(row["error"])) for row in batch if row["error"]]
        results = self.results.of([_source(row) for row in given], progress=False)
        computed = (line_of(os.fsdecode(row["file"]), result) for row, result in zip(given, results, strict=True))
        for line in (each for part in (computed, lines) for each in part):
            for row in self.results.rows(line):
                yield {**as_text(row), FAILED: "error" in line}


def _source(row: dict[str, Any]) -> Any:
    from ..audio.addresses import Address, is_address

    name = os.fsdecode(row["file"])
    if row["bytes"] is not None:
        return {"bytes": row["bytes"], "path": name}
    return Address(name) if is_address(name) else Path(name)


def _settings(kind: type[Results], args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """What scores depend on, and what is said of merging: asked of a machine that computes."""
    from ..tagging.score_settings import score_settings

    results = Worker(kind, args).results
    settings = score_settings(results.tagger, args.model) | results.settings
    return settings, describe_merging(results.tagger, 1)


def _compute(results: Results, archive: Any, files: list[str], shards: list[Shard], done: set[str]) -> None:
    import ray
    from ray.data import ActorPoolStrategy, DataContext

    from ..tagging.archive.output import FAILED

    args = results.args
    context = DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    context.print_on_execution_start = False
    parts: list[Any] = []
    if files:
        table = _table([(file, None, None) for file in files])
        blocks = max(-(-len(files) // FILES_OF_A_BLOCK), min(args.replicas or 1, len(files)))
        parts.append(ray.data.from_arrow(table, override_num_blocks=blocks))
    if shards:
        inside = frozenset(name for name in done if "#" in name)
        listed = ray.data.from_arrow(_shards(shards), override_num_blocks=len(shards))
        opened: Any = _open_shards
        parts.append(listed.map_batches(opened, fn_kwargs={"done": inside}, batch_format="pyarrow", **SPARE))
    sources = parts[0].union(parts[1]) if len(parts) > 1 else parts[0]  # which Ray has no union of
    rows = sources.map_batches(
        Worker,
        fn_constructor_args=(type(results), _plain(args)),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=args.replicas or 1),
        num_cpus=_cpus(args),
        num_gpus=args.num_gpus or None,
    )
    rows.write_parquet(archive.path, filesystem=archive.filesystem, partition_cols=[FAILED], ray_remote_args=SPARE)


def _open_shards(batch: Any, done: frozenset[str]) -> Iterator[Any]:
    from ..tagging.archive.inputs import Shard, samples_of

    for row in batch.to_pylist():
        for sample in samples_of(Shard(**row), done):
            yield _table([sample])


def _shards(shards: list[Shard]) -> Any:
    import pyarrow as pa

    return pa.table({"name": [shard.name for shard in shards], "column": [shard.column for shard in shards]})


def _table(rows: list[tuple[str, bytes | None, str | None]]) -> Any:
    import pyarrow as pa

    names, contents, errors = zip(*rows, strict=True)
    return pa.table(
        {
            "file": pa.array([os.fsencode(name) for name in names], pa.binary()),  # may be no text
            "bytes": pa.array(contents, pa.large_binary()),
            "error": pa.array(errors, pa.string()),
        }
    )


def _plain(args: argparse.Namespace) -> argparse.Namespace:
    """What of the arguments travels to a worker."""
    return argparse.Namespace(**{name: value for name, value in vars(args).items() if name not in ("parser", "run")})


def _cpus(args: argparse.Namespace) -> float:
    return 1 if args.num_cpus is None else float(args.num_cpus)


def _cause(error: BaseException) -> Exception:
    """What a worker has raised, in one line; what users can mend keeps its type."""
    while (inner := getattr(error, "cause", None) or error.__cause__) is not None:
        error = inner
    if isinstance(error, (ValueError, OSError, ImportError, MemoryError)):
        return error
    return OSError(f"Ray has stopped the work: {one_line(str(error).splitlines()[-1] if str(error) else error)}")
