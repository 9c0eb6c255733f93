"""`fastast distill`: launches training/run_kd.py through accelerate."""

from __future__ import annotations

from typing import Any

from .train import add_launcher


def add_parser(commands: Any) -> None:
    """Add `distill` to the commands."""
    add_launcher(commands, "distill", "run_kd.py", "train a model that also learns from a teacher (distillation)")
