"""Training on a corpus: batches, augmentation, recipes, runs."""

from __future__ import annotations
