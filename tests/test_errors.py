"""A user's mistake in one line."""

from __future__ import annotations

from typing import Any

import pytest

from fastast_hf import FastASTConfig
from fastast_hf.errors import UNREADABLE_WEIGHTS, one_line_errors, weights_readable, what_to_do


@pytest.mark.parametrize(("module", "extra"), [("datasets", "train"), ("matplotlib.figure", "plot")])
def test_a_missing_package_is_named_with_the_extra_that_has_it(module: str, extra: str) -> None:
    error = ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert (
        what_to_do(error) == f"this needs {module.split('.')[0]}: in a clone of fastast_hf, pip install '.[{extra}]'"
    )
    assert what_to_do(ModuleNotFoundError("No module named 'foo'", name="foo")) == "No module named 'foo'"


def test_what_a_config_refuses_is_said_alone() -> None:
    with pytest.raises(Exception, match="tome_r") as caught:
        FastASTConfig(tome_r=-1)
    assert what_to_do(caught.value).startswith("tome_r is -1: ")


@pytest.mark.parametrize("kind", UNREADABLE_WEIGHTS)
def test_weights_that_cannot_be_read_are_named_and_how_to_run_them_is_not_said(kind: type[Exception]) -> None:
    with pytest.raises(ValueError, match="the weights of folder can't be read") as caught, weights_readable("folder"):
        raise kind("set weights_only to False")
    assert "weights_only" not in str(caught.value)
    with pytest.raises(KeyError), weights_readable("folder"):
        raise KeyError("a fault of the program's own")


@pytest.mark.parametrize(("error", "code"), [(ValueError("a\nb"), 2), (OSError("a b"), 2), (KeyboardInterrupt(), 130)])
def test_a_script_ends_with_one_line_and_a_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    @one_line_errors("script.py")
    def main(*args: Any) -> int:
        raise error

    assert main() == code
    printed = capsys.readouterr().err
    assert printed.startswith("script.py: ") and printed.count("\n") == 1
    assert code == 130 or "a b" in printed


def test_a_missing_reporter_is_one_line_and_other_faults_are_not_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    @one_line_errors("script.py")
    def main(message: str) -> int:
        raise RuntimeError(message)

    missing = "WandbCallback requires wandb to be installed. Run `pip install wandb`."
    assert main(missing) == 2
    assert capsys.readouterr().err == f"script.py: {missing}\n"
    with pytest.raises(RuntimeError, match="shapes"):
        main("shapes differ")
