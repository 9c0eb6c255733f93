"""The Space's page; `fastast demo` opens the same one."""

from __future__ import annotations

import os
from pathlib import Path

from fastast_hf.demo.app import open_demo

NAMED = Path(__file__).with_name("model.txt")  # written by `fastast push --space`

if __name__ == "__main__":
    pushed = NAMED.read_text().strip() if NAMED.is_file() else None
    open_demo(os.environ.get("FASTAST_MODEL") or pushed)
