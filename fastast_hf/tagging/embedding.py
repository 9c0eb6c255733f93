"""Recordings to vectors, for search and for classifiers of one's own: what AST's head sees, or every token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature

from ..audio import AudioError, name_of
from ..model.token_merging import NUM_PREFIX_TOKENS
from ..onnx.runtime import OnnxModel
from .recordings import as_list, stream_recordings

if TYPE_CHECKING:
    from .tagger import Tagger


class Tokens(NamedTuple):
    """The tokens of a recording after the last layer and its norm, the class and the distillation token first.

    Attributes:
        embeddings: (windows, tokens, hidden size) float32.
        sizes: (windows, tokens) float32: how many patches each was merged from, 0 for padding under a frame mask. A
            mean over tokens is one over patches where these are its weights.
    """

    embeddings: np.ndarray
    sizes: np.ndarray


def embed(
    tagger: Tagger, sources: Any, *, tokens: bool = False, progress: bool | None = None, workers: int | None = None
) -> Any:
    """Vectors of recordings, to be compared or learnt from.

    A recording's vector is what AST's head sees: the mean of the class token and the distillation token after the last
    norm. Of a recording longer than the model's input it is the mean over its windows.

    Args:
        tagger: Model, front end and merging.
        sources: As of a call of the tagger.
        tokens: Give every token instead, and of how many patches it was merged.
        progress: As of a call of the tagger.
        workers: As of a call of the tagger.

    Returns:
        (N, hidden size) float32 for N recordings, (hidden size,) for one. With `tokens`, [`Tokens`] of each.

    Raises:
        AudioError: A recording can't be used.
        ValueError: The model is a file of `fastast export`, which gives labels alone.

    Example:
        >>> from fastast_hf import Tagger
        >>> Tagger(tome_r=8).embed([(np.sin(np.arange(16000) / 6), 16000)] * 2).shape
        (2, 192)
    """
    listed, one = as_list(sources)
    results = list(stream_embeddings(tagger, listed, tokens=tokens, progress=progress, workers=workers))
    if one:
        return results[0]
    if tokens:
        return results
    return np.stack(results) if results else np.empty((0, tagger.model.config.hidden_size), np.float32)


def stream_embeddings(
    tagger: Tagger,
    sources: Iterable[Any],
    *,
    tokens: bool = False,
    on_error: str = "raise",
    progress: bool | None = None,
    workers: int | None = None,
) -> Iterator[Any]:
    """Each recording's vector, as soon as it is known: [`embed`] for any number of files.

    Args:
        tagger: As of [`embed`], like the rest.
        sources: Any number of recordings.
        tokens: Give every token instead.
        on_error: `"raise"` at the first recording that can't be used, or `"return"` its error in its place.
        progress: Whether to show a progress bar.
        workers: Threads that read files.

    Yields:
        (hidden size,) float32, [`Tokens`], or the error.
    """
    if isinstance(tagger.model, OnnxModel):
        raise ValueError(f"{tagger.model.path} gives labels alone: give the checkpoint that it was exported from")
    encoder = tagger.model.audio_spectrogram_transformer

    def forward(inputs: BatchFeature) -> Tensor:
        if not tokens:
            return encoder(**inputs).pooler_output
        outputs = encoder(**inputs, output_merge_map=[-1])
        (token_of_patch,) = outputs.merge_map
        patches = torch.ones_like(token_of_patch, dtype=torch.float32)
        if "attention_mask" in inputs:
            patches = encoder._token_size(inputs["input_values"], inputs["attention_mask"])[:, NUM_PREFIX_TOKENS:]
        sizes = torch.zeros(outputs.last_hidden_state.shape[:2], device=patches.device)
        sizes[:, :NUM_PREFIX_TOKENS] = 1
        sizes.scatter_add_(1, token_of_patch, patches)
        return torch.cat([outputs.last_hidden_state.float(), sizes.unsqueeze(2)], dim=2)

    def finish(rows: list[Tensor], source: Any) -> Any:
        windows = torch.stack(rows)
        if not windows.isfinite().all():
            raise AudioError(f"{name_of(source)}: its vector is not finite; check the model's weights and front end")
        if not tokens:
            return windows.mean(dim=0).numpy()
        return Tokens(windows[..., :-1].numpy(), windows[..., -1].numpy())

    return stream_recordings(
        tagger,
        sources,
        lambda windows: tagger.run(windows, forward),
        finish,
        on_error=on_error,
        progress=progress,
        workers=workers,
    )
