"""FastAST's layer: AST's own, with tokens merged between attention and MLP."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.audio_spectrogram_transformer.modeling_audio_spectrogram_transformer import (
    ASTMLP,
    ASTAttention,
    ASTEmbeddings,
    ASTLayer,
    eager_attention_forward,
)

from .configuration_fastast import FastASTConfig
from .cpu_linear import fast_linear
from .patch_grid import resize_position_embeddings
from .token_merging import capped_merges, fold_bias_into_heads, match_tokens, merge_assignment, merge_tokens

# SDPA with the size bias folded into the keys instead of a mask, so that mask-free (flash) kernels serve it.
AttentionInterface.register("sdpa_folded", sdpa_attention_forward)


class FastASTEmbeddings(ASTEmbeddings):
    """AST's embeddings for clips of any length: positions are cut or interpolated to the frames that came in."""

    def forward(self, input_values: Tensor) -> Tensor:
        """(B, T, mel bins) to (B, 2 + patches, C)."""
        patches = self.patch_embeddings(input_values)
        prefix = torch.cat([self.cls_token, self.distillation_token], dim=1).expand(patches.shape[0], -1, -1)
        embeddings = torch.cat([prefix, patches], dim=1)
        if input_values.shape[1:] == (self.config.max_length, self.config.num_mel_bins):
            return self.dropout(embeddings + self.position_embeddings)
        grid = self.config.patch_grid_of(input_values.shape[1])
        positions = resize_position_embeddings(self.position_embeddings, self.config.patch_grid, grid)
        return self.dropout(embeddings + positions)


class FastASTAttention(ASTAttention):
    """AST's attention with a bias per key, in the form that each attention implementation takes; returns the keys."""

    def forward(
        self,
        hidden_states: Tensor,
        key_bias: Tensor | None = None,
        merging: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """(B, N, C) and the bias (B, N) to (B, N, C), attention weights if the implementation has them, keys."""
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        query = fast_linear(self.q_proj, hidden_states, merging).view(shape).transpose(1, 2)
        key = keys = fast_linear(self.k_proj, hidden_states, merging).view(shape).transpose(1, 2)
        value = fast_linear(self.v_proj, hidden_states, merging).view(shape).transpose(1, 2)

        implementation = self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        mask = None
        if key_bias is not None:
            if "flash" in implementation or implementation == "sdpa_folded":
                query, key, value = fold_bias_into_heads(query, key, value, key_bias, self.scaling)
            elif implementation == "flex_attention":
                batch, heads, tokens, _ = query.shape
                bias = key_bias.to(query.dtype)[:, None, None, :]
                kwargs["position_bias"] = bias.expand(batch, heads, tokens, tokens)
            else:
                mask = key_bias.to(query.dtype)[:, None, None, :]
        dropout = self.attention_dropout if self.training else 0.0
        output, weights = attend(self, query, key, value, mask, dropout=dropout, scaling=self.scaling, **kwargs)
        output = output[..., : self.head_dim].reshape(*hidden_states.shape[:-1], -1).contiguous()
        return fast_linear(self.o_proj, output, merging), weights, keys


class FastASTMLP(ASTMLP):
    """AST's MLP, on [`fast_linear`] where tokens are merged."""

    def forward(self, hidden_states: Tensor, merging: bool = False) -> Tensor:
        """(B, N, C) to (B, N, C)."""
        gelu = merging and self.config.hidden_act == "gelu"
        hidden_states = fast_linear(self.fc1, hidden_states, merging, gelu)
        return fast_linear(self.fc2, hidden_states if gelu else self.activation_fn(hidden_states), merging)


class FastASTLayer(ASTLayer):
    """AST's layer with tokens merged between attention and MLP (FastAST §2.1).

    It keeps no state: what it does depends on its arguments alone, so it can be run again (gradient checkpointing),
    compiled, exported, replicated and shared by threads.
    """

    def __init__(self, config: FastASTConfig) -> None:
        # ASTLayer's own __init__ would build, and initialise, an attention only to have it replaced.
        GradientCheckpointingLayer.__init__(self)
        self.attention = FastASTAttention(config)
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = FastASTMLP(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden_states: Tensor,
        token_size: Tensor | None = None,
        key_bias: Tensor | None = None,
        r: int = 0,
        return_assignment: bool = False,
        padded: bool = True,
        metric: str = "keys",
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Attention, then merging, then MLP.

        Args:
            hidden_states: (B, N, C).
            token_size: (B, N) float32 patches in each token; None when all are 1.
            key_bias: (B, N) what attention adds to each key's scores.
            r: Tokens to merge away, before the cap.
            return_assignment: Whether to say where each of the N tokens went.
            padded: False where no token is padding, which spares the search for it.
            metric: The config's `tome_metric`.
            kwargs: For the attention function.

        Returns:
            Hidden states (B, N - r, C), sizes (B, N - r), and the assignment (B, N) or None.
        """
        r = capped_merges(hidden_states.shape[1], r)
        # A model that merges nothing computes as stock AST does, to the bit.
        merging = r > 0 or token_size is not None
        hidden_states, keys = self.attend(hidden_states, key_bias, merging, **kwargs)

        assignment = None
        if r > 0:
            plan = match_tokens(
                keys.sum(dim=1) if metric == "keys" else hidden_states, r, token_size if padded else None
            )
            if token_size is None:
                token_size = torch.ones(hidden_states.shape[:2], dtype=torch.float32, device=hidden_states.device)
            hidden_states, token_size = merge_tokens(hidden_states, token_size, plan)
            if return_assignment:
                assignment = merge_assignment(plan)
        del keys  # what the MLP finds free it need not ask the system for

        return self.feed_forward(hidden_states, merging), token_size, assignment

    def attend(
        self, hidden_states: Tensor, key_bias: Tensor | None, merging: bool, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """The layer's first half: (B, N, C) with what attention adds, and the keys (B, heads, N, C / heads)."""
        attended, _, keys = self.attention(self.layernorm_before(hidden_states), key_bias, merging, **kwargs)
        return self.dropout(attended) + hidden_states, keys

    def feed_forward(self, hidden_states: Tensor, merging: bool) -> Tensor:
        """Its second half: (B, N, C) with what the MLP adds."""
        output = self.mlp(self.layernorm_after(hidden_states), merging)
        return self.dropout(output) + hidden_states


def copy_checkpointing(source: nn.Module, target: nn.Module) -> None:
    """Have `target` recompute in the backward pass the layers that `source` recomputes."""
    layers = ([m for m in model.modules() if isinstance(m, ASTLayer)] for model in (source, target))
    for old, new in zip(*layers, strict=True):
        if old.gradient_checkpointing:
            new.gradient_checkpointing = True
            new._gradient_checkpointing_func = old._gradient_checkpointing_func
