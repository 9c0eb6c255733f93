"""The files of a Space that shows a checkpoint."""

from __future__ import annotations

from pathlib import Path

# In an installed package, or in its repository.
_FOLDERS = (Path(__file__).parents[1] / "space", Path(__file__).parents[2] / "space")
FILES = ("README.md", "app.py", "requirements.txt")


def space_files(repo_id: str) -> dict[str, bytes | Path]:
    """The demo, ready to push, on the checkpoint `repo_id`."""
    folder = next(folder for folder in _FOLDERS if (folder / "app.py").is_file())
    files: dict[str, bytes | Path] = {name: folder / name for name in FILES}
    page = (folder / "README.md").read_text(encoding="utf-8")
    files["README.md"] = page.replace("sdk: gradio\n", f"sdk: gradio\nmodels: [{repo_id}]\n", 1).encode()
    files["model.txt"] = f"{repo_id}\n".encode()
    return files
