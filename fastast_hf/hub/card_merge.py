"""A card that is pushed over one on the Hub: nothing that a person wrote into either of them is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, cast

from huggingface_hub import ModelCard, ModelCardData
from yaml import YAMLError

from .card_metadata import own_widget, with_own_results
from .card_text import HEADINGS, check_markers

_GENERATED = re.compile(r"<!-- generated: (.+) -->")
_OF_RESULTS = ("model-index", "model_name", "eval_results")
_JOINED = ("datasets", "metrics", "tags")


def with_hub_card(card: str, old: str, title: str) -> str:
    r"""The new card with what a person wrote into the old one.

    Generated sections are the new card's. Paragraphs of the old card that the new one lacks are put in after what
    they follow there; a paragraph that was changed on one side is therefore there twice, and one is gone when it was
    removed on both. Metadata: the old card's fields that the new one lacks, and the datasets, metrics and tags of
    both; results and widget examples that were generated are the new card's, a person's own are those of both.

    Args:
        card: That is to be pushed.
        old: That is on the Hub.
        title: That cards are generated with; a person's goes before it.

    Raises:
        ValueError: The old card's metadata can't be read, or its markers of generated sections do not come in pairs.

    Example:
        >>> with_hub_card("---\ntags: [a]\n---\n# tiny\n\nNew.\n", "# tiny\n\nMine.\n", "tiny").splitlines()
        ['---', 'tags: [a]', '---', '# tiny', '', 'Mine.', '', 'New.']
    """
    return front_matter(card, _split(card)[0], old) + merged_body(card, old, title)


def merged_body(card: str, old: str, title: str) -> str:
    """The text of [`with_hub_card`], without metadata."""
    body, old_body = _split(card)[1], _split(old)[1]
    try:
        check_markers(old_body)
    except ValueError as error:
        raise ValueError(f"of the card on the Hub: {error}") from error
    return "\n\n".join(_with_paragraphs(_blocks(body), _blocks(old_body), title)) + "\n"


def with_fields(card: str, fields: dict[str, Any]) -> str:
    """A card with more metadata; tags are added to those it has."""
    fields = {key: value for key, value in fields.items() if value is not None}
    if not fields:
        return card
    parsed = ModelCard(card)
    if "tags" in fields:
        fields["tags"] = sorted({*(parsed.data.get("tags") or []), *_listed(fields["tags"])})
    for key, value in fields.items():
        parsed.data[key] = value
    return f"---\n{parsed.data.to_yaml()}\n---\n{_split(card)[1]}"


def front_matter(card: str, front: str, old: str) -> str:
    """The new card's metadata, with the fields of the old one that it lacks."""
    if not old.startswith("---"):
        return front
    try:
        old_data = cast(ModelCardData, ModelCard(old).data)
    except (ValueError, KeyError, TypeError, YAMLError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"the metadata of the card on the Hub can't be read ({told}): mend it there") from error
    data = cast(ModelCardData, ModelCard(card).data)
    ours, theirs = data.to_dict(), old_data.to_dict()
    lacking = {key: value for key, value in theirs.items() if key not in (*ours, *_OF_RESULTS, "widget")}
    for key in _JOINED:
        both = sorted({*_listed(ours.get(key)), *_listed(theirs.get(key))})
        if both != sorted(_listed(ours.get(key))):
            lacking[key] = both
    results = with_own_results(data.eval_results or [], old_data.eval_results)
    if len(results) > len(data.eval_results or []):
        lacking |= {"eval_results": results, "model_name": data.model_name or old_data.model_name}
    examples = ours.get("widget") or []
    if own := [one for one in own_widget(theirs.get("widget")) if one not in examples]:
        lacking["widget"] = [*examples, *own]
    return _split(with_fields(card, lacking))[0] if lacking else front


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])


def _split(card: str) -> tuple[str, str]:
    """Metadata with its lines of dashes, and text."""
    card = card.replace("\r\n", "\n")
    found = re.match(r"---\n.*?\n---\n", card, flags=re.DOTALL)
    return (found[0], card[found.end() :]) if found else ("", card)


def _blocks(body: str) -> list[str]:
    """Paragraphs; a generated section, or code between fences, is one."""
    blocks: list[list[str]] = [[]]
    closing = ""
    for line in body.split("\n"):
        if not closing and not line.strip():
            blocks.append([])
            continue
        blocks[-1].append(line)
        if closing:
            closing = "" if line.strip() == closing else closing
        elif generated := _GENERATED.fullmatch(line.strip()):
            closing = f"<!-- end of {generated[1]} -->"
        elif fence := re.match(r"\s*(```+|~~~+)", line):
            closing = fence[1]
    return ["\n".join(block) for block in blocks if block]


def _with_paragraphs(new: list[str], old: list[str], title: str) -> list[str]:
    blocks, place = list(new), 0
    keys = [_key(block) for block in blocks]
    generated = {f"# {title}", *(f"## {heading}" for heading in HEADINGS.values())}
    if old and old[0].startswith("# ") and keys and keys[0] == f"# {title}":
        blocks[0] = keys[0] = old[0]
    for block in old:
        key = _key(block)
        if key in keys:
            place = keys.index(key, place if key in keys[place:] else 0) + 1
        elif block not in generated and not _GENERATED.match(block):
            blocks.insert(place, block)
            keys.insert(place, key)
            place += 1
    return blocks


def _key(block: str) -> str:
    """What a block is known by in both cards: a generated section by its name, a paragraph by its words."""
    found = _GENERATED.match(block)
    return found[0] if found else "\n".join(line.rstrip() for line in block.split("\n"))
