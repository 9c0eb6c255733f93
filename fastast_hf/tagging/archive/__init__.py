"""Archives of any size and place: tables of recordings in, tables of results out."""

from __future__ import annotations
