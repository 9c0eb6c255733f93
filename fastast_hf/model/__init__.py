"""What travels with a checkpoint: configuration, token merging, layers, model and front end."""

from __future__ import annotations
