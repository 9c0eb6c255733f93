"""What a checkpoint needs on the Hub: its card, its code, an endpoint's handler and a Space, and the way there."""

from __future__ import annotations
