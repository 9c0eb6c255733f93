"""What the local Hub keeps: repositories, their branches and commits, and the objects of Git LFS."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

LFS_FROM = 100_000  # bytes; the Hub's own limit is higher
# At any size, as the Hub's .gitattributes have it.
LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".ckpt", ".h5", ".onnx", ".npy", ".npz", ".parquet", ".zip", ".gz")
Files = dict[str, bytes]


def is_lfs(name: str, size: int) -> bool:
    """Whether a file goes through Git LFS."""
    return name.endswith(LFS_SUFFIXES) or size >= LFS_FROM


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
