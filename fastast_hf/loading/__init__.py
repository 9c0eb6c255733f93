"""From the name of a checkpoint to a model on a device."""

from __future__ import annotations
