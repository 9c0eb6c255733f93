"""A small Hub on this machine: the part of its HTTP API that huggingface_hub uses to push, list and load repositories.

    python tests/local_hub.py --port 8008
    export HF_ENDPOINT=http://127.0.0.1:8008 HF_TOKEN=hf_local HF_HUB_DISABLE_XET=1

It takes any token and any owner. Repositories live in memory and are gone with it. Files of `LFS_FROM` bytes and more
are asked for through Git LFS as the Hub does, smaller ones within the commit.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LFS_FROM = 100_000
Files = dict[str, bytes]


@dataclass
class Commit:
    """A version of a repository: what it is called, and its files."""

    sha: str
    title: str
    files: Files


@dataclass
class Repository:
    """Branches, each with its commits, the newest last."""

    id: str
    type: str
    private: bool = False
    sdk: str | None = None
    branches: dict[str, list[Commit]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.branches["main"] = [Commit(git_sha(b"tree", self.id.encode()), "initial commit", {})]

    def at(self, revision: str) -> Commit | None:
        """The commit that a branch or a sha names."""
        if revision in self.branches:
            return self.branches[revision][-1]
        return next(
            (commit for commits in self.branches.values() for commit in commits if commit.sha == revision), None
        )


def git_sha(kind: bytes, content: bytes) -> str:
    """Git's name of a blob or tree."""
    return hashlib.sha1(kind + b" %d\0" % len(content) + content).hexdigest()


class LocalHub:
    """Repositories by type and id, the objects of Git LFS, and a log of the requests.

    Attributes:
        requests: `"POST /api/repos/create"` …, in the order in which they came.
        before: Called with the method and path of each request; what it raises closes the connection, as a network
            that fails does.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: Files = {}
        self.requests: list[str] = []
        self.before: Callable[[str, str], None] = lambda method, path: None
        self.lock = threading.Lock()
        self.url = ""

    def repository(self, repo_id: str, kind: str = "model") -> Repository:
        """One that was created."""
        return self.repositories[kind, repo_id]

    def files(self, repo_id: str, revision: str = "main", kind: str = "model") -> Files:
        """The files of a revision."""
        commit = self.repository(repo_id, kind).at(revision)
        assert commit is not None
        return commit.files


class Answer(Exception):
    """A status with a body and headers."""

    def __init__(self, status: int, body: bytes | dict[str, Any] | list[Any] = b"", **headers: str) -> None:
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


def missing_entry(commit: Commit) -> Answer:
    return Answer(404, b"Entry not found", X_Error_Code="EntryNotFound", X_Repo_Commit=commit.sha)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle("GET")

    def do_HEAD(self) -> None:
        self._handle("HEAD")

    def do_POST(self) -> None:
        self._handle("POST")

    def do_PUT(self) -> None:
        self._handle("PUT")

    def do_DELETE(self) -> None:
        self._handle("DELETE")

    def _handle(self, method: str) -> None:
        parts = urlsplit(self.path)
        path, self.query = unquote(parts.path), parse_qs(parts.query)
        self.hub.requests.append(f"{method} {path}")
        try:
            self.hub.before(method, path)
        except Exception:
            self.close_connection = True
            self.connection.close()
            return
        body = self._body()
        answer = Answer(404, {"error": f"no such page: {path}"})
        for verbs, pattern, action in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method in verbs.split():
                with self.hub.lock:
                    try:
                        action(
                            self, body, **{key: part for key, part in found.groupdict().items() if part is not None}
                        )
                    except Answer as given:
                        answer = given
                break
        self.send_response(answer.status)
        content_type = "application/json" if answer.body[:1] in (b"{", b"[") else "application/octet-stream"
        length = answer.headers.pop("Content-Length", str(len(answer.body)))
        for name, value in {"Content-Type": content_type, "Content-Length": length, **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if method != "HEAD":
            self.wfile.write(answer.body)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    # What the routes do: each ends by raising its Answer.

    def whoami(self, body: bytes) -> None:
        if not self.headers.get("Authorization"):
            raise Answer(401, {"error": "Invalid credentials in Authorization header"})
        raise Answer(200, {"type": "user", "name": "local", "orgs": [], "auth": {"type": "access_token"}})

    def create(self, body: bytes) -> None:
        if not self.headers.get("Authorization"):
            raise Answer(401, {"error": "Invalid username or password."})
        given = json.loads(body)
        kind = given.get("type") or "model"
        owner = given.get("organization") or "local"
        repo_id = given["name"] if "/" in given["name"] else f"{owner}/{given['name']}"
        url = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{repo_id}"
        if (kind, repo_id) in self.hub.repositories:
            raise Answer(409, {"error": "You already created this repo", "url": url})
        private = bool(given.get("private")) or given.get("visibility") == "private"
        made = Repository(repo_id, kind, private, given.get("sdk"))
        self.hub.repositories[kind, repo_id] = made
        raise Answer(200, {"url": url, "name": repo_id, "id": repo_id})

    def validate_yaml(self, body: bytes) -> None:
        raise Answer(200, {"errors": [], "warnings": []})

    def preupload(self, body: bytes, kind: str, repo: str, revision: str) -> None:
        commit = self._commit(kind, repo, revision)
        answers = []
        for file in json.loads(body)["files"]:
            old = commit.files.get(file["path"])
            large = int(file["size"]) >= LFS_FROM
            oid = None if old is None else hashlib.sha256(old).hexdigest() if large else git_sha(b"blob", old)
            mode = "lfs" if large else "regular"
            answers.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        raise Answer(200, {"files": answers})

    def lfs_batch(self, body: bytes, repo: str) -> None:
        answers = []
        for wanted in json.loads(body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}
            actions = {} if wanted["oid"] in self.hub.objects else {"actions": upload}
            answers.append({"oid": wanted["oid"], "size": wanted["size"], **actions})
        raise Answer(200, {"transfer": "basic", "objects": answers})

    def lfs_put(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            raise Answer(400, {"error": "the content is not what its sha256 says"})
        self.hub.objects[oid] = body
        raise Answer(200)

    def commit(self, body: bytes, kind: str, repo: str, revision: str) -> None:
        if not self.headers.get("Authorization"):
            raise Answer(401, {"error": "Invalid username or password."})
        repository, old = self._repository(kind, repo), self._commit(kind, repo, revision)
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        title, files = "", dict(old.files)
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                title = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise Answer(400, {"error": f"{value['path']} was not uploaded"})
                files[value["path"]] = self.hub.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                files.pop(value["path"], None)
        sha = git_sha(b"commit", body + old.sha.encode())
        repository.branches[revision].append(Commit(sha, title, files))
        url = f"{self.hub.url}/{repo}/commit/{sha}"
        raise Answer(200, {"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def branch(self, body: bytes, kind: str, repo: str, revision: str) -> None:
        repository = self._repository(kind, repo)
        if revision in repository.branches:
            raise Answer(409, {"error": "Reference already exists"})
        repository.branches[revision] = list(repository.branches["main"])
        raise Answer(200)

    def info(self, body: bytes, kind: str, repo: str, revision: str = "main") -> None:
        repository, commit = self._repository(kind, repo), self._commit(kind, repo, revision)
        said = {"id": repo, "modelId": repo, "sha": commit.sha, "private": repository.private, "disabled": False}
        siblings = [{"rfilename": name} for name in sorted(commit.files)]
        card = commit.files.get("README.md", b"").decode()
        tag = re.search(r"^pipeline_tag: *(\S+)", card, re.MULTILINE)
        tagged = {"pipeline_tag": tag[1]} if tag else {}
        raise Answer(200, {**said, **tagged, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def commits(self, body: bytes, kind: str, repo: str, revision: str) -> None:
        history = self._repository(kind, repo).branches[revision]
        listed = [
            {"id": c.sha, "title": c.title, "message": "", "authors": [], "date": "2026-01-01T00:00:00.000Z"}
            for c in reversed(history)
        ]
        raise Answer(200, listed)

    def refs(self, body: bytes, kind: str, repo: str) -> None:
        branches = self._repository(kind, repo).branches
        listed = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": c[-1].sha} for n, c in branches.items()]
        raise Answer(200, {"branches": listed, "converts": [], "tags": []})

    def tree(self, body: bytes, kind: str, repo: str, revision: str, under: str = "") -> None:
        commit = self._commit(kind, repo, revision)
        chosen = {name: content for name, content in commit.files.items() if name.startswith(under)}
        if not chosen and under:
            raise missing_entry(commit)
        listed = [
            {"type": "file", "oid": git_sha(b"blob", content), "size": len(content), "path": name}
            for name, content in sorted(chosen.items())
        ]
        raise Answer(200, listed)

    def resolve(self, body: bytes, repo: str, revision: str, name: str, kind: str | None = None) -> None:
        commit = self._commit(kind or "models", repo, revision)
        if name not in commit.files:
            raise missing_entry(commit)
        content = commit.files[name]
        tags = {"X_Repo_Commit": commit.sha, "ETag": f'"{git_sha(b"blob", content)}"'}
        if self.headers.get("Range"):
            start = int(re.match(r"bytes=(\d+)-", self.headers["Range"])[1])  # type: ignore[index]
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            raise Answer(206, content[start:], Content_Range=span, **tags)
        raise Answer(200, content, Content_Length=str(len(content)), **tags)

    def _repository(self, kind: str, repo: str) -> Repository:
        found = self.hub.repositories.get((kind.removesuffix("s"), repo))
        if found is None or (found.private and not self.headers.get("Authorization")):
            raise Answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
        return found

    def _commit(self, kind: str, repo: str, revision: str) -> Commit:
        commit = self._repository(kind, repo).at(revision)
        if commit is None:
            raise Answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
        return commit


REPO, KIND, REVISION = r"(?P<repo>[^/]+/[^/]+)", r"(?P<kind>models|datasets|spaces)", r"(?P<revision>[^/]+)"
API = rf"/api/{KIND}/{REPO}"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/api/whoami-v2", Handler.whoami),
    ("POST", "/api/repos/create", Handler.create),
    ("POST", "/api/validate-yaml", Handler.validate_yaml),
    ("POST", rf"{API}/preupload/{REVISION}", Handler.preupload),
    ("POST", rf"{API}/commit/{REVISION}", Handler.commit),
    ("POST", rf"{API}/branch/{REVISION}", Handler.branch),
    ("GET", rf"{API}/commits/{REVISION}", Handler.commits),
    ("GET", rf"{API}/refs", Handler.refs),
    ("GET", rf"{API}/tree/{REVISION}(?:/(?P<under>.+))?", Handler.tree),
    ("GET", rf"{API}(?:/revision/{REVISION})?", Handler.info),
    ("POST", rf"/(?:datasets/|spaces/)?{REPO}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", Handler.lfs_put),
    ("GET HEAD", rf"/(?:(?P<kind>datasets|spaces)/)?{REPO}/resolve/{REVISION}/(?P<name>.+)", Handler.resolve),
]


@contextmanager
def local_hub(port: int = 0) -> Iterator[LocalHub]:
    """A Hub that answers at `.url` until the block ends; port 0 takes any that is free."""
    hub = LocalHub()
    handler = type("HandlerOfHub", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8008)
    with local_hub(parser.parse_args().port) as hub:
        print(f"export HF_ENDPOINT={hub.url} HF_TOKEN=hf_local HF_HUB_DISABLE_XET=1", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
