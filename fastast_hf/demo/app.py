"""The page of the demo: a sound and an r in; labels, tokens, milliseconds and the merge map out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..benchmarking.candidates import stock_ast
from ..benchmarking.inference import quick_speedups
from ..merging.complexity import complexity
from ..tagging.tagger import Tagger
from .visualization import merge_clip, plot_merges

if TYPE_CHECKING:
    from gradio import Blocks
    from matplotlib.figure import Figure

ROUNDS = 5  # of timing; a page has no time for more
# Of a timed pass, about: in a smaller one the browser on the same machine is heard more than the model.
LEAST_MACS = 16e9
MOST_AT_ONCE = 16
TITLE = "FastAST: Audio Spectrogram Transformers that merge similar tokens"


@torch.inference_mode()
def compare(tagger: Tagger, file: str | None, r: int) -> tuple[dict[str, float], dict[str, float], str, Figure | None]:
    """Labels of transformers' own AST and of FastAST, a table of their times and tokens, and the merge map.

    Args:
        tagger: Model and front end.
        file: An audio file; None for none yet.
        r: Tokens to merge in each layer.
    """
    if file is None:
        return {}, {}, "Upload or record a sound.", None
    fast = merge_clip(tagger, file, r)
    features = torch.from_numpy(fast.spectrogram)[None].to(tagger.device, tagger.dtype)
    stock = tagger.labels_of(stock_ast(tagger.model)(features).logits)[0]
    macs = complexity(tagger.model.config, 0, num_frames=features.shape[1]).macs
    count = min(MOST_AT_ONCE, max(1, round(LEAST_MACS / macs)))
    plain, merged = quick_speedups(tagger.model, features.expand(count, -1, -1), [r], rounds=ROUNDS)
    at_once = f" a clip, {count} at once" if count > 1 else ""
    table = (
        f"| | stock AST | FastAST, r = {r} |\n|---|---|---|\n"
        f"| milliseconds{at_once} | {plain.ms_per_clip:.1f} | {merged.ms_per_clip:.1f} ({merged.speedup:.2f}×) |\n"
        f"| tokens entering each layer | {fast.tokens[0]} | {', '.join(map(str, fast.tokens))} |"
    )
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
    """
    import gradio

    tagger = Tagger(model, top_k=5)
    frames = tagger.feature_extractor.max_length
    highest = max(8, tagger.model.token_schedule(frames, 0)[0] // len(tagger.model.token_schedule(frames, 0)) * 2)
    start = tagger.model.config.tome_r

    def answer(file: str | None, r: float) -> tuple[Any, ...]:
        try:
            return compare(tagger, file, int(r))
        except ValueError as error:  # an unreadable sound: said on the page
            reason = str(error).replace(str(file), Path(file or "").name)  # no word of the server's folders
            raise gradio.Error(reason, duration=None, print_exception=False) from error

    with gradio.Blocks(title=TITLE, analytics_enabled=False) as page:
        names = list(tagger.model.config.id2label.values())
        known = ", ".join(f"`{name}`" for name in names[:12]) + (f" … {len(names)} in all" if len(names) > 12 else "")
        gradio.Markdown(
            f"# {TITLE}\nLabels, tokens and milliseconds of the same weights, without and with merging. "
            f"The model is {model or 'the bundled checkpoint'} and knows: {known}."
        )
        with gradio.Row():
            with gradio.Column():
                sound = gradio.Audio(type="filepath", label="sound", sources=["upload", "microphone"])
                r = gradio.Slider(
                    0,
                    highest,
                    value=start if isinstance(start, int) else 8,
                    step=1,
                    label="r: tokens merged per layer",
                )
            with gradio.Column():
                stock = gradio.Label(label="stock AST", elem_id="stock")
            with gradio.Column():
                fast = gradio.Label(label="FastAST", elem_id="fast")
        table = gradio.Markdown(elem_id="table")
        picture = gradio.Plot(label="patches coloured by the token they ended in", elem_id="picture")
        for change in (sound.change, r.change):
            # Words and no animation, for the drawing of one would slow the model that is timed.
            begun = change(lambda: "Listening …", None, [table], show_progress="hidden")
            begun.then(answer, [sound, r], [stock, fast, table, picture], show_progress="hidden")
    return page
