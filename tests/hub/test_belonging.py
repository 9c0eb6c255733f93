"""What a file of a folder is, and not only what it is called, decides whether it is pushed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from local_hub import LocalHub
from small_results import TABLE

from fastast_hf import FastASTForAudioClassification as Model
from fastast_hf.cli.main import main
from fastast_hf.hub.card import REQUIREMENTS
from fastast_hf.hub.publish import push


@pytest.mark.parametrize("content", [b"", b"RIFF", b"my diary", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg"])
def test_a_clip_that_is_no_audio_is_refused(
    content: bytes, ending: str, hub: LocalHub, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = checkpoint / "samples" / f"dog.{ending}"
    clip.parent.mkdir()
    clip.write_bytes(content)
    for options in ([], ["--only-model"]):
        assert main(["push", str(checkpoint), "me/tiny", *options]) == 2
        said = capsys.readouterr().err
        assert f"{clip} is no audio (" in said and said.count("\n") == 1
    with pytest.raises(ValueError, match=f"^{clip} is no audio"):
        Model.from_pretrained(checkpoint).push_to_hub("me/tiny")
    assert not hub.repositories


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "ogg"])
def test_a_clip_is_pushed_as_it_is(ending: str, hub: LocalHub, checkpoint: Path) -> None:
    clip = checkpoint / "samples" / f"dog.{ending}"
    clip.parent.mkdir()
    soundfile.write(clip, [0.0, 0.5] * 4000, 16000)
    push(checkpoint, "me/tiny")
    assert hub.files("me/tiny")[f"samples/dog.{ending}"] == clip.read_bytes()


@pytest.mark.parametrize("name", ["customers.csv", "face.png", "esc50-test-mine.csv"])
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
