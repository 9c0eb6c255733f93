"""The Space of a checkpoint: its files, and a push over one that is there without losing what a person changed.

A push leaves a list of the files that it wrote, each with git's digest of its content. By it the next push tells a
person's changes from ours, and knows which files of ours are no longer needed.
"""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import CardData, HfApi
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash

from .merge import data_of, merged_text, text_of, with_front_matter

PACKAGE = Path(__file__).parents[1]
# In an installed package, or in its repository.
_FOLDERS = (PACKAGE / "space", PACKAGE.parent / "space")
FILES = ("README.md", "app.py", "requirements.txt")
WRITTEN = ".fastast-push.json"
PAGE = "README.md"
TITLE = "FastAST"  # of the page
_NOT_SHOWN = ("checkpoints", "scripts", "space")  # folders of an installed package that the page does not need
_OF_CODE = ("sdk", "sdk_version", "app_file")  # fields of the page; a person's are the others
_OF_THE_HUB = "Check out the configuration reference at"  # the text that every new Space is made with


def space_files(repo_id: str) -> dict[str, bytes | Path]:
    """The demo, ready to push, on the checkpoint `repo_id`.

    The package's modules go with it, so that the Space runs what this machine has, whichever version is published.
    """
    folder = next(folder for folder in _FOLDERS if (folder / "app.py").is_file())
    files: dict[str, bytes | Path] = {name: folder / name for name in FILES}
    page = (folder / PAGE).read_text(encoding="utf-8")
    files[PAGE] = page.replace("sdk: gradio\n", f"sdk: gradio\nmodels: [{repo_id}]\n", 1).encode()
    files["model.txt"] = f"{repo_id}\n".encode()
    for module in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.glob("*.mplstyle")]):
        name = module.relative_to(PACKAGE)
        if name.parts[0] not in _NOT_SHOWN:
            files[f"{PACKAGE.name}/{name.as_posix()}"] = module
    return files


def with_hub_space(
    api: HfApi, repo_id: str, content: dict[str, bytes | Path], sha: str
) -> tuple[dict[str, bytes | Path], set[str]]:
    """What to commit to a Space, and the files of earlier pushes that are to go.

    The page keeps what a person wrote into it, see [`merged_page`]; other files of a person's own are left alone. A
    ValueError tells of a file that is to be replaced or removed and was changed there.
    """

    def read(name: str) -> bytes:
        return Path(api.hf_hub_download(repo_id, name, repo_type="space", revision=sha)).read_bytes()

    tree = api.list_repo_tree(repo_id, repo_type="space", revision=sha, recursive=True)
    there = {entry.path: entry.blob_id for entry in tree if isinstance(entry, RepoFile)}
    written = json.loads(read(WRITTEN)) if WRITTEN in there else {}
    new = {name: git_hash(_bytes(part)) for name, part in content.items()}
    theirs = {name for name, found in there.items() if found not in (written.get(name), new.get(name))}
    if changed := sorted(theirs & (written.keys() | new.keys()) - {PAGE}):
        raise ValueError(
            f"files of the Space {repo_id} were changed there, or are not from a push: {', '.join(changed)}. "
            "Keep a copy of what you changed, remove them there and push again, or push without --space"
        )
    made = {**content, WRITTEN: (json.dumps(new, indent=2, sort_keys=True) + "\n").encode()}
    if PAGE in theirs:
        made[PAGE] = merged_page(_bytes(content[PAGE]).decode(), read(PAGE).decode(), repo_id).encode()
    return made, {name for name in written.keys() & there.keys() - new.keys() if name != PAGE}


def merged_page(page: str, old: str, repo_id: str) -> str:
    r"""A Space's README with what a person wrote into the one on the Hub.

    Their fields count, but for those that belong to the code.

    Example:
        >>> merged_page("---\nsdk: gradio\n---\n# FastAST\n", "---\ntitle: Dogs\n---\nMine.\n", "me/a").splitlines()
        ['---', 'title: Dogs', 'sdk: gradio', '---', 'Mine.', '', '# FastAST']
    """
    theirs = data_of(old, f"the README of the Space {repo_id}").to_dict()
    if theirs.get("sdk", "gradio") != "gradio":
        raise ValueError(f"the Space {repo_id} is of another kind ({theirs['sdk']}): push to another name")
    ours = data_of(page).to_dict()
    fields = theirs | {key: value for key, value in ours.items() if key not in theirs or key in _OF_CODE}
    old = "\n".join(line for line in old.splitlines() if not line.startswith(_OF_THE_HUB))
    return with_front_matter(CardData(**fields), merged_text(text_of(page), text_of(old), TITLE))


def _bytes(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()
