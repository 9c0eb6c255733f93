"""A user's mistake in one line, whichever command or script it was made with."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import functools
import logging
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

UNREADABLE_WEIGHTS = (pickle.UnpicklingError, SafetensorError)
INSTALL = "in a clone of fastast_hf, pip install '.[{}]'"  # no package index has the package
# The packages that come with an extra of the package, and which extra that is.
EXTRAS = {
    **dict.fromkeys(
        ("accelerate", "datasets", "evaluate", "peft", "sklearn", "tensorboard", "timm", "torchvision"), "train"
    ),
    **dict.fromkeys(("onnx", "onnxruntime"), "onnx"),
    **dict.fromkeys(("pandas", "pyarrow"), "parquet"),
    **dict.fromkeys(("rich", "sounddevice"), "live"),
    "matplotlib": "plot",
    "gradio": "demo",
    **dict.fromkeys(("fastapi", "fastapi_offline", "uvicorn", "prometheus_client"), "serve"),
    "ray": "ray",
}
PROGRAM = "FASTAST_PROGRAM"  # environment variable: what a script that `fastast train` launches calls itself
# What people write instead of names that look different.
_MEANT = {
    "aggregate": "pool",
    "timestamps": "events",
    "lr": "learning-rate",
    "epochs": "num-train-epochs",
    "batch-size": "per-device-train-batch-size",
}


class OneLineParser(argparse.ArgumentParser):
    """A parser of `--kebab-case` options that takes `--snake_case` as well; its errors are one line."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse's, of options in either spelling."""
        return super().parse_known_args(with_hyphens(sys.argv[1:] if args is None else args), namespace)

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Exit with 2 because of arguments that the parser does not know; say which option may be meant."""
        name = unknown[0].split("=")[0]
        if not name.startswith("--"):
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        self.error(f"there is no option {name}{did_you_mean(name[2:], self.names(), '--')}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse's, of a word that is nearly one of the choices."""
        choices = list(action.choices or ())
        if value not in choices and (meant := did_you_mean(str(value), list(map(str, choices)))):
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{meant}")
        super()._check_value(action, value)

    def names(self) -> list[str]:
        """The long options, without hyphens in front."""
        return [option[2:] for option in self._option_string_actions if option.startswith("--")]

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is, and exit with 2."""
        self.exit(2, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")


def with_hyphens(arguments: Sequence[str]) -> list[str]:
    """Arguments with the names of options in kebab-case.

    Example:
        >>> with_hyphens(["--hub_id=a_b", "--top_k", "3", "my_clip.wav", "--", "--a_b"])
        ['--hub-id=a_b', '--top-k', '3', 'my_clip.wav', '--', '--a_b']
    """
    options = list(arguments).index("--") if "--" in arguments else len(arguments)
    changed = []
    for argument in arguments[:options]:
        name, equals, value = argument.partition("=")
        changed.append((name.replace("_", "-") if name.startswith("--") else name) + equals + value)
    return [*changed, *arguments[options:]]


def did_you_mean(name: str, known: Sequence[str], before: str = "") -> str:
    """': did you mean X?' for an unknown name; empty if nothing is close.

    Example:
        >>> did_you_mean("learning-rat", ["layers", "learning-rate"], "--")
        ': did you mean --learning-rate?'
    """
    close = [_MEANT[name]] if _MEANT.get(name) in known else difflib.get_close_matches(name, known, n=1)
    return f": did you mean {before}{close[0]}?" if close else ""


def what_to_do(error: BaseException) -> str:
    """A user's mistake in one line."""
    if isinstance(error, StrictDataclassError) and error.__cause__ is not None:
        error = error.__cause__  # around which it says where in the code that was found
    package = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return f"this needs {package}: {INSTALL.format(EXTRAS[package])}" if package in EXTRAS else one_line(error)


def heard_signals(*names: str) -> list[signal.Signals]:
    """The signals of these names that are not ignored, of those that the system has: Windows lacks SIGHUP and SIGQUIT.

    Example:
        >>> heard_signals("SIGTERM", "SIGNONE")
        [<Signals.SIGTERM: 15>]
    """
    there = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return [number for number in there if signal.getsignal(number) != signal.SIG_IGN]


@contextlib.contextmanager
def left_out_if_missing(what: str) -> Iterator[None]:
    """Go on without `what` where a package for it is missing, and say so on stderr."""
    try:
        yield
    except ModuleNotFoundError as error:
        print(f"{what} is left out: {what_to_do(error)}", file=sys.stderr)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return one_line(super().format(record))  # a file's name may have line breaks


def log_in_lines(program: str) -> None:
    """Print what is logged as lines on stderr that begin with the program's name."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(f"{program}: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


def one_line(error: BaseException | str) -> str:
    """An error's message with line breaks taken out, as a terminal can show it; its type where it has none."""
    return printable(" ".join(str(error).split())) or type(error).__name__


def printable(text: str) -> str:
    """`?` for what would break the line or the terminal: control characters, bytes of a file name not in UTF-8."""
    return "".join(character if character.isprintable() else "?" for character in text)


def counted(number: int, what: str) -> str:
    """A number of things, in words.

    Example:
        >>> counted(1, "event"), counted(2, "event")
        ('1 event', '2 events')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def weights_readable(checkpoint: Any) -> Iterator[None]:
    """Have what is loaded within name the checkpoint where its weights can't be read, or would have to be run.

    Raises:
        ValueError: They can't. Torch's own message goes on to say how to run the code in them.
        OSError: It is neither here nor to be reached, or what else opening it raised.
    """
    try:
        yield
    except UNREADABLE_WEIGHTS as error:
        raise ValueError(
            f"the weights of {checkpoint} can't be read (damaged, or a pickle with code in it, which is not run): "
            "give whole safetensors weights"
        ) from error
    except OSError as error:
        if "couldn't connect" not in str(error):  # all that transformers says of it
            raise
        raise OSError(
            f"{checkpoint} is no folder here, and the Hub can't be reached: give a checkpoint's folder, or a model id "
            "of the Hub (owner/name) and a network"
        ) from error


def refuse_contradictions(settings: Any, start: str | None, own: Mapping[str, Any]) -> None:
    """Refuse settings that would have no effect: the start of training has other values.

    Args:
        settings: A dataclass of settings; None for those that were not given.
        start: What training starts from.
        own: The values that `start` has, by the settings' names.

    Raises:
        ValueError: There is one.
    """
    for name, value in own.items():
        given = getattr(settings, name)
        if given is not None and given != value:
            raise ValueError(
                f"{name} is {given!r}, and {start} has {value!r}: leave it out, or start from nothing, by --model none"
            )


def one_line_errors(program: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Turn what a user can mend into one line on stderr and exit code 2."""
    program = os.environ.get(PROGRAM, program)

    def decorate(main: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(main)
        def run(*args: Any, **kwargs: Any) -> int:
            log_in_lines(program)
            logging.getLogger("fastast_hf").setLevel(logging.INFO)
            # Each try to reach it would be two lines, before the error that says what to do.
            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
            try:
                return main(*args, **kwargs)
            except (ValueError, OSError, ImportError, StrictDataclassError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and "Callback requires" not in str(error):
                    raise  # what is not transformers' word for a missing wandb and the like
                print(f"{program}: {what_to_do(error)}", file=sys.stderr)
                return 2
            except KeyboardInterrupt as stop:
                print(f"{program}: {stop if stop.args else 'stopped'}", file=sys.stderr)
                return 128 + getattr(stop, "number", signal.SIGINT)

        return run

    return decorate
