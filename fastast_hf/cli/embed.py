"""`fastast embed`: files and folders to vectors in a parquet file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..tagging.parquet import SUFFIX, Row, embedding_rows, embeddings_schema, to_text
from .classify import add_model_options
from .cluster import add_engine_options, place, run_on_ray, uses_cluster
from .recordings import sources_of
from .to_file import Results, run_to_file

if TYPE_CHECKING:
    from ..tagging.tagger import Tagger


def add_parser(commands: Any) -> None:
    """Add `embed` to the commands."""
    parser = commands.add_parser(
        "embed",
        help="make vectors of audio files, for search and for your own classifiers",
        description="Write a vector for each audio file, and for all audio in folders: the mean of AST's class and "
        "distillation token, which its head sees. Of a recording longer than the model's input it is the mean over "
        "its windows.",
    )
    add_model_options(parser)
    parser.add_argument(
        "--tokens", action="store_true", help="write every token of each window, and of how many patches it was merged"
    )
    output = "file to write: file, embedding (or window, sizes, embeddings), error"
    parser.add_argument("-o", "--output", type=place, required=True, metavar="FILE.parquet", help=output)
    parser.add_argument("--resume", action="store_true", help="go on with the file of --output: embed what it lacks")
    add_engine_options(parser)
    # Labels are not asked for, and no line about their scores is due.
    parser.set_defaults(run=run, top_k=1, activation="softmax", threshold=None, pool="mean")


def run(args: argparse.Namespace) -> int:
    """Embed what was given; 2 if anything in it could not be used, though the rest is still embedded."""
    if uses_cluster(args):
        if args.tokens:
            raise ValueError("--tokens has a row for each window, which --engine ray may cut apart: leave one out")
        return run_on_ray(Embeddings(args))
    if args.output.suffix != SUFFIX:
        raise ValueError(f"{args.output}: vectors are written as {SUFFIX}: give a name with that ending")
    return run_to_file(Embeddings(args))


class Embeddings(Results):
    """A vector of each recording, or those of its tokens."""

    done = "embedded"

    def start(self, tagger: Tagger) -> None:
        """Take the tagger."""
        super().start(tagger)
        self.settings = {"embeddings": "tokens" if self.args.tokens else "pooled"}

    def of(self, files: Sequence[Any], progress: bool | None = None) -> Iterator[Any]:
        """Of each file, as an [`Appender`] takes it."""
        settings: dict[str, Any] = {"tokens": self.args.tokens, "progress": progress, "workers": self.args.workers}
        for result in self.tagger.stream_embeddings(sources_of(files), on_error="return", **settings):
            if isinstance(result, Exception):
                yield result
            elif self.args.tokens:
                yield {name: to_text(values) for name, values in result._asdict().items()}
            else:
                yield {"embedding": to_text(result)}

    def schema(self) -> Any:
        """Of vectors of this model."""
        return embeddings_schema(self.tagger.model.config.hidden_size, self.args.tokens)

    def rows(self, line: Row) -> Iterator[Row]:
        """One for each file, or each of its windows."""
        return embedding_rows(line)
