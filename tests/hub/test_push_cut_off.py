"""Pushes that fail: a connection or a process that ends, a Hub that refuses; and no key in what is said of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import local_hub_routes
import pytest
import torch
from local_hub import LocalHub
from local_hub_repositories import Commit
from local_hub_routes import Answer, Request
from pushing import change, logits

from fastast_hf import FastASTForAudioClassification as Model
from fastast_hf.cli.main import main
from fastast_hf.hub.publish import push

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("where", ["/preupload/", "/lfs/", "/commit/"])
def test_a_connection_cut_at_any_step_leaves_the_old_revision(
    where: str, hub: LocalHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    push(checkpoint, "me/tiny")
    before, old = dict(hub.files("me/tiny")), logits(Model.from_pretrained("me/tiny"))
    expected = change(checkpoint)

    def cut_off(method: str, path: str) -> None:
        if where in path and method in ("PUT", "POST"):
            raise ConnectionError

    hub.before = cut_off
    with pytest.raises(OSError, match=r"the connection to the Hub at .* failed .* me/tiny is as it was"):
        push(checkpoint, "me/tiny")
    hub.before = lambda method, path: None
    assert hub.files("me/tiny") == before
    assert torch.equal(logits(Model.from_pretrained("me/tiny", force_download=True)), old)
    push(checkpoint, "me/tiny")
    assert torch.equal(logits(Model.from_pretrained("me/tiny")), expected)


def test_a_change_made_while_it_was_pushed_is_not_lost(hub: LocalHub, checkpoint: Path) -> None:
    push(checkpoint, "me/tiny")
    history = hub.repository("me/tiny").branches["main"]
    edited = Commit("e" * 40, "Edited on the page", {**history[-1].files, "README.md": b"Mine.\n"})

    def edit(method: str, path: str) -> None:
        if "/commit/" in path and history[-1] is not edited:
            history.append(edited)

    change(checkpoint)
    hub.before = edit
    with pytest.raises(OSError, match="me/tiny was changed while this was pushed; it is as it was changed: run it"):
        push(checkpoint, "me/tiny")
    assert history[-1] is edited
    push(checkpoint, "me/tiny")
    assert b"Mine." in hub.files("me/tiny")["README.md"]


@pytest.mark.slow
def test_a_process_killed_while_it_pushes_leaves_the_old_revision(
    hub: LocalHub, checkpoint: Path, tmp_path: Path
) -> None:
    push(checkpoint, "me/tiny")
    before, old = dict(hub.files("me/tiny")), logits(Model.from_pretrained("me/tiny"))
    expected = change(checkpoint)
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_local", "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "fastast_hf.cli.main", "push", str(checkpoint), "me/tiny"]
    children: list[subprocess.Popen[bytes]] = []

    def kill(method: str, path: str) -> None:
        if "/commit/" in path:
            children[0].kill()
            raise ConnectionError

    hub.before = kill
    children.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    children[0].communicate(timeout=120)
    assert children[0].returncode == -signal.SIGKILL
    hub.before = lambda method, path: None
    assert hub.files("me/tiny") == before
    assert torch.equal(logits(Model.from_pretrained("me/tiny", force_download=True)), old)
    push(checkpoint, "me/tiny")
    assert torch.equal(logits(Model.from_pretrained("me/tiny")), expected)


# Keys

TOKEN = "hf_TopSecretTopSecret"
# Where something fails, and how: a status, or None for a connection that is cut.
FAILURES = [
    ("/api/repos/create", 500),
    ("/api/models/me/tiny", 401),
    ("/preupload/", None),
    ("/commit/", 500),
    ("/resolve/", None),
    ("strange", None),
    ("wrong name", None),
]


@pytest.mark.parametrize(("where", "status"), FAILURES)
def test_no_error_shows_the_token(
    where: str,
    status: int | None,
    hub: LocalHub,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(local_hub_routes, "TOKEN", TOKEN)  # or else it would let nobody in
    push(checkpoint, "me/tiny")
    if where == "strange":
        (checkpoint / ".env").write_text(TOKEN)

    def fail(hub: LocalHub, asked: Request, **place: str) -> None:
        raise Answer(status or 500, {"error": "no"})

    def cut_off(method: str, path: str) -> None:
        if where in path:
            raise ConnectionError

    if status is None:
        hub.before = cut_off
    else:
        verbs = "GET HEAD POST"
        monkeypatch.setattr(local_hub_routes, "ROUTES", [(verbs, f".*{where}.*", fail), *local_hub_routes.ROUTES])
    change(checkpoint)
    assert main(["push", str(checkpoint), "wrong" if where == "wrong name" else "me/tiny"]) == 2
    printed = capfd.readouterr()
    assert TOKEN not in printed.out + printed.err and printed.err.count("\n") == 1


def test_a_token_that_cannot_be_sent_is_not_shown(hub: LocalHub, checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="characters that no token has") as told:
        push(checkpoint, "me/tiny", token=f"{TOKEN}\n")
    assert TOKEN not in str(told.value)
