"""Merging for a model you have: in place and back, its cost, and the r for a wanted speed-up."""

from __future__ import annotations
