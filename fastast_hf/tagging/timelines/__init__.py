"""Scores over time: what is heard when in a recording."""

from __future__ import annotations
