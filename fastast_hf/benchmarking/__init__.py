"""Time and memory beside stock AST, measured in one run."""

from __future__ import annotations
