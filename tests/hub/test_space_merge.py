"""A Space that is pushed again: a person's changes stay or are refused, our old modules go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, RepoCard
from local_hub import LocalHub
from local_hub_repositories import Commit

from fastast_hf.cli.main import main
from fastast_hf.hub import publish
from fastast_hf.hub.commit import client, commit
from fastast_hf.hub.space import WRITTEN, merged_page, space_files

# As the Hub makes a new one.
NEW_PAGE = """---
title: Tiny
emoji: 🐢
colorFrom: red
colorTo: gray
sdk: gradio
sdk_version: 5.0.0
app_file: app.py
pinned: false
---

Check out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference
"""


def push_space(**others: bytes) -> None:
    commit(client(), "me/tiny", {**space_files("me/tiny"), **others}, repo_type="space", commit_message="m")


def files(hub: LocalHub) -> dict[str, bytes]:
    return hub.files("me/tiny", kind="space")


def commits(hub: LocalHub) -> list[Commit]:
    return hub.repository("me/tiny", "space").branches["main"]


def upload(name: str, content: bytes) -> None:
    HfApi().upload_file(path_or_fileobj=content, path_in_repo=name, repo_id="me/tiny", repo_type="space")


@pytest.mark.parametrize("name", ["app.py", "requirements.txt", "fastast_hf/old.py"])
def test_a_file_that_a_person_changed_on_the_hub_is_named_and_nothing_is_pushed(
    name: str, hub: LocalHub, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push_space(**{"fastast_hf/old.py": b"old = 1\n"})
    upload(name, b"# mine\n")
    assert main(["push", str(checkpoint), "me/tiny", "--space"]) == 2
    said = capsys.readouterr().err
    assert f"were changed there, or are not from a push: {name}. Keep a copy" in said and said.count("\n") == 1
    assert files(hub)[name] == b"# mine\n" and ("model", "me/tiny") not in hub.repositories
    HfApi().delete_file(name, "me/tiny", repo_type="space")  # as the line says
    assert main(["push", str(checkpoint), "me/tiny", "--space"]) == 0
    assert (name in files(hub)) == (name != "fastast_hf/old.py")


def test_what_was_in_a_space_before_its_first_push_is_not_overwritten(hub: LocalHub) -> None:
    HfApi().create_repo("me/tiny", repo_type="space", space_sdk="gradio")
    upload("app.py", b"print('mine')\n")
    with pytest.raises(ValueError, match=r"not from a push: app\.py\. "):
        push_space()
    assert files(hub) == {"app.py": b"print('mine')\n"}


def test_modules_of_an_older_push_go_and_a_persons_own_files_stay(hub: LocalHub) -> None:
    push_space(**{"fastast_hf/old.py": b"old = 1\n", "fastast_hf/audio/folders.py": b"old = 2\n"})
    upload("examples/dog.wav", b"RIFF")
    push_space()
    assert "fastast_hf/old.py" not in files(hub) and files(hub)["examples/dog.wav"] == b"RIFF"
    assert (
        files(hub)["fastast_hf/audio/folders.py"]
        == (Path(publish.__file__).parents[1] / "audio" / "folders.py").read_bytes()
    )
    assert set(json.loads(files(hub)[WRITTEN])) == set(space_files("me/tiny"))


def test_what_a_person_wrote_into_the_page_stays(hub: LocalHub) -> None:
    push_space()
    text = files(hub)["README.md"].decode()
    text = text.replace("title: FastAST", "title: Barks\nhf_oauth: true").replace("tags: [", "tags: [dogs, ")
    text = text.replace("sdk_version: 6", "sdk_version: 5").replace("# FastAST\n", "# Barks\n\nMy words.\n")
    upload("README.md", (text + "\nAnd more.\n").encode())
    for _ in range(2):  # the second time, no commit
        push_space()
        assert len(commits(hub)) == 4
        page = files(hub)["README.md"].decode()
        data: Any = RepoCard(page).data
        assert (data["title"], data["hf_oauth"], data["models"]) == ("Barks", True, ["me/tiny"])
        assert data["sdk_version"].startswith("6.") and {"dogs", "token-merging"} < set(data["tags"])
        assert "# Barks\n\nMy words.\n\n<!-- generated: space -->\nUpload" in page and page.endswith("\nAnd more.\n")
        assert page.count("Upload or record") == 1


def test_the_page_that_the_hub_made_gets_the_generated_text_and_fields(hub: LocalHub) -> None:
    HfApi().create_repo("me/tiny", repo_type="space", space_sdk="gradio")
    upload("README.md", NEW_PAGE.encode())
    push_space()
    page = files(hub)["README.md"].decode()
    data: Any = RepoCard(page).data
    assert (data["title"], data["emoji"], data["models"], data["license"]) == ("Tiny", "🐢", ["me/tiny"], "apache-2.0")
    assert data["sdk_version"].startswith("6.")
    assert "---\n# FastAST\n\n<!-- generated: space -->" in page and "configuration reference" not in page


REFUSED = [
    ("---\nsdk: docker\n---\n# Mine\n", r"the Space me/a is of another kind \(docker\): push to another name"),
    ("---\ntitle: [\n---\n# Mine\n", r"front matter of the README of the Space me/a can't be read \([^\n]*$"),
]


@pytest.mark.parametrize(("old", "said"), REFUSED)
def test_a_page_that_cannot_be_joined_is_refused_in_a_line(old: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        merged_page("---\nsdk: gradio\n---\n# FastAST\n", old, "me/a")
