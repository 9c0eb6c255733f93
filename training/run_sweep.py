"""The paper's Table 1 for a corpus: `python training/run_sweep.py esc50 --data ESC-50 --model out --output results`.

The same as `fastast evaluate`.
"""

from __future__ import annotations

import sys

from fastast_hf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
