"""What each extra installs, and under which licence: `python tests/supply/licences.py`, in the environment to list.

It reads the metadata of installed packages and asks no network. An extra's list is that of its requirements and of
theirs, for this Python on this system. What an extra wants and is not installed is listed as missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "fastast-hf"
MISSING = "not installed"
UNKNOWN = "not said"
LONGEST = 60  # characters of a licence; some write all of its text into this field


def licence_of(found: Distribution) -> str:
    """As the package's metadata say it: an SPDX expression, a classifier, or a short text."""
    about = found.metadata
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License ::")]
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.count("::") > 1 or not about.get("License")]
    text = (about.get("License") or "").strip()
    if about.get("License-Expression"):
        return str(about["License-Expression"])
    if named:
        return "; ".join(named)
    return text.splitlines()[0][:LONGEST] if text else UNKNOWN


def wanted(package: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """The packages that one asks for here, with some of its extras, each with the extras that are asked of it."""
    for line in distribution(package).requires or []:
        need = Requirement(line)
        environments = [{"extra": extra} for extra in extras or {""}]
        if need.marker is None or any(need.marker.evaluate(environment) for environment in environments):
            yield canonicalize_name(need.name), frozenset(need.extras)


def installed_for(package: str, extra: str = "") -> dict[str, str]:
    """All packages that a package's extra brings, with their licences.

    Example:
        >>> installed_for("fastast-hf")["numpy"] != MISSING
        True
    """
    found: dict[str, str] = {}
    waiting = list(wanted(package, frozenset({extra} if extra else ())))
    done = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        try:
            found[name] = licence_of(distribution(name))
            waiting += wanted(name, extras)
        except PackageNotFoundError:
            found[name] = MISSING
    return dict(sorted(found.items()))


def main() -> int:
    """Print a list for the package alone, and one for each extra of what that adds."""
    alone = installed_for(PACKAGE)
    for extra in ("", *(distribution(PACKAGE).metadata.get_all("Provides-Extra") or [])):
        added = alone if not extra else {n: own for n, own in installed_for(PACKAGE, extra).items() if n not in alone}
        print(f"{extra or 'the package alone'}: {len(added)} packages{' more' if extra else ''}")
        for name, licence in added.items():
            print(f"  {name:28} {licence}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
