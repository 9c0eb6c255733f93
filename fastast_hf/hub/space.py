"""The files of a Space that shows a checkpoint."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
# In an installed package, or in its repository.
_FOLDERS = (PACKAGE / "space", PACKAGE.parent / "space")
FILES = ("README.md", "app.py", "requirements.txt")
_NOT_SHOWN = ("checkpoints", "scripts", "space")  # folders of an installed package that the page does not need


def space_files(repo_id: str) -> dict[str, bytes | Path]:
    """The demo, ready to push, on the checkpoint `repo_id`.

    The package's modules go with it, so that the Space runs what this machine has, whichever version is published.
    """
    folder = next(folder for folder in _FOLDERS if (folder / "app.py").is_file())
    files: dict[str, bytes | Path] = {name: folder / name for name in FILES}
    page = (folder / "README.md").read_text(encoding="utf-8")
    files["README.md"] = page.replace("sdk: gradio\n", f"sdk: gradio\nmodels: [{repo_id}]\n", 1).encode()
    files["model.txt"] = f"{repo_id}\n".encode()
    for module in sorted(PACKAGE.rglob("*.py")):
        name = module.relative_to(PACKAGE)
        if name.parts[0] not in _NOT_SHOWN:
            files[f"{PACKAGE.name}/{name.as_posix()}"] = module
    return files
