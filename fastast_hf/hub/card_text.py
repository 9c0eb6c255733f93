"""The text of a card: generated sections between their markers, and whatever a person wrote around them."""

from __future__ import annotations

import re
from collections.abc import Mapping

HEADINGS = {"use": "Use", "results": "Results", "training": "Training", "citations": "Citations"}
_BEGIN, _END = "<!-- generated: {} -->", "<!-- end of {} -->"
_MARKER = re.compile(r"<!-- (generated:|end of) (\w+) -->")

LIMITS = """**Intended use and limits.** For clips like those it was trained on, with these labels: what it has not \
heard there it takes for one of them all the same. Recordings of other rooms, microphones and languages may be \
labelled worse{than_measured}. Not for decisions about persons."""
CITATIONS = """The model is an [AST][], merging is [Token Merging][], both together are from the [FastAST][] \
paper{distilled}. This checkpoint is not by their authors.

[FastAST]: https://arxiv.org/abs/2406.07676
[AST]: https://arxiv.org/abs/2104.01778
[Token Merging]: https://arxiv.org/abs/2210.09461"""
CMKD = "\n[CMKD]: https://arxiv.org/abs/2203.06760"


def limits(measured: bool) -> str:
    """What a checkpoint is for and what it is not; it points to the results where there are any."""
    return LIMITS.format(than_measured=" than the results below say" if measured else "")


def citations(distilled: bool) -> str:
    """Whose ideas a checkpoint is made of."""
    return CITATIONS.format(distilled=", distillation is [CMKD][]" if distilled else "") + (CMKD if distilled else "")


def load_lines(place: str, other_r: int) -> str:
    """How a checkpoint of the Hub, or of a folder, is loaded with the package and without."""
    return f"""With the package (`pip install fastast-hf`):

```python
import fastast_hf
from transformers import pipeline
from fastast_hf import FastASTForAudioClassification, Tagger

Tagger("{place}")("clip.wav")  # any file, any length
model = FastASTForAudioClassification.from_pretrained("{place}", tome_r={other_r})  # at another r
pipeline("audio-classification", "{place}")("clip.wav")  # opens files with the program ffmpeg; without it, use Tagger
```

With transformers alone (`transformers>=5.17,<6`), by the code that is in this repository:

```python
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

model = AutoModelForAudioClassification.from_pretrained("{place}", trust_remote_code=True, tome_r={other_r})
extractor = AutoFeatureExtractor.from_pretrained("{place}", trust_remote_code=True)
```"""


def bundled_lines(other_r: int) -> str:
    """How the checkpoint that comes with the package is loaded: it has no name on the Hub."""
    return f"""It comes with the package (`pip install fastast-hf`), where it is what is loaded by default:

```python
from fastast_hf import FastASTFeatureExtractor, FastASTForAudioClassification, Tagger
from fastast_hf.tagging.tagger import BUNDLED_CHECKPOINT

Tagger()("clip.wav")  # any file, any length
model = FastASTForAudioClassification.from_pretrained(BUNDLED_CHECKPOINT, tome_r={other_r})  # at another r
extractor = FastASTFeatureExtractor.from_pretrained(BUNDLED_CHECKPOINT)
```

`fastast classify clip.wav` does the same on the command line."""


def merged(old: str, made: Mapping[str, str], title: str) -> str:
    """The text of a card: the generated sections in their places in the old one, new ones after what was there.

    Args:
        old: The card that is there; empty for none.
        made: The generated sections.
        title: The heading of a new card, and of one that still has the heading it was generated with.

    Raises:
        ValueError: The old card's markers do not come in pairs, one pair after the other.
    """
    body = re.sub(r"\A---\n(?:.*?\n)?---\n", "", old, flags=re.DOTALL).strip("\n") or f"# {title}"
    check_markers(body)
    body = re.sub(rf"\A# .+(?=\n\n{re.escape(_BEGIN.format('model'))})", lambda _: f"# {title}", body)
    for name, text in made.items():
        begin, end = _BEGIN.format(name), _END.format(name)
        block = f"{begin}\n{text}\n{end}"
        if begin in body:
            body = body[: body.index(begin)] + block + body[body.index(end) + len(end) :]
        else:
            heading = f"## {HEADINGS[name]}\n\n" if name in HEADINGS else ""
            body += f"\n\n{heading}{block}"
    return body + "\n"


def check_markers(body: str) -> None:
    """Raise a ValueError for markers of generated sections that are swapped, doubled, nested or half gone."""
    opened, seen = "", set()
    for kind, name in _MARKER.findall(body):
        begins = kind == "generated:"
        if (opened and begins) or (not begins and opened != name) or (begins and name in seen):
            raise ValueError(_unpaired(name))
        opened = name if begins else ""
        seen.add(name)
    if opened:
        raise ValueError(_unpaired(opened))


def _unpaired(name: str) -> str:
    return (
        f"the card's markers of its section {name!r} are not one pair: have one line {_BEGIN.format(name)} above it "
        f"and one line {_END.format(name)} below, or neither, and the section is written anew"
    )
