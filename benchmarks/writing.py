"""What the scripts here have measured, as a JSON file that says on which processor and when."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch

from fastast_hf.benchmarking.circumstances import processor_name

CPU = torch.device("cpu")


def circumstances(device: torch.device = CPU) -> dict[str, Any]:
    """What was measured on, and when."""
    return {
        "processor": processor_name(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def write_rows(file: Path, rows: Sequence[Any], device: torch.device = CPU, **facts: Any) -> None:
    """Write rows, which are dataclasses, after the facts that they share; makes the folder."""
    result = {**facts, **circumstances(device), "rows": [asdict(row) for row in rows]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
