"""The page of the demo: a sound and an r in; labels, tokens, milliseconds and the merge map out; two more tabs."""

from __future__ import annotations

from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile
import torch

from ..benchmarking.candidates import stock_ast
from ..benchmarking.circumstances import checkpoint_name
from ..benchmarking.inference import quick_speedups
from ..merging.complexity import complexity
from ..tagging.tagger import Tagger
from .over_time import add_live_tab, add_timeline_tab
from .visualization import merge_clip, plot_merges, tagger_that_merges

if TYPE_CHECKING:
    from gradio import Blocks
    from matplotlib.figure import Figure

ROUNDS = 5  # of timing; a page has no time for more
# Of a timed pass, about: in a smaller one the browser on the same machine is heard more than the model.
LEAST_MACS = 16e9
MOST_AT_ONCE = 16
TITLE = "FastAST: Audio Spectrogram Transformers that merge similar tokens"
SAMPLE_RATE = 16000  # of the sample clips
WHOLE_WORDS = ":is(#table, #events) :is(th, td) { word-break: normal; overflow-wrap: normal }"  # on a phone, too


@torch.inference_mode()
def compare(tagger: Tagger, file: str | None, r: int) -> tuple[dict[str, float], dict[str, float], str, Figure | None]:
    """Labels of transformers' own AST and of FastAST, a table of their times and tokens, and the merge map.

    Args:
        tagger: Model and front end.
        file: An audio file; None for none yet.
        r: Tokens to merge in each layer.

    Raises:
        AudioError: The recording can't be used, or its scores are not finite.
    """
    if file is None:
        return {}, {}, "Upload or record a sound.", None
    fast, own = merge_clip(tagger, file, r), stock_ast(tagger.model)
    stock = tagger.labels(tagger.scores(list(tagger.windows(file)), model=own), file)
    features = torch.from_numpy(fast.spectrogram)[None].to(tagger.device, tagger.dtype)
    macs = complexity(tagger.model.config, 0, num_frames=features.shape[1]).macs
    count = min(MOST_AT_ONCE, max(1, round(LEAST_MACS / macs)))
    plain, merged = quick_speedups(tagger.model, features.expand(count, -1, -1), [r], rounds=ROUNDS)
    what = "window" if fast.windows > 1 else "clip"
    at_once = f", {count} at once" if count > 1 else ""
    table = (
        f"| | stock | r = {r} |\n|---|---|---|\n"
        f"| ms a {what}{at_once} | {plain.ms_per_clip:.1f} | {merged.ms_per_clip:.1f} ({merged.speedup:.2f}×) |\n"
        f"| tokens | {fast.tokens[0]} | {fast.tokens[0]} → {merged.tokens_left} |"
    )
    if fast.windows > 1:
        table += f"\n\nLabels are of the whole recording, {fast.windows} windows; the picture shows the first."
    return as_scores(stock), as_scores(fast.labels), table, plot_merges(fast)


def as_scores(labels: list[dict[str, Any]]) -> dict[str, float]:
    """As Gradio's Label takes them."""
    return {label["label"]: label["score"] for label in labels}


def build_demo(model: str | None = None) -> Blocks:
    """The page.

    Args:
        model: Folder or Hub id of any AST; None for the bundled checkpoint.

    Raises:
        ImportError: gradio or matplotlib is not installed.
        ValueError: A file of `fastast export`.
    """
    import gradio

    tagger = tagger_that_merges(model, top_k=5)
    tokens, *later = tagger.model.token_schedule(tagger.feature_extractor.max_length, 0)
    most = max(8, tokens // (1 + len(later)) * 2)  # from where on the cap leaves next to nothing
    own = tagger.model.config.tome_r
    start = own if isinstance(own, int) and own > 0 else most // 4  # which merges about half

    def answer(file: str | None, r: float) -> tuple[Any, ...]:
        try:
            return compare(tagger, file, int(r))
        except (ValueError, OSError, MemoryError) as error:  # said on the page
            reason = str(error).replace(str(file), Path(file or "").name)  # no word of the server's folders
            raise gradio.Error(reason, duration=None, print_exception=False) from error

    with gradio.Blocks(title=TITLE, analytics_enabled=False) as page:
        names = list(tagger.model.config.id2label.values())
        known = ", ".join(f"`{name}`" for name in names[:12]) + (", …" if len(names) > 12 else "")
        named = f"`{checkpoint_name(model)}`" if model else "the bundled checkpoint"
        gradio.Markdown(
            f"# {TITLE}\nThe same weights without merging (stock AST) and with it (FastAST). "
            f"Model: {named}, which knows {len(names)} labels: {known}."
        )
        with gradio.Tab("Compare"), gradio.Row():
            with gradio.Column(scale=2):
                sound = gradio.Audio(type="filepath", label="Sound", sources=["upload", "microphone"])
                gradio.Examples(sample_clips(), sound, label="Samples")
                r = gradio.Slider(0, most, value=start, step=1, label="r: tokens merged in each layer")
                table = gradio.Markdown(elem_id="table")
            with gradio.Column(scale=3):
                with gradio.Row():
                    stock = gradio.Label(label="Stock AST", elem_id="stock")
                    fast = gradio.Label(label="FastAST", elem_id="fast")
                picture = gradio.Plot(show_label=False, elem_id="picture")
        for change in (sound.change, r.change):
            # Words and no animation, for the drawing of one would slow the model that is timed.
            begun = change(lambda: "Listening …", None, [table], show_progress="hidden")
            begun.then(answer, [sound, r], [stock, fast, table, picture], show_progress="hidden")
        add_live_tab(tagger)
        add_timeline_tab(tagger)
    return page


def open_demo(model: str | None = None, port: int | None = None) -> None:
    """Serve the page until Ctrl-C.

    Args:
        model: As of [`build_demo`].
        port: None for the first free one from 7860.

    Raises:
        OSError: The port is taken.
    """
    import gradio

    page = build_demo(model)
    # The browser's own fonts: gradio's come over the network, and without it in part.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    _, address, _ = page.launch(server_port=port, theme=theme, css=WHOLE_WORDS, quiet=True, prevent_thread_lock=True)
    print(f"The demo is at {address} (Ctrl-C ends it)", flush=True)
    page.block_thread()


def sample_clips() -> list[str]:
    """Files of two sounds made here, for a visitor without any: a siren and a knock on wood, in a temporary folder."""
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    siren = 0.3 * np.sin(2 * np.pi * (900 * seconds - 60 * np.cos(2 * np.pi * 2 * seconds)))
    since_knock = seconds % 0.25
    noise = np.random.default_rng(0).normal(size=SAMPLE_RATE)
    knock = 0.4 * np.exp(-since_knock / 0.015) * (np.sin(2 * np.pi * 400 * since_knock) + 0.3 * noise)
    folder = Path(mkdtemp(prefix="fastast-demo-"))
    for name, sound in (("siren", siren), ("knocking", knock)):
        soundfile.write(folder / f"{name}.wav", sound, SAMPLE_RATE)
    return [str(folder / "siren.wav"), str(folder / "knocking.wav")]
