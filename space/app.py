"""The Space's page; `fastast demo` opens the same one."""

from __future__ import annotations

import os

from fastast_hf.demo_app import build_demo

if __name__ == "__main__":
    build_demo(os.environ.get("FASTAST_MODEL")).launch()
