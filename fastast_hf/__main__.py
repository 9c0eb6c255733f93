"""`python -m fastast_hf` is `fastast`, for launchers that start a module."""

from __future__ import annotations

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
