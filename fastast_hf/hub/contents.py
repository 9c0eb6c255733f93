"""What goes into each repository, by name: files as they are, and bytes that are made here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import ASTConfig
from transformers.dynamic_module_utils import get_relative_import_files

from ..model.configuration_fastast import AUTO_MAP, FastASTConfig
from .belonging import CARD, CLIPS, MEASURED, uploaded, weight_files
from .card import REQUIREMENTS, card_in, fill, metadata, render_card
from .commit import Content
from .facts import RESULTS, check_weights, read_json
from .licenses import check_license
from .merge import data_of, merged_card, with_fields

PACKAGE = Path(__file__).parents[1]


def model_files(folder: Path, repo_id: str, license_id: str | None = None, **fields: Any) -> Content:
    """The files of a FastAST, all at the top: transformers finds no code in a subfolder.

    `fields` are added to the card's front matter.
    """
    extractor_map = {"AutoFeatureExtractor": "feature_extraction_fastast.FastASTFeatureExtractor"}
    extractor = {"feature_extractor_type": "FastASTFeatureExtractor", "auto_map": extractor_map}
    return {
        **_as_they_are(folder, *CLIPS, *MEASURED),
        **{path.name: path for path in code_files()},
        **endpoint_files(folder, repo_id),
        "config.json": _json(_config(folder) | {"model_type": FastASTConfig.model_type, "auto_map": AUTO_MAP}),
        "preprocessor_config.json": _json(read_json(folder / "preprocessor_config.json") | extractor),
        CARD: with_fields(render_card(folder, repo_id, license_id), **fields).encode(),
    }


def plain_files(folder: Path, repo_id: str, license_id: str | None = None) -> Content:
    """The same weights under the same license as stock AST, which needs nobody's code; without merging."""
    config = {
        key: value for key, value in _config(folder).items() if not key.startswith("tome_") and key != "auto_map"
    }
    config |= {"model_type": ASTConfig.model_type, "architectures": ["ASTForAudioClassification"]}
    extractor = read_json(folder / "preprocessor_config.json") | {"feature_extractor_type": "ASTFeatureExtractor"}
    extractor.pop("auto_map", None)
    whole = data_of(render_card(folder, repo_id, license_id)).to_dict()
    kept = {key: whole.get(key) for key in ("license", "license_name", "license_link", "datasets")}
    data = metadata(base_model=repo_id, tags=["audio-spectrogram-transformer"], **kept)
    facts = {"title": f"{_title(repo_id)}-ast", "place": repo_id, "sampling_rate": extractor["sampling_rate"]}
    return {
        **_as_they_are(folder, *CLIPS),
        "config.json": _json(config),
        "preprocessor_config.json": _json(extractor),
        CARD: fill("plain", facts, data).encode(),
    }


def teacher_files(folder: Path, repo_id: str, license_id: str | None = None, **fields: Any) -> Content:
    """The files of a teacher, without code; `fields` are added to the front matter of its short card."""
    config = _config(folder)
    facts = {"title": _title(repo_id), "place": repo_id, "model_type": config["model_type"]}
    card = fill("teacher", facts, metadata(tags=["fastast", "knowledge-distillation"]))
    card = with_fields(merged_card(card, card_in(folder), _title(repo_id)), license=license_id, **fields)
    check_license(data_of(card).to_dict())
    if (folder / RESULTS).is_file():
        check_weights(folder, {RESULTS: read_json(folder / RESULTS)})
    return {
        **_as_they_are(folder, RESULTS, "preprocessor_config.json"),
        "config.json": _json(config),
        CARD: card.encode(),
    }


def endpoint_files(folder: Path, repo_id: str) -> Content:
    """What an Inference Endpoint runs; a ValueError where the folder holds other files of these names."""
    handler = PACKAGE / "serving" / "handler.py"
    made = {handler.name: handler.read_text(encoding="utf-8"), "requirements.txt": REQUIREMENTS}
    for name, text in made.items():
        own = folder / name
        if own.is_file() and own.read_text(encoding="utf-8", errors="replace") != text:
            raise ValueError(
                f"{own} is not the one that a push makes, which would take its place: move it elsewhere; to have it "
                f"there instead, upload it after each push with `hf upload {repo_id} {name}`"
            )
    return {name: text.encode() for name, text in made.items()}


def code_files() -> list[Path]:
    """The modules that a checkpoint carries: the model's, the front end's, and what these import from beside them."""
    starts = [PACKAGE / "model" / f"{module}.py" for module in ("modeling_fastast", "feature_extraction_fastast")]
    return sorted({Path(path) for start in starts for path in (start, *get_relative_import_files(start))})


def _title(repo_id: str) -> str:
    return repo_id.rpartition("/")[2]


def _as_they_are(folder: Path, *patterns: str) -> Content:
    """The weights, and the files that are one of the patterns."""
    return {name: folder / name for name in uploaded(folder, (*weight_files(folder), *patterns))}


def _config(folder: Path) -> dict[str, Any]:
    """`config.json` without where the model lay on somebody's machine, which older series wrote down."""
    return {key: value for key, value in read_json(folder / "config.json").items() if key != "_name_or_path"}


def _json(content: Mapping[str, Any]) -> bytes:
    """A JSON file, with its keys in order: the same content is the same file."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
