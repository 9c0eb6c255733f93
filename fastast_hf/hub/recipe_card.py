"""The card of a checkpoint that is still to be trained: its recipe, its command, and what the paper reports for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from ..paper_table import PAPER_TABLE_1, PAPER_TABLE_2, R_VALUES
from ..recipes import find_recipe, read_recipe
from .card_facts import numbers_in, unfounded_numbers
from .card_tables import CORPORA, NOT_MEASURED
from .model_card import CARD, citations, merged


def write_recipe_card(folder: Path, recipe: str, repo_id: str) -> Path:
    """Write the card of what a recipe would make into a folder, without a single measured number.

    Args:
        folder: Made where there is none; it must hold no checkpoint, whose card is made of its own files.
        recipe: A recipe's name or file.
        repo_id: `USER/NAME` that it is to have.

    Raises:
        ValueError: There is a checkpoint in the folder, or the recipe is no yaml.
        OSError: No such recipe.
    """
    if (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds a checkpoint: leave out --recipe, its card is made of its own files")
    settings = read_recipe(find_recipe(recipe))
    made = recipe_sections(recipe, settings, repo_id)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CARD
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    data = ModelCardData(
        pipeline_tag="audio-classification",
        library_name="transformers",
        tags=["audio-spectrogram-transformer", "fastast", "token-merging"],
        datasets=[CORPORA[settings["corpus"]][1]],
    )
    text = merged(old, made, repo_id.rpartition("/")[2])
    path.write_text(f"---\n{data.to_yaml()}\n---\n{text}", encoding="utf-8")
    return path


def recipe_sections(recipe: str, settings: dict[str, Any], repo_id: str) -> dict[str, str]:
    """The sections by name; their numbers are the recipe's, or the paper's and named so.

    Raises:
        ValueError: One is neither.
    """
    corpus = CORPORA[settings["corpus"]][0]
    distilled = "lam" in settings
    command = "distill" if distilled else "train"
    teacher = " --teacher TEACHER" if distilled else ""
    rows = [f"| `{key}` | {_shown(value)} |" for key, value in settings.items()]
    made = {
        "model": f"An Audio Spectrogram Transformer that merges alike tokens in every layer (FastAST), for {corpus}"
        f"{', distilled from a teacher of another family' if distilled else ''}. It is still to be trained: this card "
        "holds its recipe.",
        "results": f"{NOT_MEASURED}\n\n{_paper_table(settings['corpus'], distilled)}",
        "training": f"```bash\nfastast {command} --recipe {recipe}{teacher} --data FOLDER --output_dir "
        f"{repo_id.rpartition('/')[2]}\nfastast push {repo_id.rpartition('/')[2]} {repo_id} --only-model\n```\n\n"
        "| setting | value |\n|---|---|\n" + "\n".join(rows),
        "citations": citations(distilled),
    }
    known = [*numbers_in(settings), *numbers_in(list(R_VALUES)), *_paper_numbers(), 1.0, 2.0]  # of Tables 1 and 2
    for name, text in made.items():
        if unfounded := unfounded_numbers(text, known):
            raise ValueError(f"the card's section {name!r} has numbers of no file: {', '.join(unfounded)}")
    return made


def _paper_table(corpus: str, distilled: bool) -> str:
    lines = ["| r |" + "".join(f" {r} |" for r in R_VALUES), "|---|" + "---|" * len(R_VALUES)]
    if distilled:
        said = "The FastAST paper's own figures (its Table 2, AudioSet balanced, mAP), not of this checkpoint:"
        columns = {f"paper, {part.method}": part.mean_average_precision for part in PAPER_TABLE_2}
    else:
        paper = PAPER_TABLE_1[corpus]
        said = f"The FastAST paper's own figures (its Table 1, {paper.name}), not of this checkpoint:"
        columns = {"paper, Inf": paper.inference, "paper, Train+Inf": paper.training_and_inference}
    lines += [f"| {name} |" + "".join(f" {value} |" for value in values) for name, values in columns.items()]
    return said + "\n\n" + "\n".join(lines)


def _paper_numbers() -> list[float]:
    table_1 = [number for part in PAPER_TABLE_1.values() for column in part[1:] for number in column]
    return table_1 + [number for part in PAPER_TABLE_2 for column in part[1:] for number in column]


def _shown(value: Any) -> str:
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else f"`{value}`"
        if isinstance(value, str)
        else str(value)
    )
