"""Labelled sound of one's own: tables of files and labels, and datasets."""

from __future__ import annotations
