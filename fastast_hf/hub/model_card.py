"""The card of a checkpoint, made of its files; what a person has written into it stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .card_check import unfounded_numbers
from .card_claims import checks_of, claims_of, names_of, unfounded_results
from .card_facts import CardFacts, seconds_of
from .card_metadata import LICENSE_NAMES, generated_fields, license_text, metadata, read_metadata, widget
from .card_metadata import SAMPLES as SAMPLES  # what a push takes along
from .card_tables import evaluation_results, results_section
from .card_text import bundled_lines, citations, limits, load_lines, merged
from .card_training import dataset_ids, training_section

CARD = "README.md"


def render_card(folder: Path, repo_id: str | None = None, license_id: str | None = None) -> str:
    """The card of a checkpoint's folder, from its config, its results files and the card that is there already.

    Args:
        folder: With `config.json`, `preprocessor_config.json` and weights; `results.json` of the training run and
            `results/*.json` of `fastast evaluate` where there are any.
        repo_id: `USER/NAME`, for the lines that load it.
        license_id: As the Hub names it, such as `cc-by-4.0`; None keeps the card's own.

    Raises:
        OSError: A file that is needed is not there.
        ValueError: A file can't be read or lacks something, the old card's markers or front matter are broken, or the
            card would hold a number that is in none of the files.
    """
    facts = CardFacts.read(folder)
    path = folder / CARD
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    own = read_metadata(old)
    place, licensed = repo_id or facts.name, license_id or own.get("license_name") or own.get("license")
    results, metrics = evaluation_results(facts)
    base = None if facts.started_here else facts.settings.get("model")
    made = generated_fields(base, dataset_ids(facts), metrics)
    data = metadata(own, made | {"widget": widget(folder, repo_id)}, place, results, license_id)
    text = merged(old, sections(facts, repo_id, licensed), title=place.rpartition("/")[2])
    card = f"---\n{data.to_yaml()}\n---\n{text}"
    if unfounded := unfounded_results(read_metadata(card).eval_results or [], facts):
        raise ValueError(f"the card's front matter has results of no results file: {', '.join(unfounded)}")
    return card


def sections(facts: CardFacts, repo_id: str | None, license_id: Any = None) -> dict[str, str]:
    """The generated sections by name; each number in them is one of the facts.

    Raises:
        ValueError: One is not.
    """
    made = {
        "model": f"{_model_section(facts)}\n\n{license_text(license_id, facts.settings.get('corpus'))}",
        "use": _use_section(facts, repo_id),
        "results": results_section(facts),
        "training": training_section(facts),
        "citations": citations(bool(facts.settings.get("teacher"))),
    }
    for name, text in made.items():
        if unfounded := unfounded_in(name, text, facts, license_id):
            raise ValueError(f"the card's section {name!r} has numbers of no file: {', '.join(unfounded)}")
    return made


def unfounded_in(section: str, text: str, facts: CardFacts, license_id: Any = None) -> list[str]:
    """The numbers of a section's text that are not what the files say in that place."""
    tables = checks_of(facts) if section == "results" else []
    return unfounded_numbers(text, claims_of(facts) + LICENSE_NAMES, tables, names_of(facts) | {str(license_id)})


def write_card(folder: Path, repo_id: str | None = None, license_id: str | None = None) -> Path:
    """Write [`render_card`]'s into a checkpoint's folder."""
    path = folder / CARD
    text = render_card(folder, repo_id, license_id)
    path.write_text(text, encoding="utf-8")
    return path


def _model_section(facts: CardFacts) -> str:
    config, extractor = facts.config, facts.extractor
    labels = [config["id2label"][key] for key in sorted(config["id2label"], key=int)]
    known = (
        ", ".join(f"`{name}`" for name in labels) if len(labels) <= 60 else f"{len(labels)}, of which `{labels[0]}`"
    )
    r = config.get("tome_r", 0)
    schedule = config.get("tome_schedule", "constant")
    merging = f"`tome_r = {r}`, {schedule}" if isinstance(r, int) else "an r for each layer"
    several = config.get("problem_type") == "multi_label_classification"
    return f"""An Audio Spectrogram Transformer that merges similar tokens in every layer (FastAST): \
{facts.parameters / 1e6:.1f} million parameters, {config["num_hidden_layers"]} layers of width {config["hidden_size"]}.
It hears {extractor["max_length"]} frames ({seconds_of(extractor["max_length"]):.2f} s) at \
{extractor["sampling_rate"]} Hz, mono, and gives {"each label a probability of its own" if several else "one label"}.

**Labels.** {known}.

**Merging.** By default {merging}; any other r can be given when it is loaded or called, without training.

{limits(bool(facts.tables))}"""


def _use_section(facts: CardFacts, repo_id: str | None) -> str:
    other = 8 if facts.config.get("tome_r", 0) == 0 else 0
    if repo_id is None and facts.bundled:
        return bundled_lines(other)
    return load_lines(repo_id or facts.name, other)
