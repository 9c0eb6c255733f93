"""What is merged, shown in pictures and in a browser."""

from __future__ import annotations
