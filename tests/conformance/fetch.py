"""Fetch the tests of the installed transformers: `python tests/conformance/fetch.py FOLDER`.

They come with its source distribution, and are kept in FOLDER, one folder for each version. A source distribution has
the common tests alone. `STANDING_IN` holds empty modules in place of what these import and do not get.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import transformers

PACKAGE = "transformers_tests"
STANDING_IN = {
    "__init__.py": "",
    "exporters/__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/__init__.py": "",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/__init__.py": "",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
}


def fetch(cache: Path) -> Path:
    """The folder with the package of tests; pip is asked where it is not there yet."""
    place = cache / transformers.__version__
    if (place / PACKAGE / "test_modeling_common.py").is_file():
        return place
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"transformers=={transformers.__version__}"
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
        subprocess.run([*pip, "--dest", folder, wanted], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as files:
            for member in files.getmembers():
                parts = Path(member.name).parts
                if member.isfile() and len(parts) == 3 and parts[1] == "tests" and parts[2].endswith(".py"):
                    target = place / PACKAGE / parts[2]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    content = files.extractfile(member)
                    assert content is not None
                    target.write_bytes(content.read())
    for name, text in STANDING_IN.items():
        (place / PACKAGE / name).parent.mkdir(parents=True, exist_ok=True)
        (place / PACKAGE / name).write_text(text, encoding="utf-8")
    return place


if __name__ == "__main__":
    print(fetch(Path(sys.argv[1])))
