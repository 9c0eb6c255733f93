"""The tests of transformers run where `make conformance` has fetched them; what is expected to fail is in a list."""

from __future__ import annotations

import csv
import os
import re
import sys
from pathlib import Path

import pytest
from transformers.utils import logging

FETCHED = "FASTAST_CONFORMANCE"  # environment variable: the folder that fetch.py printed
EXPECTED = Path(__file__).with_name("expected.csv")
collect_ignore = [] if os.environ.get(FETCHED) else ["test_transformers.py"]
if os.environ.get(FETCHED):
    sys.path.insert(0, os.environ[FETCHED])


def pytest_configure(config: pytest.Config) -> None:
    """The marks of transformers' tests, whose own conftest does not come with them."""
    if os.environ.get(FETCHED):
        for file in sorted(Path(os.environ[FETCHED]).rglob("*.py")):
            for name in sorted(set(re.findall(r"@(?:pytest\.)?mark\.(\w+)", file.read_text(encoding="utf-8")))):
                config.addinivalue_line("markers", f"{name}: of transformers")


@pytest.fixture(autouse=True)
def told() -> None:
    """transformers' log, which its tests read, and ours keep quiet."""
    logging.set_verbosity_warning()


def expected() -> dict[tuple[str, str], tuple[str, str]]:
    """What becomes of a test on a class of ours, and why: `{(test, class): (outcome, reason)}`."""
    with EXPECTED.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {(row["test"], name): (row["outcome"], row["reason"]) for row in rows for name in row["classes"].split()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Expect failures as they are listed: one that is not fails, and so does one that is and has passed."""
    known = expected()
    for item in items:
        if item.path.name != "test_transformers.py":
            continue
        outcome, reason = known.get((item.name, item.nodeid.split("::")[1]), ("", ""))
        if outcome == "skip":
            item.add_marker(pytest.mark.skip(reason=reason))
        elif outcome == "fail":
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
