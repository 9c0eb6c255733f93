"""Checkpoints as files for ONNX Runtime."""

from __future__ import annotations
