"""The card of a checkpoint that is still to be trained: its recipe, its command, and what the paper reports for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..evaluation.paper import PAPER_TABLE_1, PAPER_TABLE_2, R_VALUES
from ..training.recipes import find_recipe, read_recipe
from .card_check import CellCheck, Claim, tells, unfounded_numbers
from .card_facts import seconds_of
from .card_metadata import CORPUS_LICENSES, LICENSE_NAMES, generated_fields, license_text, metadata, read_metadata
from .card_tables import CORPORA, NOT_MEASURED, title_of
from .card_text import citations, limits, load_lines, merged
from .model_card import CARD

OTHER_R = 20  # for the line that loads at another r


def write_recipe_card(folder: Path, recipe: str, repo_id: str, license_id: str | None = None) -> Path:
    """Write the card of what a recipe would make into a folder, without a single measured number.

    Args:
        folder: Made where there is none; it must hold no checkpoint, whose card is made of its own files.
        recipe: A recipe's name or file.
        repo_id: `USER/NAME` that it is to have.
        license_id: As the Hub names it; None keeps the card's own, or takes the corpus' where it has one.

    Raises:
        ValueError: There is a checkpoint in the folder, the recipe is no yaml, it names no corpus that the Hub has, or
            the old card's markers or front matter are broken.
        OSError: No such recipe.
    """
    if (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds a checkpoint: leave out --recipe, its card is made of its own files")
    settings = read_recipe(find_recipe(recipe))
    corpus = settings.get("corpus")
    if corpus not in CORPORA:
        raise ValueError(f"{recipe} has the corpus {corpus!r}: a card to come is for one of {', '.join(CORPORA)}")
    path = folder / CARD
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    own = read_metadata(old)
    license_id = license_id or own.get("license") or CORPUS_LICENSES[corpus][0]
    data = metadata(own, generated_fields(settings.get("model"), [CORPORA[corpus][1]]), repo_id, (), license_id)
    made = recipe_sections(recipe, settings, repo_id, own.get("license_name") or license_id)
    text = merged(old, made, repo_id.rpartition("/")[2])
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\n{data.to_yaml()}\n---\n{text}", encoding="utf-8")
    return path


def recipe_sections(recipe: str, settings: dict[str, Any], repo_id: str, license_id: Any = None) -> dict[str, str]:
    """The sections by name; their numbers are the recipe's, or the paper's and named so.

    Raises:
        ValueError: One is neither.
    """
    corpus, distilled = settings["corpus"], "lam" in settings
    front_end, claims = _front_end(settings)
    rows = [f"| `{key}` | {_shown(value)} |" for key, value in settings.items()]
    made = {
        "model": f"An Audio Spectrogram Transformer that merges similar tokens in every layer (FastAST), for "
        f"{title_of(corpus)}{', distilled from a teacher of another family' if distilled else ''}. It is still to be "
        f"trained: this card holds its recipe.\n\n{limits(measured=False)}\n\n"
        f"{license_text(license_id, corpus)}",
        "use": "After it has been trained and pushed, it can be loaded in these ways.\n\n"
        + load_lines(repo_id, OTHER_R),
        "results": f"{NOT_MEASURED}\n\n{_paper_table(corpus, distilled)}",
        "training": f"{_commands(recipe, settings, repo_id)}\n\n{front_end}\n\n| setting | value |\n|---|---|\n"
        + "\n".join(rows),
        "citations": citations(distilled),
    }
    of_paper = "AudioSet balanced" if distilled else PAPER_TABLE_1[corpus].name
    claims.append(Claim(rf"own figures \(its Table {{n}}, {re.escape(of_paper)}", [(2,) if distilled else (1,)]))
    checks = {"results": [_beside(_paper_columns(corpus, distilled))], "training": [_beside(settings, "setting")]}
    names = {str(license_id), "transformers>=5.17,<6", str(settings.get("model"))}
    for name, text in made.items():
        if unfounded := unfounded_numbers(text, [*claims, *LICENSE_NAMES], checks.get(name, []), names):
            raise ValueError(f"the card's section {name!r} has numbers of no file: {', '.join(unfounded)}")
    return made


def _commands(recipe: str, settings: dict[str, Any], repo_id: str) -> str:
    distilled, folder = "lam" in settings, repo_id.rpartition("/")[2]
    command = f"fastast {'distill' if distilled else 'train'} --recipe {recipe}"
    command += " --teacher TEACHER" if distilled else ""
    folds = settings.get("fold") == "all"
    command += " --fold 1" if folds else ""
    command += f" --data FOLDER --output_dir {folder}"
    lines = f"```bash\n{command}\nfastast push {folder} {repo_id} --only-model\n```"
    if not folds:
        return lines
    return (
        f"{lines}\n\nWithout `--fold`, the recipe trains on every fold in turn, each in a folder of its own, and sums "
        "them up."
    )


def _front_end(settings: dict[str, Any]) -> tuple[str, list[Claim]]:
    """What the recipe says of it, and what it may say."""
    keys = ("mean", "std", "frames")
    if any(settings.get(key) is None for key in keys):
        return "**Front end.** Log-mel, normalised as the model that training begins from.", []
    mean, std, frames = (settings[key] for key in keys)
    seconds = seconds_of(frames)
    text = (
        f"**Front end.** Log-mel, {frames} frames ({seconds:.2f} s), normalised by mean {mean} and standard deviation "
        f"{std}, as `FastASTFeatureExtractor` computes it."
    )
    claims = [
        Claim(r"{n} frames \({n} s\)", [(frames, seconds)]),
        Claim("mean {n} and standard deviation {n}", [(mean, std)]),
    ]
    return text, claims


def _paper_table(corpus: str, distilled: bool) -> str:
    lines = ["| r |" + "".join(f" {r} |" for r in R_VALUES), "|---|" + "---|" * len(R_VALUES)]
    if distilled:
        said = "The FastAST paper's own figures (its Table 2, AudioSet balanced, mAP), not of this checkpoint:"
    else:
        said = f"The FastAST paper's own figures (its Table 1, {PAPER_TABLE_1[corpus].name}), not of this checkpoint"
        said += ", merging only when it is used (Inf) or in training, too (Train+Inf):"
    columns = _paper_columns(corpus, distilled)
    lines += [f"| {name} |" + "".join(f" {value} |" for value in columns[name]) for name in list(columns)[1:]]
    return said + "\n\n" + "\n".join(lines)


def _paper_columns(corpus: str, distilled: bool) -> dict[str, Sequence[float]]:
    """The paper's values by the first cell of their line; first the values of r."""
    if distilled:
        return {"r": R_VALUES} | {f"paper, {part.method}": part.mean_average_precision for part in PAPER_TABLE_2}
    paper = PAPER_TABLE_1[corpus]
    return {"r": R_VALUES, "paper, Inf": paper.inference, "paper, Train+Inf": paper.training_and_inference}


def _beside(expected: dict[str, Any], heading: str | None = None) -> CellCheck:
    """A check of a table whose lines are named by their first cells."""

    def wrong(table: Sequence[Sequence[str]]) -> list[str]:
        strange = []
        for name, *cells in table:
            if name == heading and cells == ["value"]:
                continue
            value = expected.get(name.strip("`"))
            if isinstance(value, Sequence) and not isinstance(value, str) and len(cells) > 1:
                held = len(cells) == len(value) and all(map(tells, cells, value))
            else:
                held = len(cells) == 1 and _tells_setting(cells[0], value)
            strange += [] if held else [" ".join((name, *cells))]
        return strange

    return wrong


def _tells_setting(cell: str, value: Any) -> bool:
    return tells(cell.strip("`"), str(value) if isinstance(value, bool) or value is None else value)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"`{value}`" if isinstance(value, str) else str(value)
