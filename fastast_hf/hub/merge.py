"""A new card over an old one: generated sections are renewed, what a person wrote stays.

Generated sections stand between markers, `<!-- generated: NAME -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Any, cast

import yaml
from huggingface_hub import CardData, EvalResult, ModelCard, ModelCardData

from .belonging import SAMPLES

AT_R = ", tome_r = "  # in the name of a generated result's metric, by which it is known again
LISTS = ("datasets", "metrics", "tags")  # a person's entries stay beside the generated ones
_SECTION = r"<!-- generated: (?P<name>\w+) -->\n(?:(?!<!-- (?:generated:|end of) ).*\n)*<!-- end of (?P=name) -->$"
# A section, or else a paragraph: lines without an empty one between them, but for those of fenced code.
_PIECE = re.compile(
    rf"^(?:{_SECTION}"
    r"|(?:(?!<!-- generated: )(?:[ \t]*(?P<fence>```+|~~~+)(?:.*\n)*?[ \t]*(?P=fence)|.*\S.*)(?:\n|\Z))+)",
    re.MULTILINE,
)


def merged_card(new: str, old: str, title: str, place: str = "the card") -> str:
    r"""The new card with what a person wrote into the old one.

    Paragraphs and fields that only the old card has stay. Where both have a field, the new one counts; datasets,
    metrics and tags are those of both. Generated results and widget examples of the old card go.

    Args:
        new: To be written or pushed.
        old: That is there already.
        title: That cards are generated with; a person's stays.
        place: Of the old card, for an error about it.

    Raises:
        ValueError: The old card's front matter can't be read.

    Example:
        >>> merged_card("---\ntags: [a]\n---\n# tiny\n\nNew.\n", "# tiny\n\nMine.\n", "tiny").splitlines()
        ['---', 'tags:', '- a', '---', '# tiny', '', 'Mine.', '', 'New.']
    """
    data = _merged_data(data_of(new), data_of(old, place))
    return with_front_matter(data, merged_text(text_of(new), text_of(old), title))


def with_front_matter(data: CardData, text: str) -> str:
    """A card of its fields and its text."""
    return f"---\n{data.to_yaml()}\n---\n{text}" if data.to_dict() else text


def with_fields(card: str, **fields: Any) -> str:
    """A card with more fields; tags are added to those it has."""
    data = data_of(card)
    for key, value in fields.items():
        if value is not None:
            data[key] = sorted({*_listed(data.get(key)), *_listed(value)}, key=str) if key in LISTS else value
    return with_front_matter(data, text_of(card))


def data_of(card: str, place: str = "the card") -> ModelCardData:
    """The front matter of a card; a ValueError where it can't be read."""
    if not card.startswith("---"):
        return ModelCardData()
    try:
        return cast(ModelCardData, ModelCard(card).data)
    except (yaml.YAMLError, ValueError, KeyError, TypeError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"the front matter of {place} can't be read ({told}): mend or remove it") from error


def text_of(card: str) -> str:
    """A card without its front matter."""
    return re.sub(r"\A---\n(?:.*?\n)?---\n", "", card.replace("\r\n", "\n"), count=1, flags=re.DOTALL)


def merged_text(new: str, old: str, title: str) -> str:
    """[`merged_card`] of texts without front matter. A section with half a marker counts as a person's."""
    ours, theirs = _pieces(new), _pieces(old)
    named = [key for key, text in theirs if key != text]
    made = dict(ours)
    theirs = [(key, made.get(key, text)) for key, text in theirs if key in made or key not in named]
    for one, other in ((ours, theirs), (theirs, ours)):  # one title, and a person's rather than ours
        if any(text.startswith("# ") and text != f"# {title}" for _, text in other):
            one[:] = [piece for piece in one if piece[1] != f"# {title}"]
    known, merged = dict(theirs), list[str]()
    pairs = SequenceMatcher(None, [key for key, _ in theirs], [key for key, _ in ours], autojunk=False)
    for tag, start, end, new_start, new_end in pairs.get_opcodes():
        merged += [text for _, text in theirs[start:end]]
        if tag != "equal":
            merged += [text for key, text in ours[new_start:new_end] if key not in known]
    return "\n\n".join(merged) + "\n"


def _pieces(text: str) -> list[tuple[str, str]]:
    """Sections and paragraphs, each with its key: a section's is its name, a paragraph's is itself."""
    found = ((match["name"], match[0].rstrip()) for match in _PIECE.finditer(text))
    return [(name or piece, piece) for name, piece in found]


def _merged_data(new: ModelCardData, old: ModelCardData) -> ModelCardData:
    ours, theirs = ({key: value for key, value in vars(data).items() if value is not None} for data in (new, old))
    fields = theirs | ours
    for key in LISTS:
        fields[key] = sorted({*_listed(ours.get(key)), *_listed(theirs.get(key))}, key=str) or None
    fields["widget"] = _joined(new.get("widget"), old.get("widget"), _is_sample)
    fields["eval_results"] = _joined(new.eval_results, old.eval_results, is_generated)
    fields["model_name"] = fields.get("model_name") if fields["eval_results"] else None
    return ModelCardData(**{key: fields[key] for key in sorted(fields)})


def _joined(new: Sequence[Any] | None, old: Sequence[Any] | None, is_made: Callable[[Any], bool]) -> list[Any] | None:
    """The new entries, and those of the old ones that a person wrote."""
    return [*(new or []), *(one for one in old or [] if not is_made(one) and one not in (new or []))] or None


def is_generated(result: EvalResult) -> bool:
    """Whether a result of a card's front matter was made from a table, and not written by a person."""
    return re.search(rf"{re.escape(AT_R)}\d+$", result.metric_name or "") is not None


def _is_sample(example: Any) -> bool:
    ours = rf"https://huggingface\.co/[^/]+/[^/]+/resolve/main/{SAMPLES}/[^/]+"
    return isinstance(example, dict) and re.fullmatch(ours, str(example.get("src"))) is not None


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or [])
