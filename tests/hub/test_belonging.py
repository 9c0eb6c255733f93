"""Which files of a folder are pushed, and which are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from local_hub import LocalHub
from small_results import TABLE

from fastast_hf import FastASTForAudioClassification as Model
from fastast_hf.cli.main import main
from fastast_hf.hub.card import REQUIREMENTS
from fastast_hf.hub.publish import push

# Keys, states to resume from, caches; and files of folders that are ours which are hidden, deeper or of another kind.
STRANGE = [".env", "optimizer.pt", "checkpoint-5/model.safetensors", "results/.hidden.json", "samples/deep/dog.wav"]


@pytest.mark.parametrize("name", [*STRANGE, "samples/notes.txt"])
def test_a_folder_with_other_files_is_refused_unless_they_are_to_stay(
    name: str, hub: LocalHub, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
    (checkpoint / name).write_bytes(b"secret")
    assert main(["push", str(checkpoint), "me/tiny"]) == 2
    said = capsys.readouterr().err
    listed = "checkpoint-5/" if name.startswith("checkpoint") else name
    assert f": {listed}. Remove" in said and "--only-model" in said and said.count("\n") == 1
    assert not hub.repositories
    assert main(["push", str(checkpoint), "me/tiny", "--only-model"]) == 0
    assert name not in hub.files("me/tiny")


def test_parts_of_other_weights_do_not_belong(hub: LocalHub, checkpoint: Path) -> None:
    Model.from_pretrained(checkpoint).save_pretrained(checkpoint / "parts", max_shard_size="50KB")
    for part in (checkpoint / "parts").glob("model*"):
        part.rename(checkpoint / part.name)
    shutil.rmtree(checkpoint / "parts")
    with pytest.raises(ValueError, match=r"do not belong to a checkpoint: model-00001-of-\d+\.safetensors, "):
        push(checkpoint, "me/tiny")
    (checkpoint / "model.safetensors").rename(checkpoint / "model-00001-of-00099.safetensors")
    with pytest.raises(ValueError, match=r"checkpoint: model-00001-of-00099\.safetensors\. Remove"):
        push(checkpoint, "me/tiny")
    assert not hub.repositories


def test_reports_which_hold_clips_stay_here(hub: LocalHub, checkpoint: Path) -> None:
    pages = ["split.csv", "report/report.html", "report/wrong.csv", "results/esc50-test-report-r0/report.html"]
    for name in pages:
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).write_text("clips")
    push(checkpoint, "me/tiny")
    assert not set(pages) & set(hub.files("me/tiny"))


@pytest.mark.parametrize("name", ["customers.csv", "face.png"])
def test_csv_and_pictures_of_no_table_do_not_belong(name: str, hub: LocalHub, checkpoint: Path) -> None:
    results = checkpoint / "results"
    results.mkdir()
    for file in ("esc50-test.csv", "esc50-test.png", name):
        (results / file).write_bytes(b"of it")
    (results / "esc50-test.json").write_text(json.dumps(TABLE))
    with pytest.raises(ValueError, match=rf"do not belong to a checkpoint: results/{name}\. Remove"):
        push(checkpoint, "me/tiny")
    push(checkpoint, "me/tiny", only_model=True)
    Model.from_pretrained(checkpoint).push_to_hub("me/again")
    for repository in ("me/tiny", "me/again"):
        pushed = {file for file in hub.files(repository) if file.startswith("results/")}
        assert pushed == {"results/esc50-test.csv", "results/esc50-test.json", "results/esc50-test.png"}
    (results / name).with_suffix(".json").write_text('{"customers": []}')
    with pytest.raises(ValueError, match="json has no 'corpus'"):
        push(checkpoint, "me/tiny")


@pytest.mark.parametrize("name", ["handler.py", "requirements.txt"])
def test_a_persons_own_file_for_an_endpoint_is_not_replaced(
    name: str, hub: LocalHub, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(checkpoint, "me/tiny")
    made = hub.files("me/tiny")[name]
    (checkpoint / name).write_bytes(made.replace(b"\n", b"\r\n"))  # as it came from the Hub
    push(checkpoint, "me/tiny")
    assert hub.files("me/tiny")[name] == made
    (checkpoint / name).write_bytes(made + b"# mine\n")
    for options in ([], ["--only-model"]):
        assert main(["push", str(checkpoint), "me/tiny", *options]) == 2
        said = capsys.readouterr().err
        assert f"{checkpoint / name} is not the one that a push makes" in said and said.count("\n") == 1
        assert f"`hf upload me/tiny {name}`" in said
    assert hub.files("me/tiny")[name] == made and (name != "requirements.txt" or made.decode() == REQUIREMENTS)
