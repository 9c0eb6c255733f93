"""A recipe says what the command line says, and whatever it holds, it is settings or one line."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from properties_settings import PROPERTY

from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments
from fastast_hf.training.recipes import RecipeParser, RunArguments, parse_with_recipe

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "mixup": st.floats(0, 1),
    "roll": st.booleans(),
    "frequency_mask": st.integers(0, 128),
    "time_mask": st.integers(0, 512),
    "decay": st.floats(0.01, 1),
    "decay_start": st.integers(1, 50),
    "staircase_warmup": st.integers(0, 5000),
}
chosen = st.fixed_dictionaries({}, optional=VALUES)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates()
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3), max_leaves=6
)


def parse(arguments: list[str], recipe: bytes | None = None) -> dict[str, Any]:
    """The settings that these arguments, and a recipe of these bytes, make."""
    parser = RecipeParser((AugmentationArguments, ScheduleArguments, RunArguments))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.yaml"
        path.write_bytes(recipe or b"")
        parsed = parse_with_recipe(parser, arguments if recipe is None else ["--recipe", str(path), *arguments])
    return {name: value for part in parsed for name, value in asdict(part).items()}


def as_options(chosen: dict[str, Any]) -> list[str]:
    return [part for name, value in chosen.items() for part in (f"--{name}", str(value))]


@settings(PROPERTY, max_examples=20)
@given(chosen, chosen)
def test_a_recipe_is_the_command_line_written_down_and_the_command_line_counts_more(
    recipe: dict[str, Any], given: dict[str, Any]
) -> None:
    written = yaml.safe_dump(recipe).encode()
    assert parse(as_options(given), written) == parse(as_options({**recipe, **given}))


@settings(PROPERTY, max_examples=25)
@given(
    st.dictionaries(st.sampled_from([*VALUES, "extends", "no_such"]) | plain, anything, max_size=3).map(
        lambda recipe: yaml.safe_dump(recipe, allow_unicode=True).encode("utf-8", "surrogateescape")
    )
    | st.binary(max_size=60)
)
def test_any_recipe_is_settings_or_one_line(recipe: bytes) -> None:
    try:
        parse([], recipe)
    except SystemExit as stop:
        assert stop.code == 2
    except (ValueError, OSError) as error:
        assert str(error)


@pytest.mark.parametrize(
    "recipe",
    ["[" * 600, "extends: 5", "extends: [esc50]", "5: 6", "null: 1", "true: false", "mixup: 2024-99-99", "\x00"],
)
def test_odd_recipes_are_refused_by_their_name(recipe: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=r"r\.yaml"):
        parse([], recipe.encode())


def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path) -> None:
    for name, base in (("a", "b"), ("b", "a"), ("c", "c")):
        (tmp_path / f"{name}.yaml").write_text(f"extends: {tmp_path / base}.yaml\n", encoding="utf-8")
    parser = RecipeParser((RunArguments,))
    for name in "abc":
        with pytest.raises(ValueError, match=r"extends itself, by way of .*\.yaml: leave that out"):
            parse_with_recipe(parser, ["--recipe", str(tmp_path / f"{name}.yaml")])
