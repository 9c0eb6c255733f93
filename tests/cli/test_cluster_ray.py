"""`--engine ray` on a cluster of one or two nodes here: one process's results, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from archives import BROKEN, contents, write_folder, write_sound_table, write_tar
from running_scripts import TIMEOUT, environment

from fastast_hf.cli.main import main

pytestmark = pytest.mark.slow
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server with a bucket, which all that this process starts finds by its environment."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        address = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
        for name, value in (("ENDPOINT_URL", address), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "y"),
                            ("REGION", "us-east-1"), ("EC2_METADATA_DISABLED", "true")):  # fmt: skip
            patch.setenv(f"AWS_{name}", value)
        boto3.client("s3", endpoint_url=address, region_name="us-east-1").create_bucket(Bucket="archive")
        yield "s3://archive"
    server.stop()


@pytest.fixture(scope="module")
def cluster(s3: str) -> Iterator[Any]:
    """Of one node with one core."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    cluster.shutdown()


@pytest.fixture
def run(cluster: Any, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command on the cluster: exit code, stdout, stderr."""

    def run(command: str, *arguments: object) -> tuple[int, str, str]:
        where = ["--engine", "ray", "--address", cluster.address]
        capsys.readouterr()
        code = main([command, *map(str, arguments), "--model", str(checkpoint), *where])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def one_process(checkpoint: Path, tmp_path: Path, *places: object) -> pd.DataFrame:
    output = tmp_path / "alone.parquet"
    main(["classify", *map(str, places), "-o", str(output), "--model", str(checkpoint)])
    return pd.read_parquet(output).sort_values("file", ignore_index=True)


def check_equal(out: Path, expected: pd.DataFrame) -> None:
    found = pd.read_parquet(out).sort_values("file", ignore_index=True)
    failed = found.pop("failed").astype(str) == "true"
    assert (failed == found["error"].notna()).all()
    pd.testing.assert_frame_equal(found, expected, atol=1e-5, check_dtype=False)


def test_results_are_those_of_one_process_and_resume_adds_what_is_missing(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    folder, out = write_folder(tmp_path / "sounds", contents(5) | BROKEN), tmp_path / "out"
    first = [folder / f"clip {index}#.wav" for index in range(2)]
    assert run("classify", *first, folder / "text.wav", "-o", out)[0] == 2
    code, _, said = run("classify", folder, "-o", out)
    assert code == 2 and "has results: add --resume to go on with them, or give another folder" in said
    (out / "failed=false" / "cut.parquet").write_bytes(b"PAR1 which a killed run has left")
    code, printed, said = run("classify", folder, "-o", out, "--resume")
    assert code == 2 and printed.startswith(f"{out}: 5 labelled, 2 of them before, 2 failed; tome_r=4")
    assert "cut.parquet: cut off by a killed run, and removed" in said
    check_equal(out, one_process(checkpoint, tmp_path, folder))
    (folder / "text.wav").write_bytes((folder / "clip 0#.wav").read_bytes())
    assert run("classify", folder, "-o", out, "--resume")[1].startswith(f"{out}: 6 labelled, 5 of them before, 1 fai")
    code, _, said = run("classify", folder, "-o", out, "--resume", "--r", "2")
    assert code == 2 and "was begun with r 4 and not 2: go on with the same settings" in said


def test_a_workers_mistake_is_one_line(run: Run, tmp_path: Path) -> None:
    code, _, said = run("classify", "a.wav", "-o", tmp_path / "out", "--threshold", "7")
    assert code == 2 and "fastast classify: --threshold is 7.0: give a score from 0 to 1, or 'auto'" in said
    assert "Traceback" not in said


def test_shards_and_tables_in_and_events_and_vectors_out(run: Run, tmp_path: Path) -> None:
    tar, table = tmp_path / "0.tar", tmp_path / "train.parquet"
    write_tar(tar, contents(3) | BROKEN)
    write_sound_table(table, contents(2))
    out = tmp_path / "out"
    shards = [tar, tmp_path / "none.tar", table, "--column", "audio"]
    code, printed, _ = run("classify", *shards, "-o", out, "--window", "1", "--threshold", "0")
    assert code == 2 and printed.startswith(f"{out}: 5 labelled, 3 failed")
    events = pd.read_parquet(out)
    assert set(events["file"][events["failed"].astype(str) == "false"]) == {
        *(f"{tar}#{name}" for name in contents(3)),
        *(f"{table}#{row}/{name}" for row, name in enumerate(contents(2))),
    }
    assert run("classify", *shards, "-o", out, "--window", "1", "--threshold", "0", "--resume")[0] == 2
    again = pd.read_parquet(out)
    assert len(again) == len(events) and set(again["file"]) == set(events["file"])
    code, printed, _ = run("embed", table, "--column", "audio", "-o", tmp_path / "vectors")
    assert code == 0 and printed.startswith(f"{tmp_path}/vectors: 2 embedded")
    assert pd.read_parquet(tmp_path / "vectors")["embedding"].map(len).tolist() == [32, 32]


def test_from_s3_to_s3(run: Run, s3: str, checkpoint: Path, tmp_path: Path) -> None:
    from fastast_hf.audio.addresses import filesystem_of

    folder = write_folder(tmp_path / "sounds", contents(4) | BROKEN)
    files, _ = filesystem_of(s3)
    for file in folder.iterdir():
        files.pipe_file(f"archive/in/deep/{file.name}", file.read_bytes())
    files.pipe_file("archive/in/0.tar", write_tar(tmp_path / "0.tar", contents(2)).read_bytes())
    places = [f"{s3}/in/deep", f"{s3}/in/*.tar", f"{s3}/in/gone.wav"]
    code, printed, _ = run("classify", *places, "-o", f"{s3}/out")
    assert code == 2 and printed.startswith(f"{s3}/out: 6 labelled, 3 failed")
    for path in files.find("archive/out"):
        target = tmp_path / "copy" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files.cat_file(path))
    found = pd.read_parquet(tmp_path / "copy" / "archive" / "out").set_index("file")
    assert found["error"][f"{s3}/in/gone.wav"] == f"{s3}/in/gone.wav: no such file; check the address"
    alone = one_process(checkpoint, tmp_path, folder).set_index("file")
    for name in contents(4):
        scores = found.loc[f"{s3}/in/deep/{name}", "score_1"], alone.loc[str(folder / name), "score_1"]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)
    code, printed, _ = run("classify", *places, "-o", f"{s3}/out", "--resume")
    assert code == 2 and printed.startswith(f"{s3}/out: 6 labelled, 6 of them before, 3 failed")


def many(tmp_path: Path, count: int = 600) -> Path:
    """A folder of links to a few recordings, a third of which can't be used."""
    few = write_folder(tmp_path / "few", contents(4) | BROKEN)
    kinds = sorted(few.iterdir())
    folder = tmp_path / "many"
    folder.mkdir()
    for index in range(count):
        (folder / f"{index}.wav").symlink_to(kinds[index % len(kinds)])
    return folder


def when_begun(out: Path, what: Callable[[], None]) -> threading.Thread:
    """Do something as soon as the first results are there, in a thread."""

    def wait() -> None:
        deadline = time.monotonic() + TIMEOUT
        while not list(out.glob("failed=*/*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.01)
        what()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def workers_of(parent: int) -> list[int]:
    """The actors that compute, of the Ray that this process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*"):
        try:
            raylet = int((status / "stat").read_text().rpartition(")")[2].split()[1])
            owner = int(Path(f"/proc/{raylet}/stat").read_text().rpartition(")")[2].split()[1])
            if owner == parent and b"MapWorker" in (status / "cmdline").read_bytes():
                found.append(int(status.name))
        except (OSError, IndexError):  # it has ended
            continue
    return found


def test_a_killed_worker_costs_a_retry(run: Run, checkpoint: Path, tmp_path: Path) -> None:
    folder, out, killed = many(tmp_path), tmp_path / "out", []

    def kill() -> None:
        for pid in workers_of(os.getpid()):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    thread = when_begun(out, kill)
    code, _, _ = run("classify", folder, "-o", out)
    thread.join()
    assert killed and code == 2
    check_equal(out, one_process(checkpoint, tmp_path, folder))


def test_a_killed_node_costs_a_retry(cluster: Any, run: Run, checkpoint: Path, tmp_path: Path) -> None:
    folder, out = many(tmp_path), tmp_path / "out"
    node = cluster.add_node(num_cpus=1)
    thread = when_begun(out, lambda: cluster.remove_node(node, allow_graceful=False))
    code, _, _ = run("classify", folder, "-o", out, "--replicas", "2")
    thread.join()
    assert code == 2
    check_equal(out, one_process(checkpoint, tmp_path, folder))


def test_a_killed_command_goes_on(cluster: Any, run: Run, checkpoint: Path, tmp_path: Path) -> None:
    folder, out = many(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "fastast_hf", "classify", str(folder), "-o", str(out), "--engine", "ray"]
    own = {name: value for name, value in environment().items() if not name.startswith("RAY_")}  # not this process's
    with subprocess.Popen(
        [*command, "--address", cluster.address, "--model", str(checkpoint)],
        env=own,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        when_begun(out, process.kill).join()
    code, printed, _ = run("classify", folder, "-o", out, "--resume")
    assert code == 2 and " of them before, " in printed
    check_equal(out, one_process(checkpoint, tmp_path, folder))
