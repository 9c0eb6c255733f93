"""Settings from a recipe's yaml file. The command line can replace each."""

from __future__ import annotations

import argparse
import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from ..errors import PROGRAM, OneLineParser, did_you_mean, one_line, with_hyphens
from .checkpoints import newest_checkpoint, settings_of

# A setting of transformers', the one of a recipe that is used instead of it, and how that is switched off.
REPLACING = (("lr_scheduler_type", "decay", "none"), ("optim", "adam_l2", "false"))
# Recipes that come with the package are beside the training scripts.
_SCRIPTS = (Path(__file__).parents[1] / "scripts", Path(__file__).parents[2] / "training")
HELP = ("-h", "--help", "--help-all")
# What `fastast`'s other commands call them.
OTHER_NAMES = {"output_dir": "--output", "tome_r": "--r", "tome_schedule": "--schedule"}
# The settings of transformers' that --help shows, and what they are.
SHOWN = {
    "output_dir": "folder for checkpoints, results and the trained model",
    "num_train_epochs": "passes over the training clips",
    "max_steps": "optimizer steps, instead of epochs",
    "learning_rate": "the learning rate at its highest",
    "per_device_train_batch_size": "clips in a batch, on each device",
    "gradient_accumulation_steps": "batches in an optimizer step",
    "bf16": "train in bfloat16 mixed precision",
    "dataloader_num_workers": "processes that read clips",
    "report_to": "where to log: tensorboard, wandb …, or none",
    "push_to_hub": "upload the trained model to the Hub",
    "seed": "random seed",
    "use_cpu": "train on the CPU even if there is a GPU",
}
METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT"}


@dataclass
class RunArguments:
    """How to run."""

    resume: bool = field(default=False, metadata={"help": "resume the run in --output"})


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Show the default of an option that has one, where the help does not say it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, "", [], -1) or action.default is False or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


class _HelpAll(argparse.Action):
    """Print the help with transformers' own settings."""

    def __call__(self, parser: Any, *args: Any) -> None:
        for action, text in parser.hidden.items():
            action.help = text
        parser.print_help()
        parser.exit()


class RecipeParser(HfArgumentParser, OneLineParser):
    """A parser of dataclasses whose help shows our settings; `none` stands for a default of None.

    Attributes:
        source: Where the arguments are from, for errors.
        hidden: The options that only `--help-all` shows, with their help texts.
    """

    source = ""

    def __init__(self, dataclass_types: Any, **kwargs: Any) -> None:
        kwargs.setdefault("prog", os.environ.get(PROGRAM))
        super().__init__(
            dataclass_types,
            allow_abbrev=False,
            usage="%(prog)s [--recipe RECIPE] [--option VALUE …]",  # all 150 would fill the screen
            formatter_class=_Help,
            **kwargs,
        )
        self.hidden: dict[argparse.Action, str | None] = {}
        self.add_argument(
            "--help-all", action=_HelpAll, nargs=0, help="show all settings of transformers as well, and exit"
        )
        self.add_argument("--recipe", help="a yaml file of settings, or a recipe of the package, such as esc50")
        for action in self._actions:
            action.metavar = "BOOL" if action.nargs == "?" else METAVARS.get(action.type)
            if action.type is float:
                action.type = _finite
            if callable(action.type) and action.default is None:
                action.type = _or_none(action.type)
        for settings in self.dataclass_types:
            self._put_under_heading(settings)

    def add_argument(self, *names: str, **kwargs: Any) -> Any:
        """As argparse's: an option of a dataclass' field in kebab-case alone, and by the word that `fastast` has."""
        field = names[0].lstrip("-")
        if field in OTHER_NAMES:
            names, kwargs["dest"] = (OTHER_NAMES[field], *names), field
        return super().add_argument(*dict.fromkeys(with_hyphens(names)), **kwargs)

    def _put_under_heading(self, settings: Any) -> None:
        """Show a dataclass' settings apart, under what its docstring says that they are."""
        own = settings.__module__.startswith(__package__.split(".")[0])
        heading = (
            re.split(r"[.:]", inspect.getdoc(settings) or "")[0] if own else "The most used of transformers' settings"
        )
        group = self.add_argument_group(heading)
        names = {field.name for field in fields(settings)}
        for action in [action for action in self._optionals._group_actions if action.dest in names]:
            self._optionals._group_actions.remove(action)
            group._group_actions.append(action)
            if not own and action.dest in SHOWN:
                action.help = SHOWN[action.dest]
            elif not own:
                self.hidden[action], action.help = action.help, argparse.SUPPRESS

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is, and exit with 2."""
        super().error(f"{self.source}{message}")


def scripts_folder() -> Path:
    """Where the training scripts and their recipes are: in an installed package, or in its repository."""
    return next((folder for folder in _SCRIPTS if (folder / "run_finetune.py").is_file()), _SCRIPTS[0])


def parse_with_recipe(parser: RecipeParser, argv: Sequence[str]) -> tuple[Any, ...]:
    """Parse `[--recipe FILE] [--key value …]`: the recipe's values, and over them the command line's.

    Args:
        parser: Of dataclasses whose fields are the keys of a recipe.
        argv: The command line's arguments. A recipe is a path, or the name of one that comes with the package.

    Returns:
        The dataclasses.

    Raises:
        ValueError: The recipe is no yaml, or has an unknown setting.
        OSError: No such recipe.
    """
    argv = with_hyphens(argv)
    recipe = parser.parse_known_args([argument for argument in argv if argument not in HELP])[0].recipe
    if recipe:
        path = find_recipe(recipe)
        settings = read_recipe(path)
        known = sorted({action.dest for action in parser._actions} - {"help", "help_all", "recipe"})
        for key in settings:
            if key not in known:
                raise ValueError(f"{path}: there is no setting {key!r}{did_you_mean(str(key), known)}")
        # As the command line's, so that both are parsed and checked in the same way; later ones replace them.
        lists = {action.dest for action in parser._actions if action.nargs in ("+", "*")}
        for key, value in settings.items():
            if isinstance(value, list) and key not in lists:
                raise ValueError(f"{path}: {key} is {value!r}: give one value")
        arguments = [part for key, value in settings.items() for part in _as_arguments(path, key, value)]
        parser.source = f"{path}: "
        parser.parse_known_args(arguments)
        parser.source = ""
        check_replaced(settings, argv)
        argv = [*arguments, *argv]
    # A checkpoint, a score and a line for each epoch, unless another measure is given.
    given = {argument.partition("=")[0].lstrip("-").replace("-", "_") for argument in argv}
    epochs = [name for name in ("eval", "save", "logging") if f"{name}_steps" not in given]
    parser.set_defaults(save_total_limit=2, **{f"{name}_strategy": "epoch" for name in epochs})
    *parsed, _, unknown = parser.parse_args_into_dataclasses(
        argv, return_remaining_strings=True, look_for_args_file=False
    )
    if unknown:
        parser.refuse(unknown)
    for part in parsed:
        if getattr(part, "model", None) == "":
            part.model = _model_of_run(parsed)
    return tuple(parsed)


def _model_of_run(settings: Sequence[Any]) -> str | None:
    """What the run that is resumed began with, where no model is given.

    Raises:
        ValueError: No run is resumed, or it began with a folder, of which it knows the last name alone.
    """
    given = {name: value for part in settings for name, value in vars(part).items()}
    checkpoint = newest_checkpoint(Path(given["output_dir"])) if given.get("resume") else None
    if checkpoint is None:
        raise ValueError("no model to start from: give --model, a checkpoint or timm/NAME, or none for a new model")
    model: str | None = settings_of(checkpoint).get("model")
    if model is not None and "/" not in model:
        raise ValueError(f"the run in {checkpoint.parent} began with the folder {model}: give it again as --model")
    return model


def find_recipe(name: str) -> Path:
    """A recipe's file: a path, or a name such as `esc50` of one that comes with the package.

    Raises:
        OSError: There is none; the message lists those that come with the package.
    """
    path = Path(name)
    bundled = scripts_folder() / "recipes"
    if not path.is_file() and not path.suffix and (bundled / f"{name}.yaml").is_file():
        path = bundled / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in bundled.glob("*.yaml")))
        raise FileNotFoundError(f"{name}: no such recipe; give a yaml file, or one of {names}")
    return path


def read_recipe(path: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings in a yaml file; with those of the recipe that it `extends`, where it has none of its own.

    Args:
        path: The file.
        extending: The recipes that extend it.

    Raises:
        ValueError: It is no yaml mapping, or extends itself.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or a date that is none
        raise ValueError(f"{path}: no yaml ({one_line(error)}): give lines of key: value") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path}: holds a {type(settings).__name__}: give lines of key: value")
    base = settings.pop("extends", None)
    if base is None:
        return settings
    if not isinstance(base, str):
        raise ValueError(f"{path}: extends is {base!r}: give the name or the file of one recipe")
    extended, way = find_recipe(base), (*extending, path)
    if extended.resolve() in [one.resolve() for one in way]:
        raise ValueError(f"{path}: extends itself, by way of {extended}: leave that out")
    return read_recipe(extended, way) | settings


def check_replaced(recipe: dict[str, Any], argv: Sequence[str]) -> None:
    """Refuse a setting that the recipe's own optimiser or schedule would take no notice of.

    Raises:
        ValueError: There is one, and the recipe's is not switched off.
    """
    for given, replacing, off in REPLACING:
        option, instead = with_hyphens([f"--{given}", f"--{replacing}"])
        if option in argv and instead not in argv and recipe.get(replacing) not in (None, False):
            raise ValueError(f"{option} has no effect beside the recipe's {replacing}: add {instead} {off}")


def _as_arguments(path: Path, key: str, value: Any) -> list[str]:
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, (dict, list)) for part in value)):
        raise ValueError(f"{path}: {key} is {value!r}: give a number, a word or a list of them")
    parts = value if isinstance(value, list) else [value]
    return [f"--{key}", *("none" if part is None else str(part) for part in parts)]


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


_finite.__name__ = "float"  # what argparse's errors call it


def _or_none(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    @functools.wraps(kind)  # whose name argparse's errors give
    def convert(text: str) -> Any:
        return None if text.lower() == "none" else kind(text)

    return convert
