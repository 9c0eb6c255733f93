"""From clips to batches: reading, augmentation, and what student and teacher hear."""

from __future__ import annotations
