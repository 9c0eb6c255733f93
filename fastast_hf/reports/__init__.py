"""What a model gets right and wrong, class by class and clip by clip, on a page of its own."""

from __future__ import annotations
