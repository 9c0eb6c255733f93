"""What the local Hub answers: one function for each page of the Hub's HTTP API that huggingface_hub asks for."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import unquote

from local_hub_metadata import metadata_errors
from local_hub_repositories import Commit, LocalHub, Repository, git_sha, is_lfs

TOKEN = "hf_local"
PULL_REQUEST = "refs/pr/"


@dataclass(frozen=True)
class Request:
    """What was asked for: the path as it was sent (a revision's slashes in it are %2F), query, headers and body."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


class Answer(Exception):
    """A status with a body and headers."""

    def __init__(self, status: int, body: bytes | dict[str, Any] | list[Any] = b"", **headers: str) -> None:
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


def answer_of(hub: LocalHub, asked: Request) -> Answer:
    """The page that was asked for."""
    given = asked.headers.get("Authorization")
    if given not in (None, f"Bearer {TOKEN}"):
        said = "Invalid credentials in Authorization header"
        return Answer(401, {"error": said}, X_Error_Message=said)
    for verbs, pattern, page in ROUTES:
        found = re.fullmatch(pattern, asked.path)
        if found and asked.method in verbs.split():
            parts = {key: unquote(part) for key, part in found.groupdict().items() if part is not None}
            try:
                page(hub, asked, **parts)
            except Answer as answer:
                return answer
    return Answer(404, {"error": f"no such page: {asked.path}"})


def missing_entry(commit: Commit) -> Answer:
    return Answer(404, b"Entry not found", X_Error_Code="EntryNotFound", X_Repo_Commit=commit.sha)


def need_token(asked: Request) -> None:
    if not asked.headers.get("Authorization"):
        raise Answer(401, {"error": "Invalid username or password."})


def whoami(hub: LocalHub, asked: Request) -> NoReturn:
    need_token(asked)
    raise Answer(200, {"type": "user", "name": "local", "orgs": [], "auth": {"type": "access_token"}})


def create(hub: LocalHub, asked: Request) -> NoReturn:
    need_token(asked)
    given = json.loads(asked.body)
    kind = given.get("type") or "model"
    owner = given.get("organization") or "local"
    repo_id = given["name"] if "/" in given["name"] else f"{owner}/{given['name']}"
    url = f"{hub.url}/{'' if kind == 'model' else kind + 's/'}{repo_id}"
    if (kind, repo_id) in hub.repositories:
        raise Answer(409, {"error": "You already created this repo", "url": url})
    made = Repository(repo_id, kind, given.get("private") or given.get("visibility") == "private", given.get("sdk"))
    hub.repositories[kind, repo_id] = made
    raise Answer(200, {"url": url, "name": repo_id, "id": repo_id})


def validate_yaml(hub: LocalHub, asked: Request) -> NoReturn:
    given = json.loads(asked.body)
    errors = [{"message": message} for message in metadata_errors(given["content"], given["repoType"])]
    raise Answer(400 if errors else 200, {"errors": errors, "warnings": []})


def preupload(hub: LocalHub, asked: Request, kind: str, repo: str, revision: str) -> NoReturn:
    need_token(asked)
    commit = commit_at(hub, asked, kind, repo, revision)
    answers = []
    for file in json.loads(asked.body)["files"]:
        old = commit.files.get(file["path"])
        large = is_lfs(file["path"], int(file["size"]))
        oid = None if old is None else hashlib.sha256(old).hexdigest() if large else git_sha(b"blob", old)
        mode = "lfs" if large else "regular"
        answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    raise Answer(200, {"files": answers})


def lfs_batch(hub: LocalHub, asked: Request, repo: str) -> NoReturn:
    need_token(asked)
    answers = []
    for wanted in json.loads(asked.body)["objects"]:
        upload = {"upload": {"href": f"{hub.url}/lfs/{wanted['oid']}"}}
        actions = {} if wanted["oid"] in hub.objects else {"actions": upload}
        answers.append({"oid": wanted["oid"], "size": wanted["size"], **actions})
    raise Answer(200, {"transfer": "basic", "objects": answers})


def lfs_put(hub: LocalHub, asked: Request, oid: str) -> NoReturn:
    """Without a token: the address itself was given to somebody who has one."""
    if hashlib.sha256(asked.body).hexdigest() != oid:
        raise Answer(400, {"error": "the content is not what its sha256 says"})
    hub.objects[oid] = asked.body
    raise Answer(200)


def send(asked: Request, content: bytes, **headers: str) -> NoReturn:
    """A file, or the rest of it."""
    if found := re.match(r"bytes=(\d+)-", asked.headers.get("Range") or ""):
        start = int(found[1])
        raise Answer(206, content[start:], Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}", **headers)
    raise Answer(200, content, **headers)


def make_commit(hub: LocalHub, asked: Request, kind: str, repo: str, revision: str) -> NoReturn:
    need_token(asked)
    repository, old = repository_of(hub, asked, kind, repo), commit_at(hub, asked, kind, repo, revision)
    lines = [json.loads(line) for line in asked.body.splitlines() if line.strip()]
    title, files = "", dict(old.files)
    for line in lines:
        value = line["value"]
        if line["key"] == "header":
            title = value["summary"]
            if value.get("parentCommit") not in (None, old.sha):
                raise Answer(412, {"error": "A commit has happened since. Please refresh and try again."})
        elif line["key"] == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            if value["oid"] not in hub.objects:
                raise Answer(400, {"error": f"{value['path']} was not uploaded"})
            files[value["path"]] = hub.objects[value["oid"]]
        elif line["key"] == "deletedFile":
            files.pop(value["path"], None)
    sha = git_sha(b"commit", asked.body + old.sha.encode())
    said = {"success": True, "commitOid": sha, "commitUrl": f"{hub.url}/{repo}/commit/{sha}", "hookOutput": ""}
    if asked.query.get("create_pr") == ["1"]:
        number = 1 + sum(name.startswith(PULL_REQUEST) for name in repository.branches)
        revision, old_commits = f"{PULL_REQUEST}{number}", repository.branches[revision]
        repository.branches[revision] = list(old_commits)
        said["pullRequestUrl"] = f"{hub.url}/{repo}/discussions/{number}"
    repository.branches[revision].append(Commit(sha, title, files))
    raise Answer(200, said)


def branch(hub: LocalHub, asked: Request, kind: str, repo: str, revision: str) -> NoReturn:
    need_token(asked)
    repository = repository_of(hub, asked, kind, repo)
    if revision in repository.branches:
        raise Answer(409, {"error": "Reference already exists"})
    repository.branches[revision] = list(repository.branches["main"])
    raise Answer(200)


def info(hub: LocalHub, asked: Request, kind: str, repo: str, revision: str = "main") -> NoReturn:
    repository, commit = repository_of(hub, asked, kind, repo), commit_at(hub, asked, kind, repo, revision)
    said = {"id": repo, "modelId": repo, "sha": commit.sha, "private": repository.private, "disabled": False}
    siblings = [{"rfilename": name} for name in sorted(commit.files)]
    card = commit.files.get("README.md", b"").decode()
    tag = re.search(r"^pipeline_tag: *(\S+)", card, re.MULTILINE)
    tagged = {"pipeline_tag": tag[1]} if tag else {}
    raise Answer(200, {**said, **tagged, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})


def refs(hub: LocalHub, asked: Request, kind: str, repo: str) -> NoReturn:
    branches = repository_of(hub, asked, kind, repo).branches
    listed = [
        {"name": n, "ref": f"refs/heads/{n}", "targetCommit": c[-1].sha}
        for n, c in branches.items()
        if not n.startswith(PULL_REQUEST)
    ]
    raise Answer(200, {"branches": listed, "converts": [], "tags": []})


def tree(hub: LocalHub, asked: Request, kind: str, repo: str, revision: str, under: str = "") -> NoReturn:
    commit = commit_at(hub, asked, kind, repo, revision)
    chosen = {name: content for name, content in commit.files.items() if name.startswith(under)}
    if not chosen and under:
        raise missing_entry(commit)
    listed: list[dict[str, Any]] = []
    for name, content in sorted(chosen.items()):
        listed.append({"type": "file", "oid": git_sha(b"blob", content), "size": len(content), "path": name})
        if is_lfs(name, len(content)):
            listed[-1]["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    raise Answer(200, listed)


def resolve(hub: LocalHub, asked: Request, repo: str, revision: str, name: str, kind: str | None = None) -> NoReturn:
    commit = commit_at(hub, asked, kind or "models", repo, revision)
    if name not in commit.files:
        raise missing_entry(commit)
    content = commit.files[name]
    tags = {"X_Repo_Commit": commit.sha, "ETag": f'"{git_sha(b"blob", content)}"'}
    if is_lfs(name, len(content)):
        tags |= {"X_Linked_Etag": f'"{hashlib.sha256(content).hexdigest()}"', "X_Linked_Size": str(len(content))}
    send(asked, content, **tags)


def repository_of(hub: LocalHub, asked: Request, kind: str, repo: str) -> Repository:
    found = hub.repositories.get((kind.removesuffix("s"), repo))
    anonymous = not asked.headers.get("Authorization")
    if found is None or (found.private and anonymous):  # whether it is there is nobody else's business
        raise Answer(401 if anonymous else 404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
    return found


def commit_at(hub: LocalHub, asked: Request, kind: str, repo: str, revision: str) -> Commit:
    commit = repository_of(hub, asked, kind, repo).at(revision)
    if commit is None:
        raise Answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
    return commit


REPO, KIND, REVISION = r"(?P<repo>[^/]+/[^/]+)", r"(?P<kind>models|datasets|spaces)", r"(?P<revision>[^/]+)"
API = rf"/api/{KIND}/{REPO}"
ROUTES: list[tuple[str, str, Callable[..., NoReturn]]] = [
    ("GET", "/api/whoami-v2", whoami),
    ("POST", "/api/repos/create", create),
    ("POST", "/api/validate-yaml", validate_yaml),
    ("POST", rf"{API}/preupload/{REVISION}", preupload),
    ("POST", rf"{API}/commit/{REVISION}", make_commit),
    ("POST", rf"{API}/branch/{REVISION}", branch),
    ("GET", rf"{API}/refs", refs),
    ("GET", rf"{API}/tree/{REVISION}(?:/(?P<under>.+))?", tree),
    ("GET", rf"{API}(?:/revision/{REVISION})?", info),
    ("POST", rf"/(?:datasets/|spaces/)?{REPO}\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", lfs_put),
    ("GET HEAD", rf"/(?:(?P<kind>datasets|spaces)/)?{REPO}/resolve/{REVISION}/(?P<name>.+)", resolve),
]
