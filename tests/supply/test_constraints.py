"""The constraint files say what setup.cfg says, and the list of licences finds what is installed."""

from __future__ import annotations

import configparser
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from running_scripts import ROOT

HERE = Path(__file__).parent
ON_THEIR_OWN = {"torch", "torchaudio"}  # whose newest do not load beside each other


def lowest(*leaving_out: str) -> dict[str, str]:
    """The lower bound of each dependency in setup.cfg, but for those of some extras."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = [cell for name, cell in settings["options.extras_require"].items() if name not in leaving_out]
    lines = [line.strip() for cell in [settings["options"]["install_requires"], *extras] for line in cell.splitlines()]
    bounds: dict[str, str] = {}
    for need in [Requirement(line) for line in lines if line and line[0] not in "#%"]:
        name, own = (
            canonicalize_name(need.name),
            [one.version for one in need.specifier if one.operator in (">=", "==")],
        )
        bounds[name] = max([bounds.get(name, "0"), *own], key=Version)
    return bounds


def constraints(name: str) -> dict[str, str]:
    lines = (HERE / "constraints" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    needs = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(need.name): str(need.specifier).removeprefix("==") for need in needs}


def licences() -> Any:
    spec = importlib.util.spec_from_file_location("licences", HERE / "licences.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["oldest", "newest"])
def test_constraints_are_for_all_dependencies_and_within_their_bounds(name: str) -> None:
    given, bounds = constraints(name), lowest()
    needed = lowest("docs", "test").keys() - (ON_THEIR_OWN if name == "newest" else set())
    assert needed - given.keys() == set() and given.keys() - bounds.keys() == set()
    assert [own for own, version in given.items() if Version(version) < Version(bounds[own])] == []


def test_the_oldest_are_the_bounds_themselves_where_others_let_them() -> None:
    oldest, bounds = constraints("oldest"), lowest()
    higher = {own for own, version in oldest.items() if Version(version) != Version(bounds[own])}
    assert higher <= {"datasets", "fastapi", "huggingface-hub", "pyarrow", "rich", "safetensors", "tqdm"}


def test_licences_are_listed_for_each_extra(capsys: pytest.CaptureFixture[str]) -> None:
    module = licences()
    assert "BSD" in module.installed_for("fastast-hf")["numpy"]
    assert "onnxruntime" in module.installed_for("fastast-hf", "onnx")
    assert module.main() == 0
    printed = capsys.readouterr().out
    for extra in ("the package alone", "plot", "onnx", "serve", "train", "test"):
        assert f"\n{extra}: " in f"\n{printed}"
