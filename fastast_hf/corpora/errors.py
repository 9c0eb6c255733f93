"""One kind of error for all corpora."""

from __future__ import annotations


class CorpusError(ValueError):
    """A corpus that is not as it should be. The message is one line: what was given, what is wanted, what to do."""
