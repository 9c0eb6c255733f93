"""The page of the demo: a sound and an r in; labels, tokens, milliseconds and the merge map out."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch

from .tagging import Tagger
from .visualization import merge_clip, plot_merges

if TYPE_CHECKING:
    from gradio import Blocks
    from matplotlib.figure import Figure

ROUNDS = 5  # of timing; the fastest counts, for a page has no time for more
TITLE = "FastAST: Audio Spectrogram Transformers that merge alike tokens"


def compare(tagger: Tagger, file: str | None, r: int) -> tuple[dict[str, float], dict[str, float], str, Figure | None]:
    """Labels without and with merging, a table of times and tokens, and the merge map.

    Args:
        tagger: Model and front end.
        file: An audio file; None for none yet.
        r: Tokens to merge in each layer.
    """
    if file is None:
        return {}, {}, "Upload or record a sound.", None
    stock, fast = merge_clip(tagger, file, 0), merge_clip(tagger, file, r)
    features = torch.from_numpy(stock.spectrogram)[None].to(tagger.device, tagger.dtype)
    plain, merged = (milliseconds(tagger, features, value) for value in (0, r))
    table = (
        f"| | stock AST | FastAST, r = {r} |\n|---|---|---|\n"
        f"| milliseconds | {plain:.1f} | {merged:.1f} ({plain / merged:.2f}×) |\n"
        f"| tokens entering each layer | {stock.tokens[0]} | {', '.join(map(str, fast.tokens))} |"
    )
    return as_scores(stock.labels), as_scores(fast.labels), table, plot_merges(fast)


@torch.inference_mode()
def milliseconds(tagger: Tagger, features: torch.Tensor, r: int) -> float:
    """The fastest of a few passes through the model, after one to warm up."""
    times = []
    for _ in range(ROUNDS + 1):
        start = perf_counter()
        tagger.model(features, tome_r=r)
        if features.is_cuda:
            torch.cuda.synchronize()
        times.append(perf_counter() - start)
    return 1000 * min(times[1:])


def as_scores(labels: list[dict[str, Any]]) -> dict[str, float]:
    """As Gradio's Label takes them."""
    return {label["label"]: label["score"] for label in labels}


def build_demo(model: str | None = None, examples: list[Path] | None = None) -> Blocks:
    """The page.

    Args:
        model: Folder or Hub id of any AST; None for the bundled checkpoint.
        examples: Clips to offer.

    Raises:
        ImportError: gradio or matplotlib is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise ImportError("the demo needs gradio and matplotlib: pip install 'fastast-hf[demo]'") from error
    tagger = Tagger(model, top_k=5)
    frames = tagger.feature_extractor.max_length
    highest = max(8, tagger.model.token_schedule(frames, 0)[0] // len(tagger.model.token_schedule(frames, 0)) * 2)
    start = tagger.model.config.tome_r

    def answer(file: str | None, r: float) -> tuple[Any, ...]:
        try:
            return compare(tagger, file, int(r))
        except ValueError as error:  # an unreadable sound: said on the page
            reason = str(error).replace(str(file), Path(file or "").name)  # no word of the server's folders
            raise gradio.Error(reason, duration=None) from error

    with gradio.Blocks(title=TITLE, analytics_enabled=False) as page:
        names = list(tagger.model.config.id2label.values())
        known = ", ".join(names[:12]) + (f" … {len(names)} in all" if len(names) > 12 else "")
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
                if examples:
                    gradio.Examples([[str(example)] for example in examples], inputs=[sound])
            with gradio.Column():
                stock = gradio.Label(label="stock AST", elem_id="stock")
            with gradio.Column():
                fast = gradio.Label(label="FastAST", elem_id="fast")
        table = gradio.Markdown(elem_id="table")
        picture = gradio.Plot(label="patches coloured by the token they ended in")
        for change in (sound.change, r.change):
            change(answer, [sound, r], [stock, fast, table, picture])
    return page
