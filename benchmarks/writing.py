"""What the scripts here have measured on the CPU, as a JSON file that says on which one and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch

from fastast_hf.benchmark_circumstances import processor_name


def write_rows(file: Path, rows: Sequence[Any], **facts: Any) -> None:
    """Write rows, which are dataclasses, after the facts that they share; makes the folder."""
    circumstances = {
        "processor": processor_name(torch.device("cpu")),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    result = {**facts, **circumstances, "rows": [asdict(row) for row in rows]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
