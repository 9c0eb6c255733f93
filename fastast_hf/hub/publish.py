"""From a checkpoint's folder to a repository of the Hub, in one commit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo, ModelCard, ModelCardData
from transformers import ASTConfig, AutoFeatureExtractor
from transformers.dynamic_module_utils import get_relative_import_files

from ..loading.saved_weights import digest_of_folder, tensors_by_file
from ..model.configuration_fastast import AUTO_MAP, FastASTConfig
from ..model.modeling_fastast import FastASTForAudioClassification
from .belonging import CLIPS, PICTURES, TABLES_READ, WEIGHTS, check_checkpoint, check_clips, check_files, uploaded
from .card_facts import RESULTS, CardFacts, read_json
from .card_merge import with_fields
from .committing import Content, check_name, check_space, client, commit
from .local_paths import strip_folders, without_folders
from .model_card import CARD, render_card
from .space import space_files

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
    same commit: they are of other weights. The card there is renewed and not replaced, see
    [`card_merge.with_hub_card`], and so is a Space's page; where another file of the Space was changed there, nothing
    is pushed. An endpoint's `handler.py` and `requirements.txt` are the ones that are made here: a folder with others,
    a person's or of an older version, is refused. To have one's own there, upload it after the push with `hf upload`.

    Args:
        folder: What `save_pretrained` of model and front end, or a training run, wrote.
        repo_id: `USER/NAME`; made where there is none.
        private: Whether a new repository is.
        space: Push the demo to the Space of the same name, too.
        plain: Push the same weights as stock AST to `USER/NAME-ast`, too: the Hub's widget runs no repository's code.
        only_model: Leave files that do not belong out, instead of refusing the folder.
        license_id: As the Hub names it.
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
        ValueError: Files that do not belong, or are not what they are called; results of other weights; no FastAST;
            a wrong name; or a file of the Space was changed there.
    """
    check_name(repo_id)
    check_checkpoint(folder)
    check_files(folder, only_model, [path.name for path in code_files()])
    content = model_files(folder, repo_id, license_id)
    fields = {"language": language, "tags": tags}
    content[CARD] = with_fields(_text(content[CARD]), fields).encode()
    api = client(token)
    shared: dict[str, Any] = {"private": private, "commit_message": commit_message or "Upload FastAST"}
    message: dict[str, Any] = {"commit_description": commit_description, "create_pr": create_pr}
    page = space_files(repo_id) if space else {}
    if space:
        check_space(api, repo_id, page)
    made = commit(api, repo_id, content, revision=revision, **shared, **message)
    if plain:
        files = plain_files(folder, repo_id, license_id)
        commit(api, f"{repo_id}-ast", files, revision=revision, **shared, **message)
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
    unknown = sorted(set(settings) - (set(push.__kwdefaults__ or {}) - {"only_model"}))
    if unknown:
        raise TypeError(f"push_to_hub of a FastAST takes no {', '.join(unknown)}: leave it out")
    check_name(repo_id)
    source = model.config.name_or_path
    if feature_extractor is None:
        if not source:
            raise ValueError(
                "a model without its front end is of no use to others: give push_to_hub feature_extractor"
            )
        feature_extractor = AutoFeatureExtractor.from_pretrained(source)
    with TemporaryDirectory() as folder:
        shards = {} if max_shard_size is None else {"max_shard_size": max_shard_size}
        model.save_pretrained(folder, **shards)
        feature_extractor.save_pretrained(folder)
        if source and same_weights(Path(source), Path(folder)):
            copy_known(Path(source), Path(folder))
        return push(Path(folder), repo_id, **settings)


def same_weights(one: Path, other: Path) -> bool:
    """Whether two folders hold the same weights, in however many files."""
    try:
        return digest_of_folder(one) == digest_of_folder(other)
    except FileNotFoundError:
        return False


def copy_known(source: Path, folder: Path) -> None:
    """Copy what a checkpoint's folder holds beside the model: card, results, tables and samples.

    Raises:
        ValueError: One of them is a link that leads out of the folder, of other weights, or no audio.
    """
    check_files(source, only_model=True)
    CardFacts.read(source)  # what is wrong with its results is told of them, and not of their copies
    check_clips(source)
    for name in uploaded(source, (CARD, RESULTS, *TABLES_READ, *PICTURES, *CLIPS)):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, folder / name)


def model_files(folder: Path, repo_id: str, license_id: str | None = None) -> Content:
    """What goes into the repository, by name: bytes that are made here, and files as they are.

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
    files: Content = {name: folder / name for name in uploaded(folder, (*WEIGHTS, *CLIPS, *PICTURES))}
    for name in uploaded(folder, TABLES_READ):
        is_json = name.endswith(".json")
        text = (folder / name).read_text(encoding="utf-8")
        files[name] = (
            json_bytes(without_folders(read_json(folder / name))) if is_json else strip_folders(text).encode()
        )
    fields = read_json(folder / "config.json") | {"model_type": config.model_type, "auto_map": AUTO_MAP}
    fields.pop("_name_or_path", None)  # in configs of older series: where the model lay on somebody's machine
    files["config.json"] = json_bytes(fields)
    extractor = read_json(folder / "preprocessor_config.json")
    auto_map = {"AutoFeatureExtractor": "feature_extraction_fastast.FastASTFeatureExtractor"}
    files["preprocessor_config.json"] = json_bytes(
        {**extractor, "feature_extractor_type": "FastASTFeatureExtractor", "auto_map": auto_map}
    )
    if (folder / RESULTS).is_file():
        files[RESULTS] = json_bytes(without_folders(read_json(folder / RESULTS)))
    files |= {path.name: path for path in code_files()}
    files |= endpoint_files(folder, repo_id)
    files[CARD] = render_card(folder, repo_id, license_id).encode()
    return files


def endpoint_files(folder: Path, repo_id: str) -> Content:
    """What an Inference Endpoint runs, by name.

    Raises:
        ValueError: The folder holds another one, which somebody wrote or an older version made.
    """
    handler = Path(__file__).parent / "handler.py"
    made = {handler.name: handler.read_text(encoding="utf-8"), "requirements.txt": REQUIREMENTS}
    for name, text in made.items():
        own = folder / name
        if own.is_file() and own.read_text(encoding="utf-8", errors="replace") != text:
            raise ValueError(
                f"{own} is not the one that a push makes, which would take its place: move it elsewhere; to have it "
                f"there instead, upload it after each push with `hf upload {repo_id} {name}`"
            )
    return {name: text.encode() for name, text in made.items()}


def plain_files(folder: Path, repo_id: str, license_id: str | None = None) -> Content:
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
    rate = extractor["sampling_rate"]
    card = (
        f"---\n{data.to_yaml()}\n---\n# {repo_id} as stock AST\n\n<!-- generated: plain -->\nThe weights of "
        f"[{repo_id}](https://huggingface.co/{repo_id}) for transformers' own AST: the same labels at `tome_r=0`, "
        f"without merging and without code of its own:\n\n```python\nfrom transformers import pipeline\n\n"
        f'pipe = pipeline("audio-classification", "{repo_id}-ast")\npipe("clip.wav")\n```\n\n'
        "To open a file, the pipeline needs the program ffmpeg. Where that is not installed, give it the samples in "
        f'place of the name; of a mono file at {rate} Hz: `pipe(soundfile.read("clip.wav")[0])`.\n\n'
        "Results, training, limits and citations are described there.\n<!-- end of plain -->\n"
    )
    files: Content = {name: folder / name for name in uploaded(folder, (*WEIGHTS, *CLIPS))}
    made = {"config.json": json_bytes(fields), "preprocessor_config.json": json_bytes(extractor), CARD: card.encode()}
    return files | made


def code_files() -> list[Path]:
    """The modules that a checkpoint carries: the model's, the front end's, and what these import from beside them."""
    package = Path(__file__).parents[1] / "model"
    starts = [package / f"{module}.py" for module in ("modeling_fastast", "feature_extraction_fastast")]
    found = {Path(path) for start in starts for path in (start, *get_relative_import_files(start))}
    return sorted(found)


def _text(content: bytes | Path) -> str:
    return content.decode() if isinstance(content, bytes) else content.read_text(encoding="utf-8")


def json_bytes(content: dict[str, Any]) -> bytes:
    """A JSON file, with its keys in order: the same content is the same file."""
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
