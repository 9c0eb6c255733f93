"""The local Hub is as strict as the Hub where a push could go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib import request
from urllib.error import HTTPError

import pytest
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from local_hub import LocalHub, local_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with local_hub() as served:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield served


@pytest.fixture
def api(hub: LocalHub) -> HfApi:
    api = HfApi(hub.url, token="hf_local")
    api.create_repo("me/it")
    return api


def add(api: HfApi, name: str, content: bytes = b"content", **settings: object) -> object:
    settings = {"repo_id": "me/it", **settings}
    return api.upload_file(path_or_fileobj=content, path_in_repo=name, **settings)  # type: ignore[arg-type]


# Name, bytes and whether the Hub keeps it in Git LFS.
FILES = [("model.safetensors", 8, True), ("notes.md", 8, False), ("notes.md", 200_000, True), ("a/b c.json", 9, False)]


@pytest.mark.parametrize(("name", "size", "is_lfs"), FILES)
def test_weights_and_large_files_go_through_lfs_and_come_back(
    name: str, size: int, is_lfs: bool, hub: LocalHub, api: HfApi, tmp_path: Path
) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    add(api, name, content)
    assert any(request.startswith("PUT /lfs/") for request in hub.requests) == is_lfs
    (info,) = [file for file in api.list_repo_tree("me/it", recursive=True) if file.path == name]
    assert info.size == size and (info.lfs is not None) == is_lfs  # type: ignore[union-attr]
    copy = hf_hub_download("me/it", name, endpoint=hub.url, cache_dir=str(tmp_path))
    assert Path(copy).read_bytes() == content


def test_a_pull_request_is_a_revision_with_slashes(hub: LocalHub, api: HfApi) -> None:
    made = add(api, "a.txt", create_pr=True)
    assert made.pr_revision == "refs/pr/1"  # type: ignore[attr-defined]
    assert api.list_repo_files("me/it", revision="refs/pr/1") == ["a.txt"] and not api.list_repo_files("me/it")
    add(api, "b.txt", revision="refs/pr/1")
    assert api.file_exists("me/it", "b.txt", revision="refs/pr/1") and not api.file_exists("me/it", "b.txt")
    with pytest.raises(RevisionNotFoundError):
        api.list_repo_files("me/it", revision="refs/pr/2")


@pytest.mark.parametrize("token", ["hf_wrong", False])
def test_writing_needs_the_token(token: str | bool, hub: LocalHub, api: HfApi) -> None:
    stranger = HfApi(hub.url, token=token)
    writes = (
        lambda: stranger.create_repo("me/new"),
        lambda: add(stranger, "a.txt"),
        lambda: stranger.create_branch("me/it", branch="v1"),
    )
    for write in writes:
        with pytest.raises(HfHubHTTPError) as raised:
            write()
        assert raised.value.response.status_code == 401
    for page in ("me/it.git/info/lfs/objects/batch", "api/models/me/it/preupload/main"):
        asked = request.Request(f"{hub.url}/{page}", b"{}", {"Authorization": f"Bearer {token}"} if token else {})
        with pytest.raises(HTTPError, match="401"):
            request.urlopen(asked)
    assert not hub.files("me/it") and list(hub.repository("me/it").branches) == ["main"]


def test_a_wrong_token_reads_nothing_and_no_token_what_is_public(hub: LocalHub, api: HfApi) -> None:
    api.create_repo("me/hidden", private=True)
    assert HfApi(hub.url, token=False).model_info("me/it").id == "me/it"
    with pytest.raises(RepositoryNotFoundError):
        HfApi(hub.url, token=False).model_info("me/hidden")
    with pytest.raises(HfHubHTTPError, match="Invalid credentials"):
        HfApi(hub.url, token="hf_wrong").model_info("me/it")


INDEX = "model-index:\n- name: it\n  results:\n  - task: {type: audio-classification}\n    metrics: []\n"
REFUSED = [
    ("model", "license: mine", "'mine'"),
    ("model", "license: other", "license_name"),
    ("model", "tags: [1, 2]", '"tags"'),
    ("model", "a: [", "no YAML"),
    ("model", INDEX, '"model-index"'),
    ("space", "sdk: gradio\ncolorFrom: mauve", '"colorFrom"'),
    ("space", "sdk: cobol", '"sdk"'),
]


@pytest.mark.parametrize(("kind", "fields", "said"), REFUSED, ids=[said for _, _, said in REFUSED])
def test_a_card_with_wrong_metadata_is_refused(kind: str, fields: str, said: str, hub: LocalHub, api: HfApi) -> None:
    if kind == "space":
        api.create_repo("me/it", repo_type="space", space_sdk="gradio")
    with pytest.raises(ValueError, match="Invalid metadata") as raised:
        add(api, "README.md", f"---\n{fields}\n---\n# it\n".encode(), repo_type=kind)
    assert said in str(raised.value)
    assert not hub.files("me/it", kind=kind)
