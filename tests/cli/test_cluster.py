"""`--engine ray` without Ray: what is refused, and what a worker makes of a block."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from archives import BROKEN, contents, write_folder, write_tar
from running_scripts import ROOT

from fastast_hf import Tagger
from fastast_hf.cli import cluster
from fastast_hf.cli.classify import Labels
from fastast_hf.cli.embed import Embeddings
from fastast_hf.cli.events import Events
from fastast_hf.cli.main import build_parser, main
from fastast_hf.tagging.archive.inputs import Shard

MISUSE = [
    ("classify a.wav --engine ray", "--engine ray writes to a folder or an address: give one with -o"),
    ("classify a.wav -o out --replicas 2", "--replicas is of --engine ray: give that, too, or leave it out"),
    ("classify a.wav -o s3://b/out", "s3://b/out is an address, which --engine ray writes to"),
    ("embed a.wav -o s3://b/out.parquet", "s3://b/out.parquet is an address, which --engine ray writes to"),
    ("embed a.wav -o out --engine ray --tokens", "--tokens has a row for each window"),
    ("classify a.wav -o out --engine ray --plot a.png", "--plot is not of --engine ray, which writes parquet"),
    ("classify a.wav -o out --engine ray --replicas 0", "--replicas is 0: give 1 or more"),
    ("classify a.wav -o out --engine ray --num-cpus nan", "--num-cpus is nan: give 0 or more"),
    ("classify a.wav -o out --engine ray --num-gpus -1", "--num-gpus is -1: give 0 or more"),
    ("classify a.wav -o r.csv --engine ray", "r.csv is the name of a file, and --engine ray writes a folder: give -o"),
    ("embed a.wav -o s3://b/r.parquet --engine ray", "give -o a name without .parquet"),
    ("classify empty.txt -o out --engine ray", "empty.txt names no recording: give a path or an address in each"),
    ("classify no.txt -o out --engine ray", "no.txt: no such file; check the name"),
    ("classify no.csv -o out --engine ray", "no.csv: no such file; check the name"),
    ("classify s3x://b/a -o out --engine ray", "s3x://b/a: nothing here opens s3x://; check the address"),
    ("classify a.wav -o s3x://b/out --engine ray", "s3x://b/out: nothing here opens s3x://; check the address"),
    ("classify a.wav -o out --engine ray --column x", "--column is 'x', and no table is given: give one"),
    ("classify a.wav -o a.wav --engine ray", "a.wav is a file; give another --output"),
    ("classify a.wav -o out --engine ray --model ./none", "--model is ./none, and there is no such folder or file"),
    ("classify a.wav -o out --engine ray --address nohost.invalid:1", "nohost.invalid:1, where nobody answers"),
    ("classify a.wav -o out --engine ray --address 127.0.0.1:1", "127.0.0.1:1, where nobody answers (Connection ref"),
    ("classify a.wav -o old --engine ray", "old has results: add --resume"),
    ("classify a.wav -o old --engine ray --resume", "old has a damaged _settings.json in it, and its results may be"),
    ("classify a.csv -o out --engine ray", "has no column 'file': give one of wav, by --column"),
]


@pytest.mark.parametrize(("line", "said"), MISUSE)
def test_misuse_is_one_line(
    line: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("wav,\nx.wav,\n")
    Path("a.wav").touch()
    Path("old/failed=false").mkdir(parents=True)
    Path("old/failed=false/0.parquet").touch()
    Path("old/_settings.json").write_text("{")
    Path("empty.txt").write_text("\n")
    assert main(line.split()) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def arguments(line: str, *more: Any) -> Any:
    args = build_parser().parse_args([*line.split(), "--engine", "ray", *map(str, more)])
    args.top_k = args.top_k or 2
    return cluster._plain(args)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "sounds", contents(3) | BROKEN)


def rows_of(worker: cluster.Worker, table: Any) -> list[dict[str, Any]]:
    return [row for part in worker(table) for row in part.to_pylist()]


def test_a_worker_gives_the_rows_of_one_process(checkpoint: Path, folder: Path) -> None:
    worker = cluster.Worker(Labels, arguments("classify x -o out", "--model", checkpoint))
    files = [str(file) for file in sorted(folder.iterdir())]
    rows = rows_of(worker, cluster._table([(file, None, None) for file in files]))
    alone = Tagger(checkpoint, top_k=2)(files, on_error="return", progress=False)
    assert [row["file"] for row in rows] == files
    for row, result in zip(rows, alone, strict=True):
        if isinstance(result, Exception):
            assert row["failed"] and row["error"] == str(result) and row["label_1"] is None
        else:
            assert not row["failed"] and row["error"] is None
            assert [row["label_1"], row["label_2"]] == [label["label"] for label in result]
            assert row["score_1"] == pytest.approx(result[0]["score"], abs=1e-6)


def test_shards_and_names_that_are_no_text(checkpoint: Path, tmp_path: Path) -> None:
    worker = cluster.Worker(Labels, arguments("classify x -o out", "--model", checkpoint))
    tar = str(write_tar(tmp_path / "0.tar", contents(2) | BROKEN))
    shards = cluster._shards([Shard(tar), Shard(f"{tmp_path}/none.tar")])
    rows = [row for part in cluster._open_shards(shards, frozenset()) for row in rows_of(worker, part)]
    good = [f"{tar}#{name}" for name in contents(2)]
    assert [row["file"] for row in rows if not row["failed"]] == good
    bad = [*(f"{tar}#{name}" for name in BROKEN), f"{tmp_path}/none.tar"]
    assert [row["file"] for row in rows if row["failed"]] == bad
    assert all(row["error"].startswith(row["file"]) for row in rows if row["failed"])
    odd = "no\udcfftext.wav"  # a name in bytes that are not UTF-8
    (row,) = rows_of(worker, cluster._table([(odd, None, None)]))
    assert row["file"] == r"no\udcfftext.wav" and row["error"].startswith(row["file"]) and row["failed"]


def test_events_and_vectors(checkpoint: Path, folder: Path) -> None:
    table = cluster._table([(str(file), None, None) for file in sorted(folder.iterdir())])
    args = arguments("classify x -o out --window 1 --threshold 0.3", "--model", checkpoint)
    rows = rows_of(cluster.Worker(Events, args), table)
    assert {row["file"] for row in rows} == set(map(str, folder.iterdir()))
    assert {row["failed"] for row in rows if row["label"]} == {False}
    assert all(row["start"] is None and row["error"] for row in rows if row["failed"])
    args = arguments("classify x -o out --window 1 --threshold 1", "--model", checkpoint)
    quiet = rows_of(cluster.Worker(Events, args), table)
    assert len(quiet) == 5 and {row["label"] for row in quiet} == {None}  # each file has a row, whatever is heard
    args = arguments("embed x -o out", "--model", checkpoint)
    vectors = [row["embedding"] for row in rows_of(cluster.Worker(Embeddings, args), table) if not row["failed"]]
    files = [str(folder / name) for name in contents(3)]
    assert vectors == [pytest.approx(vector, abs=1e-6) for vector in Tagger(checkpoint).embed(files).tolist()]


def test_settings_are_compared_before_ray_starts(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "ray", None)  # an import would be an error of another name
    out = folder.parent / "out"
    (out / "failed=false").mkdir(parents=True)
    (out / "failed=false" / "0.parquet").touch()
    settings, _ = cluster._settings(Labels, arguments("classify x -o out", "--model", checkpoint))
    (out / "_settings.json").write_text(json.dumps({"model": str(checkpoint), **settings, "r": 3}))
    line = ["classify", str(folder), "-o", str(out), "--engine", "ray", "--resume", "--top-k", "2"]
    assert main([*line, "--model", str(checkpoint)]) == 2
    error = capsys.readouterr().err
    assert "out was begun with r 3 and not 4: go on with the same settings, or give another folder" in error
    (empty := folder.parent / "empty").mkdir()
    assert main([*line, "--model", str(empty)]) == 2
    error = capsys.readouterr().err
    assert str(empty) in error and "ray" not in error.replace("--engine ray", "") and error.count("\n") == 1


def test_too_little_room_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    args = arguments("classify x -o out --replicas 4 --num-gpus 1")
    with pytest.raises(ValueError, match=r"4 replicas of 1 GPU are asked for, and there are 0: ask for fewer"):
        cluster._check_room(args, {"CPU": 8.0}, alone=True)
    cluster._check_room(args, {"CPU": 8.0, "GPU": 2.0}, alone=False)
    assert "there are 2 now; waiting for the cluster to grow" in capsys.readouterr().err


def test_a_workers_error_keeps_its_reason() -> None:
    wrapped = RuntimeError("task failed\n  a traceback")
    wrapped.__cause__ = ValueError("tome_r is -1: give 0 or more")
    assert cluster._cause(wrapped) is wrapped.__cause__
    assert str(cluster._cause(RuntimeError("x\nthe node died"))) == "Ray has stopped the work: the node died"


def test_nothing_imports_ray_before_it_is_asked_for() -> None:
    package = [*(ROOT / "fastast_hf").rglob("*.py")]
    assert [file for file in package if re.search(r"^(import|from) ray\b", file.read_text(), re.MULTILINE)] == []
