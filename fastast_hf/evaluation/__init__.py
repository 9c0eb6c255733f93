"""Scores of checkpoints over r, in tables and pictures."""

from __future__ import annotations
