"""Progress bars of loading: those of downloads tell something, that of reading weights is over at once."""

from __future__ import annotations

import sys


def only_downloads_shown() -> None:
    """Show transformers' bars of downloads alone, and those on a terminal alone."""
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging

    downloads_shown = sys.stderr.isatty() and not are_progress_bars_disabled()
    logging.disable_progress_bar()  # takes those of downloads with it
    if downloads_shown:
        enable_progress_bars()
