"""One look for all pictures of the package: `plotting.mplstyle`."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STYLE = Path(__file__).with_suffix(".mplstyle")
# By name, for what is drawn without matplotlib's own order of colours.
BLUE, ORANGE, GREEN, RED, PINK, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
_LOCK = threading.RLock()  # matplotlib has one set of settings, and a server draws in several threads


@contextmanager
def styled() -> Iterator[None]:
    """Within it, or within a function that it decorates, figures are made in the package's style.

    Raises:
        ImportError: matplotlib is not installed.

    Example:
        >>> from matplotlib import rcParams
        >>> with styled():
        ...     rcParams["axes.spines.top"]
        False
    """
    import matplotlib.style

    with _LOCK, matplotlib.style.context(STYLE):
        yield
