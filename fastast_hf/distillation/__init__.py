"""Cross-model knowledge distillation: loss, trainer and teachers."""

from __future__ import annotations
