"""What is known of a checkpoint: its config, and the results files beside it. A card says nothing else in numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runs import RESULTS

TABLES = "results"  # the folder of what `fastast evaluate` wrote
# Not within a name, such as ESC-50 or V2.
NUMBER = re.compile(r"(?<![\w.])(?<![A-Za-z]-)[-+]?\d[\d,]*(?:\.\d+)?")
# A share shown in percent, a count in thousands, frames of 10 ms in seconds …
SCALES = (1.0, 100.0, 1e-2, 1e-3, 1e-6, 1e-9)

# Absolute ones of two parts and more, those from here or home, and Windows'; not within an address.
_PATH = re.compile(
    r"(?<![\w.~/])(?:file://)?(?:(?:~[\w.-]*|\.\.?)(?:/[^\s/\"'`,;|()\[\]]+)+|(?:/(?!/)[^\s/\"'`,;|()\[\]]+){2,})/?"
    r"|\b[A-Za-z]:\\[^\s\"'`,;|()\[\]]+"
)


@dataclass(frozen=True)
class CardFacts:
    """The files of a checkpoint's folder that a card is made of.

    Attributes:
        name: Of the folder.
        config: `config.json`.
        extractor: `preprocessor_config.json`.
        training: `results.json` of the training run; empty where there is none.
        tables: What `fastast evaluate` wrote into `results/`, by file name.
        parameters: Their number, from the weights' file.
    """

    name: str
    config: dict[str, Any]
    extractor: dict[str, Any]
    training: dict[str, Any]
    tables: dict[str, dict[str, Any]]
    parameters: int

    @classmethod
    def read(cls, folder: Path) -> CardFacts:
        """Read a checkpoint's folder.

        Raises:
            OSError: A file of a checkpoint is not there.
            ValueError: A file is not JSON, or a table holds no rows.
        """
        tables = {path.name: without_folders(read_json(path)) for path in sorted((folder / TABLES).glob("[!.]*.json"))}
        for name, table in tables.items():
            if not table.get("rows"):
                raise ValueError(f"{folder / TABLES / name} has no rows: give what fastast evaluate wrote")
        training = read_json(folder / RESULTS) if (folder / RESULTS).is_file() else {}
        return cls(
            name=folder.resolve().name,
            config=read_json(folder / "config.json"),
            extractor=read_json(folder / "preprocessor_config.json"),
            training=without_folders(training),
            tables=tables,
            parameters=count_parameters(folder),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Of the training run."""
        return self.training.get("settings", {})

    def numbers(self) -> set[float]:
        """All numbers that are known, and how many labels there are."""
        sources = (self.config, self.extractor, self.training, self.tables)
        own = {float(self.parameters), float(len(self.config.get("id2label", {})))}
        return own | set(numbers_in(sources))


def read_json(path: Path) -> dict[str, Any]:
    """A file's content.

    Raises:
        OSError: No such file.
        ValueError: It is not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: give a folder that save_pretrained or a training run wrote")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): write it anew") from error


def count_parameters(folder: Path) -> int:
    """Parameters in the safetensors files of a folder, from their headers; AST has no other tensors.

    Raises:
        OSError: There is none.
    """
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder} has no safetensors weights: save the model with save_pretrained")
    total = 0
    for file in files:
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a dict
                size = 1
                for length in weights.get_slice(name).get_shape():
                    size *= length
                total += size
    return total


def without_folders(content: Any) -> Any:
    """Paths of this machine as their last part: who looks at a model need not know where its data lay.

    Example:
        >>> without_folders({"data": "/home/me/ESC-50", "model": "MIT/ast"})
        {'data': 'ESC-50', 'model': 'MIT/ast'}
    """
    if isinstance(content, dict):
        return {without_folders(key): without_folders(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_folders(value) for value in content]
    if not isinstance(content, str):
        return content
    if Path(content).is_absolute() or content.startswith(("~", "..", "./")):
        return Path(content).name
    return strip_folders(content)


def strip_folders(text: str) -> str:
    """A text with each path of this machine in it as its last part; addresses and names of the Hub stay.

    Example:
        >>> strip_folders("FastAST=/home/me/out/a, from ../b/c and MIT/ast (https://hf.co/MIT/ast)")
        'FastAST=a, from c and MIT/ast (https://hf.co/MIT/ast)'
    """
    return _PATH.sub(lambda found: re.split(r"[/\\]", found[0].rstrip("/\\"))[-1], text)


def numbers_in(content: Any) -> Iterator[float]:
    """All numbers of a JSON document, those in its texts and keys among them."""
    if isinstance(content, bool) or content is None:
        return
    if isinstance(content, (int, float)):
        yield float(content)
    elif isinstance(content, str):
        yield from (float(found.replace(",", "")) for found in NUMBER.findall(content))
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from numbers_in(key)
            yield from numbers_in(value)
    else:
        for value in content:
            yield from numbers_in(value)


def unfounded_numbers(text: str, known: Iterable[float]) -> list[str]:
    """The numbers of a card's prose and tables that no known number rounds to.

    Code, links and citations are left out: they claim nothing that was measured.

    Example:
        >>> unfounded_numbers("accuracy 81.0 % at `tome_r=8`, 3 folds", [0.81])
        ['3']
    """
    text = re.sub(r"```.*?```|`[^`\n]*`|\]\([^)]*\)|https?://\S+", " ", text, flags=re.DOTALL)
    known = list(known)
    return [found for found in NUMBER.findall(text) if not _is_known(found, known)]


def _is_known(found: str, known: list[float]) -> bool:
    value, decimals = float(found.replace(",", "")), len(found.partition(".")[2])
    step = 0.5 * 10**-decimals * (1 + 1e-9)
    return any(abs(abs(value) - abs(number * scale)) <= step for number in known for scale in SCALES)
