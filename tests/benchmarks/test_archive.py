"""What `benchmarks/archive.py` writes and reckons: that it runs, and never how fast."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest
from running_scripts import ROOT


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("archive")


@pytest.mark.slow
def test_every_format_and_preset_has_a_row(archive: ModuleType, tmp_path: Path) -> None:
    archive.main(["--models", "tiny", "--clips", "1", "--rounds", "1", "--output", str(tmp_path)])
    rows = json.loads((tmp_path / "cpu.json").read_text())["rows"]
    assert [row["what"] for row in rows] == [*archive.FILES, "tiny, exact", "tiny, balanced", "tiny, fast"]
    assert all(row["core_hours"] == pytest.approx(row["cpu_seconds"] * 1e6 / 3600) for row in rows)
    assert [bool(row["bytes"]) for row in rows] == [True] * 3 + [False] * 3


def test_a_gpus_hours_and_what_feeds_it(
    archive: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reading = [{"what": "wav", "cpu_seconds": 0.01, "bytes": 250_000}, {"what": "m", "cpu_seconds": 1, "bytes": None}]
    (tmp_path / "cpu.json").write_text(json.dumps({"rows": reading}))
    measured = {"device": "cuda", "frames": 1024, "implementation": "FastAST", "tome_r": 40, "batch_size": 32}
    (tmp_path / "out" / "sdpa").mkdir(parents=True)
    rows = [measured | {"end_to_end_samples_per_sec": 1000.0}, measured | {"frames": 128}]
    (tmp_path / "out" / "sdpa" / "b32.json").write_text(json.dumps(rows))
    archive.main(["--gpu", str(tmp_path / "out"), "--output", str(tmp_path)])
    *_, line = capsys.readouterr().out.strip().splitlines()
    assert line.split() == ["sdpa:", "FastAST", "r=40,", "batch", "32", "wav", "1000", "0.28", "10.0", "2.00"]


def test_misuse_exits_with_2_and_a_line(
    archive: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options, said in ((["--clips", "0"], "clips is 0"), (["--gpu", str(tmp_path)], "cpu.json is missing")):
        with pytest.raises(SystemExit) as stopped:
            archive.main([*options, "--output", str(tmp_path)])
        assert stopped.value.code == 2 and said in capsys.readouterr().err
