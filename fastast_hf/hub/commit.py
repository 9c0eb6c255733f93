"""One commit to a repository of the Hub: new files, old ones that would stand against them, the card that is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from .belonging import CARD, is_outdated
from .merge import merged_card
from .space import with_hub_space

Content = dict[str, "bytes | Path"]


def client(token: str | bool | None = None) -> HfApi:
    """The Hub's client; a ValueError for a token that can't be sent, which the client's own error would show."""
    if isinstance(token, str) and not (token.isascii() and token.isprintable() and " " not in token):
        raise ValueError("the token has characters that no token has: log in with `hf auth login`")
    return HfApi(token=token, library_name="fastast-hf")


def check_name(repo_id: str) -> None:
    """Raise a ValueError for what is no `USER/NAME`."""
    validate_repo_id(repo_id)
    if "/" not in repo_id:
        raise ValueError(f"{repo_id!r} has no owner: give USER/NAME")


def commit(
    api: HfApi,
    repo_id: str,
    content: Content,
    *,
    private: bool | None = None,
    revision: str | None = None,
    repo_type: str = "model",
    **message: Any,
) -> CommitInfo:
    """Commit files; what a person wrote into the card of a model, or changed in a Space, stays.

    Files of a model's old weights go, and pickles; and a Space's that earlier pushes wrote and this one does not. A
    repository or branch that is not there is made; `message` is what huggingface_hub's `create_commit` takes.
    """
    sdk = "gradio" if repo_type == "space" else None
    with _told_in_words(api, repo_id):
        if repo_type == "model":  # before there is an empty repository
            ModelCard(_text(content[CARD])).validate()
        api.create_repo(repo_id, private=private, repo_type=repo_type, space_sdk=sdk, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
        there: Any = api.repo_info(repo_id, revision=revision, repo_type=repo_type)
        if repo_type == "space":
            content, stale = with_hub_space(api, repo_id, content, there.sha)
        else:
            old = {file.rfilename for file in there.siblings or ()}
            stale = {name for name in old - set(content) if is_outdated(name)}
            if CARD in old:
                theirs = Path(api.hf_hub_download(repo_id, CARD, revision=there.sha)).read_text(encoding="utf-8")
                title, place = repo_id.rpartition("/")[2], f"the card of {repo_id} on the Hub"
                content = content | {CARD: merged_card(_text(content[CARD]), theirs, title, place).encode()}
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            *(CommitOperationAdd(name, value) for name, value in sorted(content.items())),
            *(CommitOperationDelete(name, is_folder=False) for name in sorted(stale)),
        ]
        # Of the commit whose card was read: one that was changed since would be lost.
        return api.create_commit(
            repo_id, operations, repo_type=repo_type, revision=revision, parent_commit=there.sha, **message
        )


def check_space(api: HfApi, repo_id: str, content: Content) -> None:
    """Raise a ValueError, before anything is pushed, where it would overwrite a person's changes to a Space."""
    with _told_in_words(api, repo_id), suppress(RepositoryNotFoundError):
        there = api.repo_info(repo_id, repo_type="space")
        with_hub_space(api, repo_id, content, str(there.sha))


def _text(content: bytes | Path) -> str:
    return content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")


@contextmanager
def _told_in_words(api: HfApi, repo_id: str) -> Iterator[None]:
    """Errors of the Hub and of the network, with what a person can do about them."""
    try:
        yield
    except Exception as error:
        causes = list(_causes(error))
        # The client's own errors have another name in each series; uploads of large files wrap them.
        broken = next((cause for cause in causes if type(cause).__module__.startswith("httpx")), None)
        refused = next((e for e in causes if isinstance(e, HfHubHTTPError) and e.response is not None), None)
        if refused is not None:
            raise _refusal(error, refused, repo_id) from error
        if broken is not None:
            raise OSError(
                f"the connection to the Hub at {api.endpoint} failed ({broken}); {repo_id} is as it was: run it again"
            ) from error
        raise


def _refusal(error: Exception, refused: HfHubHTTPError, repo_id: str) -> OSError | ValueError:
    if refused.response.status_code in (401, 403):
        return OSError(f"the Hub does not let you write to {repo_id}: log in with `hf auth login`")
    if refused.response.status_code == 412:
        return OSError(f"{repo_id} was changed while this was pushed; it is as it was changed: run it again")
    if isinstance(error, ValueError):  # about the card: the client puts the Hub's reasons into it
        return ValueError(f"the Hub does not take the card of {repo_id}: {' '.join(str(error).split())}")
    return OSError(f"the Hub refused {repo_id}: {refused.server_message or str(refused).splitlines()[0]}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
