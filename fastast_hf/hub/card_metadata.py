"""The front matter of a card: what is generated, joined with what a person wrote."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .card_check import Claim
from .card_claims import is_generated

TAGS = ("audio-spectrogram-transformer", "fastast", "token-merging")
SAMPLES = "samples"  # a folder of clips that the Hub's page offers to try
LISTS = ("datasets", "metrics", "tags")  # of which a person's own stay, beside the generated ones
LICENSES = {"cc-by-4.0": "by/4.0", "cc-by-nc-3.0": "by-nc/3.0"}
LICENSE_NAMES = [Claim(rf"\[{re.escape(name)}(?=\s)", [()]) for name in LICENSES]  # the words of their links
# Of each corpus: of all of it, if there is one licence for it; and in words.
CORPUS_LICENSES = {
    "esc50": ("cc-by-nc-3.0", "ESC-50 is [{}][licence]: not for commercial use"),
    "speech_commands": ("cc-by-4.0", "Speech Commands V2 is [{}][licence]"),
    "audioset": (None, "AudioSet's labels are [cc-by-4.0][licence], its clips are their owners'"),
}


def read_metadata(card: str) -> ModelCardData:
    """The front matter of a card, as huggingface_hub reads it; an empty one where there is none.

    Raises:
        ValueError: It is no YAML.
    """
    if not card.startswith("---"):
        return ModelCardData()
    try:
        return cast(ModelCardData, ModelCard(card).data)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"the card's front matter can't be read ({told}): mend or remove it") from error


def metadata(
    own: ModelCardData,
    made: dict[str, Any],
    name: str,
    results: Sequence[dict[str, Any]] = (),
    license_id: str | None = None,
) -> ModelCardData:
    """What the Hub reads of a card: the generated fields, and what a person has added.

    Args:
        own: Of the card that is there.
        made: Generated fields. Lists of datasets, metrics and tags are joined with the card's own, other fields
            replace them; None leaves them.
        name: Of the model, for its results.
        results: Fields of generated `EvalResult`s; of the card's own those stay that are not generated, of other
            datasets, splits and metrics.
        license_id: As the Hub names it; None keeps the card's own.
    """
    fields = own.to_dict()
    for of_results in ("model-index", "model_name", "eval_results"):
        fields.pop(of_results, None)
    for key, value in (made | {"license": license_id}).items():
        if key in LISTS:
            value = sorted({*_listed(fields.get(key)), *_listed(value)})
        elif key == "widget":
            value = [*(value or []), *own_widget(fields.get(key))]
        if value:
            fields[key] = value
    every = with_own_results([EvalResult(**result) for result in results], own.eval_results)
    return ModelCardData(eval_results=every or None, model_name=name if every else None, **fields)


def generated_fields(base: Any, datasets: Sequence[str], metrics: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of every card; `base` is a model that training began from, if it is one of the Hub's."""
    return {
        "pipeline_tag": "audio-classification",
        "library_name": "transformers",
        "tags": TAGS,
        "base_model": base if is_hub_id(base) else None,
        "datasets": datasets,
        "metrics": metrics,
    }


def license_text(license_id: Any, corpus: str | None) -> str:
    """A card's paragraph on its licence, and on that of the corpus it was trained on."""
    said = f"`{license_id}`." if license_id else "None is stated for this checkpoint."
    if corpus not in CORPUS_LICENSES:
        return f"**Licence.** {said}"
    corpus_id, words = CORPUS_LICENSES[corpus]
    address = f"https://creativecommons.org/licenses/{LICENSES[corpus_id or 'cc-by-4.0']}/"
    return f"**Licence.** {said} {words.format(corpus_id).replace('[licence]', f'({address})')}."


def widget(folder: Path, repo_id: str | None) -> list[dict[str, str]]:
    """Examples for the Hub's page: the clips in a checkpoint's folder of samples."""
    clips = sorted(path for path in (folder / SAMPLES).glob("*") if path.suffix in (".wav", ".flac", ".mp3", ".ogg"))
    if repo_id is None:
        return []
    address = f"https://huggingface.co/{repo_id}/resolve/main/{SAMPLES}"
    return [{"example_title": clip.stem.replace("_", " "), "src": f"{address}/{clip.name}"} for clip in clips]


def own_widget(examples: Any) -> list[Any]:
    """A person's own examples: all that are not of a model's folder of samples."""
    ours = re.compile(rf"https://huggingface\.co/[^/]+/[^/]+/resolve/main/{SAMPLES}/[^/]+")
    return [one for one in examples or [] if not (isinstance(one, dict) and ours.fullmatch(str(one.get("src"))))]


def with_own_results(new: Sequence[EvalResult], old: Sequence[EvalResult] | None) -> list[EvalResult]:
    """The results of a new card, and those of the old one that a person wrote, of other datasets, splits and metrics.

    Where both are a person's, of the same dataset, split and metric, they stay as long as they differ.
    """
    generated = {_place(result) for result in new if is_generated(result)}
    own = (one for one in old or [] if not is_generated(one) and _place(one) not in generated)
    return [*new, *(one for one in own if one not in new)]


def is_hub_id(name: Any) -> bool:
    """Whether a setting that names no folder names a checkpoint of the Hub, not one of timm's."""
    known = isinstance(name, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None
    return known and not name.startswith("timm/")


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _place(result: EvalResult) -> tuple[Any, ...]:
    return result.dataset_type, result.dataset_config, result.dataset_split, result.metric_type
