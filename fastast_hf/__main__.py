"""`python -m fastast_hf` is `fastast`, for launchers that start a module."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    try:
        from .cli.main import main

        sys.exit(main())
    except KeyboardInterrupt:  # while importing, which takes seconds
        print("fastast: stopped", file=sys.stderr)
        sys.exit(130)
