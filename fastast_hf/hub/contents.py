"""What goes into each repository, by name: files as they are, and bytes that are made here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from transformers import ASTConfig
from transformers.dynamic_module_utils import get_relative_import_files

from ..loading.saved_weights import tensors_by_file
from ..model.configuration_fastast import AUTO_MAP, FastASTConfig
from .belonging import CARD, CLIPS, PICTURES, TABLES_READ, WEIGHTS, check_clips, uploaded
from .card import REQUIREMENTS, card_in, fill, render_card
from .commit import Content
from .facts import RESULTS, check_weights, read_json, read_results
from .licenses import check_license
from .merge import data_of, merged_card, with_fields


def model_files(folder: Path, repo_id: str, license_id: str | None = None, **fields: Any) -> Content:
    """The files of a FastAST, all at the top: transformers finds no code in a subfolder.

    `fields` are added to the card's front matter.

    Raises:
        OSError: A file of a checkpoint is not there, or its weights are not in safetensors.
        ValueError: It is no FastAST, some of its weights are another's, its results are of others, a clip is no audio,
            or a file that is made here is there in other words.
    """
    config = FastASTConfig.from_pretrained(folder)
    used = {file.name for file in tensors_by_file(folder)}
    if (folder / "model.safetensors").is_file() and list(folder.glob("model-*")):
        raise ValueError(f"{folder} has weights twice, in model.safetensors and in parts: remove the old ones")
    if unused := sorted(file.name for file in folder.glob("model-*.safetensors") if file.name not in used):
        raise ValueError(f"{folder} has {unused[0]}, which the index of its weights does not name: remove it")
    check_clips(folder)
    extractor_map = {"AutoFeatureExtractor": "feature_extraction_fastast.FastASTFeatureExtractor"}
    extractor = {"feature_extractor_type": "FastASTFeatureExtractor", "auto_map": extractor_map}
    return {
        **{name: folder / name for name in uploaded(folder, (*WEIGHTS, *CLIPS, *PICTURES, *TABLES_READ))},
        **_results(folder),
        **{path.name: path for path in code_files()},
        **endpoint_files(folder, repo_id),
        "config.json": _json(_config(folder) | {"model_type": config.model_type, "auto_map": AUTO_MAP}),
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
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="audio-classification",
        base_model=repo_id,
        tags=["audio-spectrogram-transformer"],
        **{key: whole[key] for key in ("license", "license_name", "license_link", "datasets") if key in whole},
    )
    title = f"{repo_id.rpartition('/')[2]}-ast"
    card = fill("plain", {"title": title, "place": repo_id, "sampling_rate": extractor["sampling_rate"]}, data)
    return {
        **{name: folder / name for name in uploaded(folder, (*WEIGHTS, *CLIPS))},
        "config.json": _json(config),
        "preprocessor_config.json": _json(extractor),
        CARD: card.encode(),
    }


def teacher_files(folder: Path, repo_id: str, license_id: str | None = None, **fields: Any) -> Content:
    """The files of a teacher, without code; `fields` are added to the front matter of its short card.

    Raises:
        OSError: Its weights are not in safetensors.
        ValueError: Its results are of other weights, or the Hub has no such license.
    """
    tensors_by_file(folder)
    config, title = _config(folder), repo_id.rpartition("/")[2]
    data = ModelCardData(
        library_name="transformers", pipeline_tag="audio-classification", tags=["fastast", "knowledge-distillation"]
    )
    card = fill("teacher", {"title": title, "place": repo_id, "model_type": config["model_type"]}, data)
    card = with_fields(merged_card(card, card_in(folder), title), license=license_id, **fields)
    check_license(data_of(card).to_dict())
    results = _results(folder)
    if results:
        check_weights(folder, {RESULTS: read_json(folder / RESULTS)})
    return {
        **{name: folder / name for name in uploaded(folder, WEIGHTS)},
        **results,
        "config.json": _json(config),
        "preprocessor_config.json": _json(read_json(folder / "preprocessor_config.json")),
        CARD: card.encode(),
    }


def endpoint_files(folder: Path, repo_id: str) -> Content:
    """What an Inference Endpoint runs.

    Raises:
        ValueError: The folder holds another one, which somebody wrote or an older version made.
    """
    handler = Path(__file__).parents[1] / "serving" / "handler.py"
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
    package = Path(__file__).parents[1] / "model"
    starts = [package / f"{module}.py" for module in ("modeling_fastast", "feature_extraction_fastast")]
    return sorted({Path(path) for start in starts for path in (start, *get_relative_import_files(start))})


def _config(folder: Path) -> dict[str, Any]:
    """`config.json` without where the model lay on somebody's machine, which older series wrote down."""
    return {key: value for key, value in read_json(folder / "config.json").items() if key != "_name_or_path"}


def _results(folder: Path) -> Content:
    """Results of training and tables of evaluations, without the paths that older versions wrote down."""
    names = uploaded(folder, (RESULTS, *(name for name in TABLES_READ if name.endswith(".json"))))
    return {name: _json(read_results(folder / name)) for name in names}


def _json(content: Mapping[str, Any]) -> bytes:
    """A JSON file, with its keys in order: the same content is the same file."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
