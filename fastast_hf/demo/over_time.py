"""The demo's tabs of sound over time: a microphone while it listens, and when something is heard in a recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tagging.live import LiveStream
from ..tagging.tagger import Tagger
from ..tagging.timelines.events import clock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVERY = 0.5  # s between looks at the microphone, and between its windows
THRESHOLD = 0.5  # of an event
MOST_EVENTS = 200  # in the table


def hear(
    tagger: Tagger, stream: LiveStream | None, sound: tuple[int, np.ndarray] | None
) -> tuple[LiveStream | None, dict[str, float] | None, str | None]:
    """Take what the microphone heard since the last look.

    Args:
        tagger: Model and front end.
        stream: Of what it heard before; None at the beginning.
        sound: Rate in Hz, and samples (n,) or (n, channels); None for none.

    Returns:
        The stream; the labels now, and a line on time and speed: None where they stay as they are.

    Raises:
        AudioError: The sound can't be used.
    """
    if sound is None:
        return stream, None, None
    rate, samples = sound
    if stream is None:
        stream = tagger.listen(None, rate)
    moments = stream.push(samples)
    if not moments:
        early = stream.seconds < stream.window
        return stream, None, f"The first labels come after {stream.window:.1f} s." if early else None
    labels = {label["label"]: label["score"] for label in stream.best(moments[-1])}
    speed = f"latency {1000 * stream.latency():.0f} ms · real-time factor {stream.real_time_factor():.2f}"
    return stream, labels, f"{clock(stream.seconds)} · {speed}"


def over_time(tagger: Tagger, file: str | None) -> tuple[Figure | None, str]:
    """A recording's picture over time, and a table of its events.

    Raises:
        AudioError: The recording can't be used.
    """
    if file is None:
        return None, "Upload or record a sound."
    extractor = tagger.feature_extractor
    window = extractor.samples_of(extractor.max_length) / extractor.sampling_rate
    timeline = tagger.timeline(file, hop=window / 4)
    events = timeline.events(THRESHOLD)
    rows = "".join(
        f"| {clock(event.start, 1)} | {clock(event.end, 1)} | {event.label.replace('|', ' ')} | {event.score:.2f} |\n"
        for event in events[:MOST_EVENTS]
    )
    table = f"| start | end | label | score |\n|---|---|---|---|\n{rows}\n" if rows else ""
    shown = f", the first {MOST_EVENTS} here" if len(events) > MOST_EVENTS else ""
    about = (
        f"{len(events)} events with scores of {THRESHOLD:g} or more{shown}. Windows of {window:.1f} s, "
        f"{window / 4:.1f} s apart."
    )
    return timeline.plot(), table + about


def add_live_tab(tagger: Tagger) -> None:
    """Add the microphone to the page that is being built."""
    import gradio

    def answer(stream: Any, sound: Any) -> tuple[Any, ...]:
        try:
            stream, labels, line = hear(tagger, stream, sound)
        except (ValueError, MemoryError) as error:
            raise gradio.Error(str(error), duration=None, print_exception=False) from error
        return stream, *(gradio.skip() if shown is None else shown for shown in (labels, line))

    with gradio.Tab("Live"), gradio.Row():
        with gradio.Column(scale=2):
            microphone = gradio.Audio(type="numpy", label="Microphone", sources=["microphone"], streaming=True)
            line = gradio.Markdown("Press Record: the labels follow the sound.", elem_id="live-line")
        with gradio.Column(scale=3):
            now = gradio.Label(label="Now", elem_id="live")
    stream = gradio.State(None)
    microphone.start_recording(lambda: None, None, [stream], show_progress="hidden")
    microphone.stream(
        answer, [stream, microphone], [stream, now, line], stream_every=EVERY, show_progress="hidden", time_limit=None
    )


def add_timeline_tab(tagger: Tagger) -> None:
    """Add the timeline of a recording to the page that is being built."""
    import gradio

    def answer(file: str | None) -> tuple[Any, ...]:
        try:
            return over_time(tagger, file)
        except (ValueError, OSError, MemoryError) as error:
            reason = str(error).replace(str(file), Path(file or "").name)  # no word of the server's folders
            raise gradio.Error(reason, duration=None, print_exception=False) from error

    with gradio.Tab("Over time"):
        recording = gradio.Audio(type="filepath", label="Recording", sources=["upload", "microphone"])
        picture = gradio.Plot(show_label=False, elem_id="timeline")
        table = gradio.Markdown("When is something heard in a recording?", elem_id="events")
    begun = recording.change(lambda: "Listening …", None, [table], show_progress="hidden")
    begun.then(answer, [recording], [picture, table], show_progress="hidden")
