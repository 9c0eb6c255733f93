"""transformers' audio-classification pipeline, with `tome_r` as a keyword."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import ASTModel, AudioClassificationPipeline

from ..model.modeling_fastast import FastASTModel
from ..model.token_merging import merges_per_layer
from .patching import apply_token_merging


class FastASTAudioClassificationPipeline(AudioClassificationPipeline):
    """The pipeline that `pipeline("audio-classification", …)` makes after `import fastast_hf`.

    `tome_r=20` merges tokens in any AST or FastAST model, given to `pipeline(…)` for good or to a call for once. The
    stock pipeline would drop it without a word. With other models, and without `tome_r`, it is the stock pipeline.
    """

    def _sanitize_parameters(self, tome_r: int | Sequence[int] | None = None, **kwargs: Any) -> tuple[Any, Any, Any]:
        preprocess, forward, postprocess = super()._sanitize_parameters(**kwargs)
        if tome_r is not None:
            encoders = [module for module in self.model.modules() if isinstance(module, ASTModel)]
            if not encoders:
                raise ValueError(f"tome_r was given for a {type(self.model).__name__}: only AST models merge tokens")
            for encoder in encoders:  # before anything is patched
                merges_per_layer(tome_r, encoder.config.num_hidden_layers)
            if not all(isinstance(encoder, FastASTModel) for encoder in encoders):
                apply_token_merging(self.model, 0)  # merging nothing, until forward is told to
            forward = {**forward, "tome_r": tome_r}
        return preprocess, forward, postprocess

    def _forward(self, model_inputs: Any, **forward_parameters: Any) -> Any:
        return self.model(**model_inputs, **forward_parameters)
