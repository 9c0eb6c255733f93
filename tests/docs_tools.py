"""The scripts of `docs/`, as modules."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from running_scripts import ROOT


def script(name: str) -> ModuleType:
    """A script of `docs/`."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_links = script("check_links")
build_site = script("build_site")
PAGES = check_links.PAGES
broken_links = check_links.broken_links
