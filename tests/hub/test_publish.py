"""Pushing and loading through the real client, over HTTP."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub import HfApi, ModelCard, constants
from local_hub import LocalHub
from pushing import commits, logits
from small_results import TABLE
from transformers import ASTForAudioClassification, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

from fastast_hf import (
    FastASTFeatureExtractor,
    FastASTForAudioClassification,
    PasstConfig,
    PasstFeatureExtractor,
    PasstForAudioClassification,
)
from fastast_hf.cli.main import main
from fastast_hf.hub.contents import code_files
from fastast_hf.hub.publish import push
from fastast_hf.loading.checkpoint import front_end_of

CODE = {"configuration_fastast.py", "cpu_linear.py", "feature_extraction_fastast.py", "layer_fastast.py"} | {
    "modeling_fastast.py",
    "patch_grid.py",
    "token_merging.py",
}


def test_what_is_pushed_loads_with_the_same_logits_and_r(hub: LocalHub, checkpoint: Path) -> None:
    push(checkpoint, "me/tiny")
    assert commits(hub) == ["initial commit", "Upload FastAST"]
    expected = logits(FastASTForAudioClassification.from_pretrained(checkpoint))
    for loader in (FastASTForAudioClassification, AutoModelForAudioClassification):
        loaded = loader.from_pretrained("me/tiny")
        assert loaded.config.tome_r == 4 and torch.equal(logits(loaded), expected)
    assert AutoModel.from_pretrained("me/tiny", tome_r=7).config.tome_r == 7
    assert AutoFeatureExtractor.from_pretrained("me/tiny").max_length == 128


def test_a_repository_without_a_front_end_is_known_to_have_none(
    hub: LocalHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = HfApi(hub.url, token="hf_local")
    api.create_repo("me/bare")
    api.upload_folder(repo_id="me/bare", folder_path=checkpoint, allow_patterns=["config.json", "model.safetensors"])
    config = FastASTForAudioClassification.from_pretrained("me/bare").config
    for offline in (False, True):  # the second time as it is in the cache
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        assert front_end_of(config).mean == FastASTFeatureExtractor().mean


def test_a_repository_holds_all_that_a_stranger_needs_and_nothing_else(hub: LocalHub, checkpoint: Path) -> None:
    push(checkpoint, "me/tiny")
    names = set(hub.files("me/tiny"))
    made = {
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "README.md",
        "handler.py",
        "requirements.txt",
    }
    assert names == made | CODE
    assert {path.name for path in code_files()} == CODE
    card = ModelCard(hub.files("me/tiny")["README.md"].decode())
    assert (card.data.pipeline_tag, card.data.library_name) == ("audio-classification", "transformers")
    for content in hub.files("me/tiny").values():
        assert b"hf_local" not in content and not content.startswith((b"PK", b"\x80"))  # no token, no pickle


@pytest.mark.parametrize(("field", "said"), [("tags: [1, 2]", "must be a text"), ("license: new", "'new'")])
def test_a_card_that_the_hub_refuses_is_told_with_its_reason_and_leaves_no_empty_repository(
    field: str,
    said: str,
    hub: LocalHub,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("fastast_hf.hub.licenses.LICENSES", ["new"])  # which this Hub does not know
    (checkpoint / "README.md").write_text(f"---\n{field}\n---\n# tiny\n")
    assert main(["push", str(checkpoint), "me/tiny"]) == 2
    printed = capsys.readouterr().err
    assert "the Hub does not take the card of me/tiny: " in printed and said in printed and printed.count("\n") == 1
    assert not hub.repositories


def test_an_unknown_license_is_refused_before_anything_is_pushed(hub: LocalHub, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"^the Hub knows no license 'apache': did you mean apache-2.0\?$"):
        push(checkpoint, "me/tiny", license_id="apache", plain=True)
    assert not hub.repositories


def test_a_teachers_commit_says_so(hub: LocalHub, tmp_path: Path) -> None:
    config = PasstConfig(
        hidden_size=24, num_attention_heads=3, num_hidden_layers=1, intermediate_size=24, max_length=64
    )
    PasstForAudioClassification(config).save_pretrained(tmp_path)
    PasstFeatureExtractor(max_length=64).save_pretrained(tmp_path)
    assert main(["push", str(tmp_path), "me/tiny"]) == 0
    assert commits(hub)[-1] == "Upload teacher"


def test_each_repository_has_its_address_said(
    hub: LocalHub, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(checkpoint), "me/tiny", "--plain", "--space"]) == 0
    addresses = capsys.readouterr().out.split()
    assert addresses == [f"{hub.url}/{place}" for place in ("me/tiny", "me/tiny-ast", "spaces/me/tiny")]


def test_a_hub_that_does_not_answer_is_named(hub: LocalHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastast_hf.hub.commit.HfApi", partial(HfApi, endpoint="http://127.0.0.1:9"))
    with pytest.raises(OSError, match=r"the connection to the Hub at http://127.0.0.1:9 failed"):
        push(checkpoint, "me/tiny")


def test_tables_are_pushed_and_the_predictions_behind_them_are_not(hub: LocalHub, checkpoint: Path) -> None:
    (checkpoint / "results" / "predictions").mkdir(parents=True)
    (checkpoint / "results" / "predictions" / "0a.safetensors").write_bytes(b"x")
    (checkpoint / "results" / "esc50-test.csv").write_text("method\n")
    (checkpoint / "results" / "esc50-test.json").write_text(json.dumps(TABLE))
    push(checkpoint, "me/tiny")
    assert "results/esc50-test.csv" in hub.files("me/tiny")
    assert not [name for name in hub.files("me/tiny") if "predictions" in name]


def test_plain_weights_are_stock_asts(hub: LocalHub, checkpoint: Path) -> None:
    push(checkpoint, "me/tiny", plain=True, license_id="cc-by-nc-3.0")
    assert ModelCard(hub.files("me/tiny-ast")["README.md"].decode()).data.license == "cc-by-nc-3.0"
    assert set(hub.files("me/tiny-ast")) == {
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "README.md",
    }
    stock = ASTForAudioClassification.from_pretrained("me/tiny-ast")
    assert torch.equal(logits(stock), logits(FastASTForAudioClassification.from_pretrained(checkpoint, tome_r=0)))
    config = json.loads(hub.files("me/tiny-ast")["config.json"])
    assert config["model_type"] == "audio-spectrogram-transformer" and "auto_map" not in config


def test_the_stock_weights_card_says_what_opens_files_and_how_to_do_without(
    hub: LocalHub, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(checkpoint, "me/tiny", plain=True)
    card = hub.files("me/tiny-ast")["README.md"].decode()
    lines, call = re.findall(r"```python\n(.*?)```", card, re.DOTALL), re.search(r"`(pipe\(soundfile.+?)`\.", card)
    assert "opens files with the program ffmpeg" in card and len(lines) == 1 and call is not None
    monkeypatch.chdir(tmp_path)
    soundfile.write("clip.wav", np.sin(np.arange(16000, dtype=np.float32)), 16000)
    names: dict[str, Any] = {"soundfile": soundfile}
    exec(lines[0].replace('pipe("clip.wav")', ""), names)
    assert {label["label"] for label in eval(call[1], names)} == {"dog", "rain"}


def test_a_space_shows_the_checkpoint(hub: LocalHub, checkpoint: Path) -> None:
    push(checkpoint, "me/tiny", space=True)
    space = hub.repository("me/tiny", "space")
    assert space.sdk == "gradio"
    files = hub.files("me/tiny", kind="space")
    assert files["model.txt"] == b"me/tiny\n"
    page = ModelCard(files["README.md"].decode()).data
    assert (page["sdk"], page["app_file"], page["models"]) == ("gradio", "app.py", ["me/tiny"])
    assert b"open_demo" in files["app.py"] and "fastast_hf/demo/app.py" in files


def test_a_model_pushes_itself_with_its_front_end(hub: LocalHub, checkpoint: Path) -> None:
    FastASTForAudioClassification.from_pretrained(checkpoint).push_to_hub("me/again")
    assert "preprocessor_config.json" in hub.files("me/again") and "handler.py" in hub.files("me/again")
    in_memory = FastASTForAudioClassification(FastASTForAudioClassification.from_pretrained(checkpoint).config)
    in_memory.config.name_or_path = ""
    with pytest.raises(ValueError, match="give push_to_hub feature_extractor"):
        in_memory.push_to_hub("me/new")
    in_memory.push_to_hub("me/new", feature_extractor=FastASTFeatureExtractor(max_length=128, num_mel_bins=48))
    assert json.loads(hub.files("me/new")["preprocessor_config.json"])["max_length"] == 128


MISTAKES = [
    (["push", "{empty}", "me/tiny"], "config.json is not there"),
    (["push", "{tiny}", "tiny"], "has no owner: give USER/NAME"),
    (["push", "{tiny}", "a/b/c"], "'repo_name' or 'namespace/repo_name': 'a/b/c'"),
    (["card", "{gone}"], "gone does not exist"),
]


@pytest.mark.parametrize(("argv", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_is_one_line_and_nothing_is_pushed(
    argv: list[str], said: str, hub: LocalHub, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"{tiny}": checkpoint, "{gone}": tmp_path / "gone", "{empty}": tmp_path}
    (tmp_path / "cache").mkdir(exist_ok=True)
    assert main([str(places.get(part, part)) for part in argv]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1 and "Traceback" not in printed
    assert not hub.repositories


def test_who_may_not_write_is_told_to_log_in(
    hub: LocalHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(checkpoint / "none"))
    assert main(["push", str(checkpoint), "me/tiny"]) == 2
    assert "log in with `hf auth login`" in capsys.readouterr().err
