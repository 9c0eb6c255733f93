"""A teacher's folder to a repository of the Hub: listed files alone, and a short card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, ModelCardData

from .belonging import WEIGHTS, check_checkpoint, check_files, matches, names
from .card_facts import RESULTS, read_json
from .card_merge import with_fields, with_hub_card
from .committing import Content, check_name, client, commit
from .local_paths import without_folders
from .model_card import CARD
from .publish import json_bytes
from .same_weights import check_results


def push_teacher(
    folder: Path,
    repo_id: str,
    *,
    license_id: str | None = None,
    language: str | list[str] | None = None,
    tags: str | list[str] | None = None,
    token: str | bool | None = None,
    **of_commit: Any,
) -> CommitInfo:
    """Upload weights, config, front end, results and card of a teacher, as [`push`] does a FastAST's.

    Args:
        folder: Of the run that trained it; its other files stay there.
        repo_id: `USER/NAME`; made where there is none.
        license_id: As the Hub names it.
        language: Of the card's metadata.
        tags: Added to the card's.
        token: Of the Hub; by default the one that `hf auth login` keeps.
        of_commit: `private`, `revision` and what is said of the commit, as [`push`] takes them.

    Raises:
        OSError: A file of a checkpoint is not there, or the Hub can't be reached or refuses.
        ValueError: Its weights are not in safetensors, or the name is wrong.
    """
    check_name(repo_id)
    check_checkpoint(folder)
    check_files(folder, only_model=True)
    content = teacher_files(folder, repo_id)
    fields: dict[str, Any] = {"license": license_id, "language": language, "tags": tags}
    content[CARD] = with_fields(content[CARD].decode(), fields).encode()  # type: ignore[union-attr]  # made here
    of_commit["commit_message"] = of_commit.get("commit_message") or "Upload teacher"
    return commit(client(token), repo_id, content, **of_commit)


def teacher_files(folder: Path, repo_id: str) -> Content:
    """What goes into its repository, by name.

    Raises:
        ValueError: Its weights are not in safetensors, or its results are of others.
    """
    if not list(folder.glob("model*.safetensors")):
        raise ValueError(f"{folder} has no safetensors weights: save the model with save_pretrained")
    check_results(folder, {RESULTS: read_json(folder / RESULTS)} if (folder / RESULTS).is_file() else {})
    files: Content = {name: folder / name for name in names(folder) if matches(name, WEIGHTS)}
    for name in ("config.json", "preprocessor_config.json", RESULTS):
        if (folder / name).is_file():
            files[name] = json_bytes(without_folders(read_json(folder / name)))
    data = ModelCardData(
        library_name="transformers", pipeline_tag="audio-classification", tags=["fastast", "knowledge-distillation"]
    )
    title = repo_id.rpartition("/")[2]
    kind = read_json(folder / "config.json")["model_type"]
    card = (
        f"---\n{data.to_yaml()}\n---\n# {title}\n\n<!-- generated: teacher -->\nA teacher (`{kind}`) to distil a "
        f"FastAST from, loaded with `import fastast_hf`:\n\n```bash\nfastast distill --teacher {repo_id}\n```\n\n"
        f"What it was trained on and scored is in `{RESULTS}`, where there is one.\n<!-- end of teacher -->\n"
    )
    own = (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""
    files[CARD] = with_hub_card(card, own, title).encode()
    return files
