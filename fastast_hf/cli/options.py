"""The options that several commands share."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from ..training.arguments import OwnDataArguments

# Of fastast_hf.tagging.presets, which would bring torch for --help.
PRESETS = ("exact", "balanced", "fast")
DTYPES = ("float32", "bfloat16", "float16", "int8")


def add_merging_options(parser: argparse.ArgumentParser, amount: Any = None, nargs: str | None = None) -> None:
    """Add how much is merged, to `amount` where one option excludes another; `nargs` for numbers with spaces, too."""
    (amount or parser).add_argument(
        "--r",
        type=_numbers,
        nargs=nargs,
        metavar="N" if nargs else "N[,N…]",
        help="tokens to merge in each layer, or one number per layer (default: the model's own)",
    )
    parser.add_argument(
        "--schedule",
        choices=("constant", "decreasing", "increasing"),
        help="how to spread one r over the layers (default: the model's own)",
    )


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


_numbers.__name__ = "int"  # in argparse's "invalid int value"


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


_boolean.__name__ = "bool"


def one_or_list(r: list[Any] | None) -> Any:
    """The given `--r` as a config has it: an int, or a list of one per layer.

    Example:
        >>> one_or_list([20]), one_or_list([4, 2]), one_or_list([[4, 3], [2]])
        (20, [4, 2], [4, 3, 2])
    """
    if r is None:
        return None
    numbers = [number for part in r for number in (part if isinstance(part, list) else [part])]
    return numbers[0] if len(numbers) == 1 else numbers


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    """Add the corpus and where it is."""
    # The names in a tuple of its own: corpora import datasets, which takes a second.
    names = ("esc50", "speech_commands", "audioset", "audiofolder", "csv", "datasets")
    kinds = (
        "audiofolder: one subfolder for each class; csv: a table of files and labels; datasets: parquet, or of the Hub"
    )
    parser.add_argument("corpus", nargs="?", choices=names, help=f"{kinds} (default: by what --data holds)")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--data", metavar="PLACE", help="the folder that the corpus is in, or a table or parquet file")
    place.add_argument("--hub-id", metavar="ID", help="a dataset on the Hub, instead of --data")
    parser.add_argument("--fold", metavar="N", help="the fold to test on (default: all of them)")
    classes = "Speech Commands: how many classes (default: 35)"
    parser.add_argument("--classes", type=int, choices=(12, 35), help=classes)
    subset = "AudioSet: which training clips (default: balanced)"
    parser.add_argument("--subset", choices=("balanced", "full"), help=subset)
    labels = "AudioSet: class_labels_indices.csv (default: the folder's; for a Hub copy the checkpoint's labels)"
    parser.add_argument("--label-file", metavar="CSV", help=labels)
    own = parser.add_argument_group("a table or dataset of your own")
    for setting in fields(OwnDataArguments):
        option, told = f"--{setting.name.replace('_', '-')}", {"help": setting.metadata["help"]}
        if setting.name == "label_column":
            own.add_argument(option, nargs="+", default=[], metavar="TEXT", **told)
        elif setting.name == "multi_label":
            own.add_argument(option, type=_boolean, nargs="?", const=True, metavar="BOOL", **told)
        else:
            kind, metavar = (int, "N") if setting.name == "split_seed" else (str, "TEXT")
            own.add_argument(option, type=kind, metavar=metavar, **told)


def corpus_arguments(args: argparse.Namespace) -> Any:
    """The arguments as the training script has them."""
    from ..training.finetuning import CorpusArguments

    settings = CorpusArguments(
        corpus=args.corpus or "",
        data=args.data,
        hub_id=args.hub_id,
        fold=args.fold,
        classes=args.classes,
        subset=args.subset,
        label_file=args.label_file,
        **{setting.name: getattr(args, setting.name) for setting in fields(OwnDataArguments)},
    )
    args.corpus = settings.corpus
    return settings
