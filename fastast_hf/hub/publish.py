"""From a checkpoint's folder to a repository of the Hub, in one commit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import ASTConfig, AutoFeatureExtractor
from transformers.dynamic_module_utils import get_relative_import_files

from .. import __version__
from ..configuration_fastast import AUTO_MAP, FastASTConfig
from ..modeling_fastast import FastASTForAudioClassification
from .card_facts import RESULTS, TABLES, read_json, without_folders
from .model_card import CARD, SAMPLES, render_card

# What is taken from the folder as it is; everything else is made here or does not belong.
TAKEN = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json", f"{SAMPLES}/*")
TAKEN_TABLES = (f"{TABLES}/*.json", f"{TABLES}/*.csv", f"{TABLES}/*.md", f"{TABLES}/*.png")
MADE = ("config.json", "preprocessor_config.json", CARD, RESULTS, "handler.py", "requirements.txt")
REQUIREMENTS = "transformers>=5.17,<6\ntorch>=2.11\nsoundfile>=0.13\nsoxr>=0.5\n"


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    space: bool = False,
    plain: bool = False,
    only_model: bool = False,
    license_id: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload FastAST",
    token: str | bool | None = None,
) -> str:
    """Upload a checkpoint: weights, config, front end, code, results, card and endpoint handler, in one commit.

    A push that was interrupted leaves the repository as it was, and can be run again; what is there already is not
    uploaded anew.

    Args:
        folder: That `save_pretrained`, a training run or [`push`]'s reader wrote.
        repo_id: `USER/NAME`; made where there is none.
        private: Whether a new repository is.
        space: Push the demo to the Space of the same name, too.
        plain: Push the same weights as stock AST to `USER/NAME-ast`, too: the Hub's widget runs no repository's code.
        only_model: Leave files that do not belong out, instead of refusing the folder.
        license_id: As the Hub names it.
        revision: Branch.
        commit_message: Of the commit.
        token: Of the Hub; by default the one that `hf auth login` keeps.

    Returns:
        The repository's address.

    Raises:
        OSError: A file of a checkpoint is not there, or the Hub can't be reached or refuses.
        ValueError: Files that do not belong, no FastAST, or a wrong name.
    """
    check_name(repo_id)
    check_checkpoint(folder)
    check_files(folder, only_model)
    content = model_files(folder, repo_id, license_id)
    api = HfApi(token=token, library_name="fastast-hf", library_version=__version__)
    url = _commit(api, repo_id, content, private, revision, commit_message)
    if plain:
        _commit(api, f"{repo_id}-ast", plain_files(folder, repo_id, license_id), private, revision, commit_message)
    if space:
        from .space import space_files

        _commit(api, repo_id, space_files(repo_id), private, None, commit_message, repo_type="space")
    return url


def push_model(
    model: FastASTForAudioClassification, repo_id: str, *, feature_extractor: Any = None, **settings: Any
) -> str:
    """[`push`] for a model in memory.

    Args:
        model: To be saved and uploaded.
        repo_id: `USER/NAME`.
        feature_extractor: Its front end; by default that of the checkpoint which the model was loaded from.
        settings: Of [`push`].

    Raises:
        ValueError: No front end is given, and the model is not from a checkpoint.
    """
    if feature_extractor is None:
        if not model.config.name_or_path:
            raise ValueError(
                "a model without its front end is of no use to others: give push_to_hub feature_extractor"
            )
        feature_extractor = AutoFeatureExtractor.from_pretrained(model.config.name_or_path)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        feature_extractor.save_pretrained(folder)
        return push(Path(folder), repo_id, **settings)


def check_name(repo_id: str) -> None:
    """Raise a ValueError for what is no `USER/NAME`."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no name of a repository: {error}") from error
    if "/" not in repo_id:
        raise ValueError(f"{repo_id!r} has no owner: give USER/NAME")


def check_checkpoint(folder: Path) -> None:
    """Raise a FileNotFoundError for what is no checkpoint's folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give one that holds a checkpoint")
    for name in ("config.json", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}: give a folder that training wrote, or save_pretrained of model and front end"
            )


def check_files(folder: Path, only_model: bool) -> None:
    """Raise a ValueError for files that do not belong to a checkpoint: optimizer states, keys, caches."""
    strange = [name for name in _names(folder) if not _belongs(name)]
    # A folder of nothing that belongs by its own name.
    others = list(dict.fromkeys(f"{top}/" if slash else top for top, slash, _ in (n.partition("/") for n in strange)))
    if others and not only_model:
        listed = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        raise ValueError(
            f"{folder} holds files that do not belong to a checkpoint: {listed}. Remove them, or add --only-model to "
            "push the checkpoint without them"
        )


def model_files(folder: Path, repo_id: str, license_id: str | None = None) -> dict[str, bytes | Path]:
    """What goes into the repository, by name: bytes that are made here, and files as they are.

    Raises:
        OSError: A file of a checkpoint is not there.
        ValueError: It is no FastAST, or its weights are not in safetensors.
    """
    config = FastASTConfig.from_pretrained(folder)
    if not list(folder.glob("model*.safetensors")):
        raise ValueError(f"{folder} has no safetensors weights: save the model with save_pretrained")
    files: dict[str, bytes | Path] = {}
    for name in _names(folder):
        if any(fnmatch(name, pattern) for pattern in (*TAKEN, *TAKEN_TABLES)):
            files[name] = folder / name
    files["config.json"] = _json(
        read_json(folder / "config.json") | {"model_type": config.model_type, "auto_map": AUTO_MAP}
    )
    extractor = read_json(folder / "preprocessor_config.json")
    auto_map = {"AutoFeatureExtractor": "feature_extraction_fastast.FastASTFeatureExtractor"}
    files["preprocessor_config.json"] = _json(
        {**extractor, "feature_extractor_type": "FastASTFeatureExtractor", "auto_map": auto_map}
    )
    if (folder / RESULTS).is_file():
        files[RESULTS] = _json(without_folders(read_json(folder / RESULTS)))
    files |= {path.name: path for path in code_files()}
    files["handler.py"] = Path(__file__).parent / "handler.py"
    files["requirements.txt"] = REQUIREMENTS.encode()
    files[CARD] = render_card(folder, repo_id, license_id).encode()
    return files


def plain_files(folder: Path, repo_id: str, license_id: str | None = None) -> dict[str, bytes | Path]:
    """The same weights under the same licence as stock AST, which needs nobody's code; without merging."""
    config = read_json(folder / "config.json")
    fields = {key: value for key, value in config.items() if not key.startswith("tome_") and key != "auto_map"}
    fields |= {"model_type": ASTConfig.model_type, "architectures": ["ASTForAudioClassification"]}
    extractor = read_json(folder / "preprocessor_config.json") | {"feature_extractor_type": "ASTFeatureExtractor"}
    extractor.pop("auto_map", None)
    whole = ModelCard(render_card(folder, repo_id, license_id)).data.to_dict()
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="audio-classification",
        base_model=repo_id,
        tags=["audio-spectrogram-transformer"],
        **{key: whole[key] for key in ("license", "license_name", "license_link", "datasets") if key in whole},
    )
    card = (
        f"---\n{data.to_yaml()}\n---\n# {repo_id} as stock AST\n\nThe weights of "
        f"[{repo_id}](https://huggingface.co/{repo_id}) for transformers' own AST: the same labels at `tome_r=0`, "
        f"without merging and without code of its own:\n\n```python\nfrom transformers import pipeline\n\n"
        f'pipeline("audio-classification", "{repo_id}-ast")("clip.wav")\n```\n\n'
        "Results, training, limits and citations are described there.\n"
    )
    files: dict[str, bytes | Path] = {
        name: folder / name for name in _names(folder) if any(fnmatch(name, pattern) for pattern in TAKEN)
    }
    made = {"config.json": _json(fields), "preprocessor_config.json": _json(extractor), CARD: card.encode()}
    return files | made


def code_files() -> list[Path]:
    """The modules that a checkpoint carries: the model's, the front end's, and what these import from beside them."""
    package = Path(__file__).parents[1]
    starts = [package / f"{module}.py" for module in ("modeling_fastast", "feature_extraction_fastast")]
    found = {Path(path) for start in starts for path in (start, *get_relative_import_files(start))}
    return sorted(found)


def _commit(
    api: HfApi,
    repo_id: str,
    content: dict[str, bytes | Path],
    private: bool | None,
    revision: str | None,
    message: str,
    repo_type: str = "model",
) -> str:
    operations = [CommitOperationAdd(name, value) for name, value in sorted(content.items())]
    sdk = "gradio" if repo_type == "space" else None
    try:
        url = api.create_repo(repo_id, private=private, repo_type=repo_type, space_sdk=sdk, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
        api.create_commit(repo_id, operations, commit_message=message, repo_type=repo_type, revision=revision)
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise OSError(f"the Hub does not let you write to {repo_id}: log in with `hf auth login`") from error
        raise OSError(f"the Hub refused {repo_id}: {str(error).splitlines()[0]}") from error
    except Exception as error:
        if not type(error).__module__.startswith("httpx"):  # the client's own, under another name in each series
            raise
        if "ConnectError" in {cause.__name__ for cause in type(error).__mro__}:
            raise OSError(f"the Hub at {api.endpoint} can't be reached ({error}): try again when it can") from error
        raise OSError(
            f"the push of {repo_id} was cut off ({error}); the repository is as it was: run it again"
        ) from error
    return str(url)


def _names(folder: Path) -> Iterator[str]:
    """Files of a folder and the folders in it, relative to it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def _belongs(name: str) -> bool:
    if name.startswith(f"{TABLES}/predictions/"):  # what a table was made of: known, and of no use to others
        return True
    patterns = (*TAKEN, *TAKEN_TABLES, *MADE, *(path.name for path in code_files()))
    return any(fnmatch(name, pattern) for pattern in patterns)


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
