"""A checkpoint's card: a template filled with what its files say, over the card that is there."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .belonging import CARD, CLIPS, SAMPLES, uploaded
from .facts import CORPORA, METRICS, CardFacts, corpus_of, merges
from .licenses import check_license
from .merge import AT_R, data_of, merged_card

REQUIREMENTS = "transformers>=5.17,<6\ntorch>=2.11\nsoundfile>=0.13\nsoxr>=0.5\n"  # of the code in a repository
TAGS = ["audio-spectrogram-transformer", "fastast", "token-merging"]


def render_card(folder: Path, repo_id: str | None = None, license_id: str | None = None) -> str:
    """The card of a checkpoint's folder; what a person wrote into the one that is there stays.

    Args:
        folder: With `config.json`, `preprocessor_config.json` and weights; `results.json` of the training run and
            `results/*.json` of `fastast evaluate` where there are any.
        repo_id: `USER/NAME`, for the lines that load it.
        license_id: As the Hub names it, such as `cc-by-4.0`; None keeps the card's own.

    Raises:
        OSError: A file that is needed is not there.
        ValueError: A file can't be read, lacks something or is of other weights; or the Hub has no such license.
    """
    old = card_in(folder)
    licensed = _licensed(old, license_id)
    facts = CardFacts.read(folder, repo_id, licensed.get("license_name") or licensed["license"])
    scored = [_eval_result(table, facts.own_row(table)) for table in facts.tables.values()]
    corpora = {corpus_of(table["corpus"]) for table in facts.tables.values()} | {facts.corpus or corpus_of("")}
    data = metadata(
        license=licensed["license"],
        base_model=facts.base_model,
        datasets=sorted(corpus.hub_id for corpus in corpora if corpus.hub_id),
        metrics=sorted({result.metric_type for result in scored}),
        widget=_widget(folder, repo_id),
        eval_results=scored,
        model_name=facts.place,
    )
    return merged_card(fill("card", facts, data), old, facts.title)


def write_card(folder: Path, repo_id: str | None = None, license_id: str | None = None) -> Path:
    """Write [`render_card`]'s into a checkpoint's folder."""
    card = render_card(folder, repo_id, license_id)
    (folder / CARD).write_text(card, encoding="utf-8")
    return folder / CARD


def write_recipe_card(
    folder: Path, recipe: str, settings: Mapping[str, Any], repo_id: str, license_id: str | None = None
) -> Path:
    """Write the card of what a recipe, of this name and these settings, would make: without a measured number.

    The license is the one given, or the card's own, or the corpus' where it has one.
    """
    if (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds a checkpoint: leave out --recipe, its card is made of its own files")
    corpus = CORPORA.get(settings.get("corpus", ""))
    if corpus is None:
        raise ValueError(f"{recipe} has no corpus of the Hub: a card to come is for one of {', '.join(CORPORA)}")
    old = card_in(folder)
    licensed = _licensed(old, license_id, corpus.license)
    shown = licensed.get("license_name") or licensed["license"]
    facts = CardFacts(repo_id, shown, recipe=recipe, settings=settings)
    data = metadata(license=licensed["license"], base_model=facts.base_model, datasets=[corpus.hub_id])
    card = merged_card(fill("card", facts, data), old, facts.title)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD).write_text(card, encoding="utf-8")
    return folder / CARD


def fill(template: str, card: CardFacts | Mapping[str, Any], data: ModelCardData) -> str:
    """Fill `TEMPLATE.md.jinja`; a ValueError where a file of the checkpoint has something of another kind."""
    given: dict[str, Any] = {function.__name__: function for function in (text, code, named, quoted, shell, value)}
    given |= {"percent": percent, "merges": merges, "corpus_of": corpus_of, "METRICS": METRICS}
    given |= {"card": card, "requirement": REQUIREMENTS.partition("\n")[0]}
    source = (Path(__file__).parent / f"{template}.md.jinja").read_text(encoding="utf-8")
    try:
        return f"{ModelCard.from_template(data, template_str=source, **given)}\n"
    except (TypeError, AttributeError, jinja2.UndefinedError) as error:
        raise ValueError(f"a file of the checkpoint has a value of the wrong kind ({error}): write it anew") from error


def metadata(tags: list[str] = TAGS, **fields: Any) -> ModelCardData:
    """A card's fields; those that are empty are left out."""
    given = {key: field for key, field in fields.items() if field}
    return ModelCardData(pipeline_tag="audio-classification", library_name="transformers", tags=tags, **given)


def text(given: Any) -> str:
    r"""As prose or a table's cell, with nothing in it that markdown or HTML would act on.

    Example:
        >>> print(text("a|b <img> *c*"))
        a\|b &lt;img&gt; \*c\*
    """
    line = " ".join(str(given).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", line)


def code(given: Any, in_table: bool = False) -> str:
    """As inline code.

    Example:
        >>> print(code("dog"), code("a`b"))
        `dog` `` a`b ``
    """
    line = " ".join(str(given).split()) or " "
    line = line.replace("|", "\\|") if in_table else line  # elsewhere the backslash would be seen
    ticks = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    return f"`{line}`" if ticks == "`" else f"{ticks} {line} {ticks}"


def named(given: str) -> str:
    """A model or folder as code, or its description in words."""
    return text(given) if " " in given else code(given)


def quoted(given: str) -> str:
    """As a text of Python, on one line."""
    return json.dumps(given, ensure_ascii=False)


def shell(given: str) -> str:
    """As a word of a command line."""
    return shlex.quote(" ".join(given.split()))


def percent(share: float, digits: int = 1) -> str:
    """A share in percent."""
    return f"{100 * share:.{digits}f}"


def value(given: Any) -> str:
    """A setting as a table's cell."""
    return text(", ".join(map(str, given)) if isinstance(given, list) else given)


def card_in(folder: Path) -> str:
    """The card that is in a folder; empty where there is none."""
    return (folder / CARD).read_text(encoding="utf-8") if (folder / CARD).is_file() else ""


def _licensed(old: str, license_id: str | None, default: str | None = None) -> dict[str, Any]:
    """The fields about the license that the new card will have, checked."""
    own = data_of(old).to_dict()
    fields = {"license": license_id or own.get("license") or default}
    if fields["license"] == own.get("license"):
        fields["license_name"] = own.get("license_name")
    check_license(fields)
    return fields


def _eval_result(table: Mapping[str, Any], row: Mapping[str, Any]) -> EvalResult:
    corpus = corpus_of(table["corpus"])
    return EvalResult(
        task_type="audio-classification",
        dataset_type=corpus.hub_id or table["corpus"],
        dataset_name=f"{corpus.title}, {table['classes']} classes, {row['clips']} clips of the {table['split']} split",
        dataset_split=table["split"],
        metric_type=row["metric"],
        metric_name=f"{METRICS[row['metric']]}{AT_R}{row['tome_r']}",
        metric_value=round(row["score"], 4),
    )


def _widget(folder: Path, repo_id: str | None) -> list[dict[str, str]]:
    """Examples for the Hub's page: the clips in a checkpoint's folder of samples."""
    names = [Path(name) for name in uploaded(folder, CLIPS)] if repo_id else []
    address = f"https://huggingface.co/{repo_id}/resolve/main/{SAMPLES}"
    return [{"example_title": name.stem.replace("_", " "), "src": f"{address}/{name.name}"} for name in names]
