"""The demo's tabs of sound over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastast_hf import AudioError, Tagger, load_audio
from fastast_hf.demo.over_time import hear, over_time

SPEECH = Path(__file__).parents[1] / "data" / "speech"


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger(device="cpu", top_k=3)


def test_the_microphones_labels_are_those_of_its_last_window(tagger: Tagger) -> None:
    samples = (32767 * np.concatenate([load_audio(SPEECH / "yes_slt.wav")] * 2)).astype(np.int16)
    stream, labels, line = hear(tagger, None, None)
    assert (stream, labels, line) == (None, None, None)
    stream, labels, line = hear(tagger, stream, (16000, samples[:8000]))
    assert labels is None and line == "The first labels come after 1.3 s."
    for start in range(8000, len(samples), 8000):
        stream, labels, line = hear(tagger, stream, (16000, np.stack([samples[start : start + 8000]] * 2, axis=1)))
    last = tagger.timeline((samples, 16000), hop=0.5)
    moment = list(last)[-2 if len(samples) > 28_720 else -1]  # the tail is known when it is closed
    names = dict(zip(last.labels, moment.scores, strict=True))
    assert labels is not None and len(labels) == 3
    assert labels == pytest.approx({label: names[label] for label in labels}, abs=1e-5)
    assert line.startswith("0:00:02 · latency ") and "real-time factor" in line
    with pytest.raises(AudioError, match="sampling rate 10 Hz"):
        hear(tagger, None, (10, samples))


def test_a_recording_has_a_picture_and_a_row_for_each_event(tagger: Tagger) -> None:
    pytest.importorskip("matplotlib")
    assert over_time(tagger, None) == (None, "Upload or record a sound.")
    file = str(SPEECH / "yes_slt.wav")
    figure, table = over_time(tagger, file)
    events = tagger.timeline(file, hop=1.295 / 4).events(0.5)
    *rows, about = [line for line in table.splitlines() if line]
    assert figure is not None and [row.split(" | ")[2] for row in rows[2:]] == [event.label for event in events]
    assert about == f"{len(events)} events with scores of 0.5 or more. Windows of 1.3 s, 0.3 s apart."


def test_the_page_has_both_tabs(tagger: Tagger) -> None:
    pytest.importorskip("gradio")
    from fastast_hf.demo.app import build_demo

    blocks: list[Any] = list(build_demo().blocks.values())
    assert [block.label for block in blocks if type(block).__name__ == "Tab"] == ["Compare", "Live", "Over time"]
