"""From a checkpoint's folder, or a model in memory, to a repository of the Hub in one commit."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo
from transformers import AutoFeatureExtractor

from ..loading.saved_weights import digest_of_folder
from ..model.modeling_fastast import FastASTForAudioClassification
from .belonging import CARD, CLIPS, MEASURED, check_files, uploaded
from .commit import check_name, check_space, client, commit
from .contents import code_files, model_files, plain_files, teacher_files
from .facts import CardFacts, read_json
from .space import space_files


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    space: bool = False,
    plain: bool = False,
    only_model: bool = False,
    license_id: str | None = None,
    language: str | Sequence[str] | None = None,
    tags: str | Sequence[str] | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    commit_description: str | None = None,
    create_pr: bool = False,
    token: str | bool | None = None,
) -> CommitInfo:
    """Upload a checkpoint: weights, config, front end, code, results, card and endpoint handler, in one commit.

    A push that was interrupted leaves the repository as it was, and can be run again; what is there already is not
    uploaded anew. Weights, pickles, results and tables that are in the repository and not in the folder go with the
    same commit: they are of other weights. The card there is renewed, and what a person wrote into it stays, see
    [`merge.merged_card`]; so is a Space's page. Where another file of the Space was changed there, nothing is pushed.
    An endpoint's `handler.py` and `requirements.txt` are the ones that are made here: a folder with others is refused.
    A teacher goes without code, handler, Space and twin.

    Args:
        folder: What `save_pretrained` of model and front end, or a training run, wrote.
        repo_id: `USER/NAME`; made where there is none.
        private: Whether a new repository is.
        space: Push the demo to the Space of the same name, too.
        plain: Push the same weights as stock AST to `USER/NAME-ast`, too: the Hub's widget runs no repository's code.
        only_model: Leave files that do not belong out, instead of refusing the folder.
        license_id: As the Hub names it; by default the card's.
        language: Of the card's metadata.
        tags: Added to the card's.
        revision: Branch; made where there is none.
        commit_message: By default "Upload FastAST".
        commit_description: What is said below the message.
        create_pr: Propose the commit in a pull request instead of making it.
        token: Of the Hub; by default the one that `hf auth login` keeps.

    Returns:
        The commit; its `repo_url` is the repository's address.

    Raises:
        OSError: A file of a checkpoint is not there, or the Hub can't be reached or refuses.
        ValueError: Files that do not belong; results of other weights; no FastAST; a wrong name or license; or a file
            of the Space was changed there.
    """
    check_name(repo_id)
    config, _ = (read_json(folder / name) for name in ("config.json", "preprocessor_config.json"))
    is_teacher = str(config.get("model_type")).startswith("fastast_")
    if is_teacher and (space or plain):
        raise ValueError(f"{folder} holds a teacher, which has no Space and no twin: leave --space and --plain out")
    check_files(folder, only_model, [path.name for path in code_files()])
    files_of = teacher_files if is_teacher else model_files
    content = files_of(folder, repo_id, license_id, language=language, tags=tags)
    twin = plain_files(folder, repo_id, license_id) if plain else {}
    page = space_files(repo_id) if space else {}
    api = client(token)
    said = commit_message or f"Upload {'teacher' if is_teacher else 'FastAST'}"
    shared: dict[str, Any] = {"private": private, "commit_message": said}
    message: dict[str, Any] = {"commit_description": commit_description, "create_pr": create_pr, "revision": revision}
    if space:
        check_space(api, repo_id, page)
    made = commit(api, repo_id, content, **shared, **message)
    if plain:
        commit(api, f"{repo_id}-ast", twin, **shared, **message)
    if space:
        commit(api, repo_id, page, repo_type="space", **shared)
    return made


def push_model(
    model: FastASTForAudioClassification,
    repo_id: str,
    *,
    feature_extractor: Any = None,
    max_shard_size: int | str | None = None,
    **settings: Any,
) -> CommitInfo:
    """[`push`] for a model in memory.

    Where it has the very weights of the local folder that it was loaded from, that folder's card, results and samples
    go with it; otherwise numbers that were measured with other weights do not.

    Args:
        model: To be saved and uploaded.
        repo_id: `USER/NAME`.
        feature_extractor: Its front end; by default that of the checkpoint which the model was loaded from.
        max_shard_size: Of a file of weights, as `save_pretrained` takes it.
        settings: Of [`push`].

    Raises:
        TypeError: A setting that [`push`] does not have.
        ValueError: No front end is given, and the model is not from a checkpoint.
    """
    check_name(repo_id)
    source = model.config.name_or_path
    if feature_extractor is None:
        if not source:
            raise ValueError(
                "a model without its front end is of no use to others: give push_to_hub feature_extractor"
            )
        feature_extractor = AutoFeatureExtractor.from_pretrained(source)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder, **({} if max_shard_size is None else {"max_shard_size": max_shard_size}))
        feature_extractor.save_pretrained(folder)
        if source and _same_weights(Path(source), Path(folder)):
            _copy_known(Path(source), Path(folder))
        return push(Path(folder), repo_id, **settings)


def _same_weights(one: Path, other: Path) -> bool:
    """Whether two folders hold the same weights, in however many files."""
    try:
        return digest_of_folder(one) == digest_of_folder(other)
    except FileNotFoundError:
        return False


def _copy_known(source: Path, folder: Path) -> None:
    """Copy what a checkpoint's folder holds beside the model: card, results, tables and samples."""
    CardFacts.read(source)  # what is wrong with its results is told of them, and not of their copies
    for name in uploaded(source, (CARD, *MEASURED, *CLIPS)):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, folder / name)
