"""Sound to labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tagger import Tagger

__all__ = ["Tagger"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import tagger  # torch comes with it, and the help of `fastast classify` does without

    return getattr(tagger, name)
