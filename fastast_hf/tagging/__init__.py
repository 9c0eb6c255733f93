"""Sound to labels."""

from __future__ import annotations
