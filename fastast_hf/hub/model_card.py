"""The card of a checkpoint, made of its results files; what a person has written into it stays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from .card_facts import CardFacts, unfounded_numbers
from .card_tables import evaluation_results, results_section
from .card_training import dataset_ids, training_section

CARD = "README.md"
SAMPLES = "samples"  # a folder of clips that the Hub's page offers to try
_BEGIN, _END = "<!-- generated: {} -->", "<!-- end of {} -->"

CITATIONS = """The model is an [AST][], merging is [Token Merging][], both together are from the [FastAST][] \
paper{distilled}. This checkpoint is not by their authors.

[FastAST]: https://arxiv.org/abs/2406.07676
[AST]: https://arxiv.org/abs/2104.01778
[Token Merging]: https://arxiv.org/abs/2210.09461"""
CMKD = "\n[CMKD]: https://arxiv.org/abs/2203.06760"


def render_card(folder: Path, repo_id: str | None = None, license_id: str | None = None) -> str:
    """The card of a checkpoint's folder, from its config, its results files and the card that is there already.

    Args:
        folder: With `config.json`, `preprocessor_config.json` and weights; `results.json` of the training run and
            `results/*.json` of `fastast evaluate` where there are any.
        repo_id: `USER/NAME`, for the lines that load it.
        license_id: As the Hub names it, such as `cc-by-4.0`; None keeps the card's own.

    Raises:
        OSError: A file that is needed is not there.
        ValueError: A results file can't be read, or the card would hold a number that is in none of them.
    """
    facts = CardFacts.read(folder)
    path = folder / CARD
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    text = merged(old, sections(facts, repo_id or facts.name), title=(repo_id or facts.name).rpartition("/")[2])
    own = ModelCard(old, ignore_metadata_errors=True).data.to_dict() if old.startswith("---") else {}
    return f"---\n{metadata(facts, own, folder, repo_id, license_id).to_yaml()}\n---\n{text}"


def sections(facts: CardFacts, place: str) -> dict[str, str]:
    """The generated sections by name; each number in them is one of the facts.

    Raises:
        ValueError: One is not.
    """
    made = {
        "model": _model_section(facts),
        "use": _use_section(facts, place),
        "results": results_section(facts),
        "training": training_section(facts),
        "citations": citations(bool(facts.settings.get("teacher"))),
    }
    known = facts.numbers()
    for name, text in made.items():
        if unfounded := unfounded_numbers(text, known):
            raise ValueError(f"the card's section {name!r} has numbers of no results file: {', '.join(unfounded)}")
    return made


HEADINGS = {"use": "Use", "results": "Results", "training": "Training", "citations": "Citations"}


def merged(old: str, made: Mapping[str, str], title: str) -> str:
    """The text of a card: the generated sections in their places in the old one, new ones after what was there.

    Args:
        old: The card that is there; empty for none.
        made: The generated sections.
        title: The heading of a new card, and of one that still has the heading it was generated with.
    """
    body = re.sub(r"\A---\n.*?\n---\n", "", old, flags=re.DOTALL).strip("\n") or f"# {title}"
    body = re.sub(rf"\A# .+(?=\n\n{re.escape(_BEGIN.format('model'))})", f"# {title}", body)
    for name, text in made.items():
        begin, end = _BEGIN.format(name), _END.format(name)
        block = f"{begin}\n{text}\n{end}"
        if begin in body and end in body:
            start, stop = body.index(begin), body.index(end) + len(end)
            body = body[:start] + block + body[stop:]
        else:
            heading = f"## {HEADINGS[name]}\n\n" if name in HEADINGS else ""
            body += f"\n\n{heading}{block}"
    return body + "\n"


def metadata(
    facts: CardFacts, own: dict[str, Any], folder: Path, repo_id: str | None, license_id: str | None
) -> ModelCardData:
    """What the Hub reads of a card; fields that a person has added stay."""
    base = facts.settings.get("model")
    results, metrics = evaluation_results(facts)
    made: dict[str, Any] = {
        "pipeline_tag": "audio-classification",
        "library_name": "transformers",
        "tags": sorted({*own.pop("tags", []), "audio-spectrogram-transformer", "token-merging", "fastast"}),
        "base_model": base if _is_hub_id(base) else None,
        "datasets": dataset_ids(facts) or None,
        "metrics": metrics or None,
        "widget": _widget(folder, repo_id),
    }
    if license_id is not None:
        own["license"] = license_id
    for generated in ("model-index", "model_name"):
        own.pop(generated, None)
    fields = own | {key: value for key, value in made.items() if value is not None}
    eval_results = [EvalResult(**result) for result in results] or None
    return ModelCardData(eval_results=eval_results, model_name=repo_id or facts.name, **fields)


def write_card(folder: Path, repo_id: str | None = None, license_id: str | None = None) -> Path:
    """Write [`render_card`]'s into a checkpoint's folder."""
    path = folder / CARD
    text = render_card(folder, repo_id, license_id)
    path.write_text(text, encoding="utf-8")
    return path


def _is_hub_id(name: Any) -> bool:
    """Whether a setting names a checkpoint of the Hub, not a folder or timm's."""
    known = isinstance(name, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", name) is not None
    return known and not name.startswith("timm/") and not Path(name).exists()


def _widget(folder: Path, repo_id: str | None) -> list[dict[str, str]] | None:
    clips = sorted(path for path in (folder / SAMPLES).glob("*") if path.suffix in (".wav", ".flac", ".mp3", ".ogg"))
    if not clips or repo_id is None:
        return None
    address = f"https://huggingface.co/{repo_id}/resolve/main/{SAMPLES}"
    return [{"example_title": clip.stem.replace("_", " "), "src": f"{address}/{clip.name}"} for clip in clips]


def citations(distilled: bool) -> str:
    """Whose ideas a checkpoint is made of."""
    return CITATIONS.format(distilled=", distillation is [CMKD][]" if distilled else "") + (CMKD if distilled else "")


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
    return f"""An Audio Spectrogram Transformer that merges alike tokens in every layer (FastAST): \
{facts.parameters / 1e6:.1f} million parameters, {config["num_hidden_layers"]} layers of width {config["hidden_size"]}.
It hears {extractor["max_length"]} frames ({extractor["max_length"] / 100:.2f} s) at \
{extractor["sampling_rate"]} Hz, mono, and gives {"each label a probability of its own" if several else "one label"}.

**Labels.** {known}.

**Merging.** By default {merging}; any other r can be given when it is loaded or called, without training.

**Intended use and limits.** For clips like those it was trained on, with these labels: what it has not heard there \
it takes for one of them all the same. Recordings of other rooms, microphones and languages may be labelled worse \
than the results below say. Not for decisions about persons."""


def _use_section(facts: CardFacts, place: str) -> str:
    r = facts.config.get("tome_r", 0)
    other = 8 if r == 0 else 0
    return f"""With the package (`pip install fastast-hf`):

```python
import fastast_hf
from transformers import pipeline
from fastast_hf import FastASTForAudioClassification, Tagger

Tagger("{place}")("clip.wav")  # any file, any length
pipeline("audio-classification", "{place}")("clip.wav")  # transformers reads files with ffmpeg
model = FastASTForAudioClassification.from_pretrained("{place}", tome_r={other})  # at another r
```

With transformers alone (`transformers>=5.17,<6`), by the code that is in this repository:

```python
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

model = AutoModelForAudioClassification.from_pretrained("{place}", trust_remote_code=True, tome_r={other})
extractor = AutoFeatureExtractor.from_pretrained("{place}", trust_remote_code=True)
```"""
