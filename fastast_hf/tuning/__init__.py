"""The fastest way to run a model that still says the same, for the sound and the machine at hand."""

from __future__ import annotations
