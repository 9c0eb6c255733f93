"""Token Merging in an AST, written for the reader and not for the machine: float64, one token and one pair at a time.

From the maths of ToMe (Bolya et al. 2023, §3) and FastAST (Behera et al. 2024, §2). It shares no code with the
package. A token is a value, the set of input tokens that went into it, and their number; a layer is the loop that the
papers describe. Padding is a token of size 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

CLS, DISTILLATION = 0, 1


@dataclass
class Token:
    """One token: its value, how many patches it stands for, and which input tokens are in it."""

    value: np.ndarray
    size: float
    members: frozenset[int]


def new_tokens(values: np.ndarray, sizes: list[float] | None = None) -> list[Token]:
    """One token for each row of values; of size 1 unless told otherwise."""
    sizes = [1.0] * len(values) if sizes is None else sizes
    rows = zip(values, sizes, strict=True)
    return [Token(np.asarray(value, np.float64), size, frozenset([i])) for i, (value, size) in enumerate(rows)]


def allowed_merges(num_tokens: int, r: int) -> int:
    """No layer merges more than half of its patch tokens."""
    return min(r, (num_tokens - 2) // 2) if num_tokens > 2 else 0


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of two keys; 0 when one of them is zero."""
    dot = sum(float(x) * float(y) for x, y in zip(a, b, strict=True))
    norms = math.sqrt(sum(float(x) ** 2 for x in a)) * math.sqrt(sum(float(y) ** 2 for y in b))
    return dot / norms if norms > 0 else 0.0


def choose_pairs(keys: np.ndarray, tokens: list[Token], r: int) -> list[tuple[int, int]]:
    """The r pairs (even token, odd token) to merge, best first; of equals, the one with the lowest index.

    CLS never gives itself up and nobody may join the distillation token. Padding goes first, wherever it goes; a real
    token joins padding only when there is no other odd token left.
    """
    proposals = []
    for even in range(0, len(tokens), 2):
        if even == CLS:
            continue
        partner, best = None, -math.inf
        for odd in range(1, len(tokens), 2):
            if odd == DISTILLATION:
                continue
            similarity = -2.0 if tokens[odd].size == 0 else cosine(keys[even], keys[odd])
            if tokens[even].size == 0:
                similarity = 2.0
            if similarity > best:
                partner, best = odd, similarity
        if partner is not None:
            proposals.append((-best, even, partner))
    proposals.sort()
    return [(even, odd) for _, even, odd in proposals[:r]]


def merge(tokens: list[Token], pairs: list[tuple[int, int]]) -> list[Token]:
    """Replace each odd token and all that join it by their mean, weighted by size.

    The new order is CLS, distillation, the even tokens that stayed, the odd tokens. Where nothing is merged, nothing
    moves.
    """
    if not pairs:
        return tokens
    joined: dict[int, list[int]] = {}
    for even, odd in pairs:
        joined.setdefault(odd, []).append(even)
    gone = {even for even, _ in pairs}

    after = []
    for index, token in enumerate(tokens):
        group = [token] + [tokens[even] for even in joined.get(index, [])]
        size = sum(member.size for member in group)
        value = token.value
        if len(group) > 1 and size > 0:
            value = sum(member.size * member.value for member in group) / size
        after.append(Token(value, size, frozenset().union(*(member.members for member in group))))

    evens = [i for i in range(0, len(tokens), 2) if i not in gone and i != CLS]
    odds = [i for i in range(1, len(tokens), 2) if i != DISTILLATION]
    return [after[i] for i in [CLS, DISTILLATION, *evens, *odds] if i < len(tokens)]


def attention(
    queries: np.ndarray, keys: np.ndarray, values: np.ndarray, tokens: list[Token], proportional: bool
) -> np.ndarray:
    """One head of attention in which a token of size s counts as s tokens (or as one) and padding as none."""
    out = np.zeros_like(values)
    for i, query in enumerate(queries):
        scores = [float(query @ key) / math.sqrt(len(query)) for key in keys]
        highest = max(scores)
        counts = [token.size if proportional else float(token.size > 0) for token in tokens]
        weights = [count * math.exp(score - highest) for count, score in zip(counts, scores, strict=True)]
        out[i] = sum(weight * value for weight, value in zip(weights, values, strict=True)) / sum(weights)
    return out


@dataclass
class Output:
    """What the reference model gives: one clip's logits, and tokens before the layers and after each of them."""

    logits: np.ndarray
    tokens: list[list[Token]]

    def merge_map(self, layer: int) -> list[int]:
        """For each input patch, the token that it is in after a layer."""
        place = {member: i for i, token in enumerate(self.tokens[layer + 1]) for member in token.members}
        return [place[patch] for patch in range(2, len(place))]


class ReferenceAST:
    """An `ASTForAudioClassification` of given weights with merging in every layer, for one clip at a time."""

    def __init__(
        self, state: dict[str, np.ndarray], heads: int, patch: int, stride: tuple[int, int], metric: str
    ) -> None:
        prefix = "audio_spectrogram_transformer."
        self.weights = {name.removeprefix(prefix): np.asarray(value, np.float64) for name, value in state.items()}
        self.heads, self.patch, self.stride, self.metric = heads, patch, stride, metric

    @classmethod
    def of(cls, model: Any) -> ReferenceAST:
        """The reference with the weights of a model."""
        config = model.config
        state = {name: value.double().numpy() for name, value in model.state_dict().items()}
        strides = (config.frequency_stride, config.time_stride)
        return cls(state, config.num_attention_heads, config.patch_size, strides, config.tome_metric)

    def __call__(
        self,
        spectrogram: np.ndarray,
        merges: list[int],
        proportional: bool = True,
        real: list[bool] | None = None,
    ) -> Output:
        """`spectrogram` is (frames, mel bins), `merges` r for each layer, `real` False for tokens that are padding."""
        values = self._embed(np.asarray(spectrogram, np.float64))
        tokens = new_tokens(values, None if real is None else [float(is_real) for is_real in real])
        history = [tokens]
        for layer, r in enumerate(merges):
            tokens = self._layer(f"layers.{layer}.", tokens, r, proportional)
            history.append(tokens)
        last = [self._norm("layernorm", token.value) for token in tokens]
        pooled = (last[CLS] + last[DISTILLATION]) / 2
        logits = self._linear("classifier.dense", self._norm("classifier.layernorm", pooled))
        return Output(logits, history)

    def _embed(self, spectrogram: np.ndarray) -> np.ndarray:
        kernel = self.weights["embeddings.patch_embeddings.projection.weight"]
        bias = self.weights["embeddings.patch_embeddings.projection.bias"]
        frames, bins = spectrogram.shape
        rows = [self.weights["embeddings.cls_token"][0, 0], self.weights["embeddings.distillation_token"][0, 0]]
        for low in range(0, bins - self.patch + 1, self.stride[0]):
            for start in range(0, frames - self.patch + 1, self.stride[1]):
                window = spectrogram[start : start + self.patch, low : low + self.patch].T
                rows.append(np.array([float((window * filter_[0]).sum()) for filter_ in kernel]) + bias)
        return np.stack(rows) + self.weights["embeddings.position_embeddings"][0]

    def _layer(self, name: str, tokens: list[Token], r: int, proportional: bool) -> list[Token]:
        normed = [self._norm(name + "layernorm_before", token.value) for token in tokens]
        query, key, value = (
            np.stack([self._linear(f"{name}attention.{kind}_proj", x) for x in normed]) for kind in "qkv"
        )
        width = query.shape[1] // self.heads
        heads = [slice(head * width, (head + 1) * width) for head in range(self.heads)]
        mixed = np.concatenate(
            [attention(query[:, h], key[:, h], value[:, h], tokens, proportional) for h in heads], axis=1
        )
        attended = [
            Token(token.value + self._linear(name + "attention.o_proj", row), token.size, token.members)
            for token, row in zip(tokens, mixed, strict=True)
        ]

        metric = sum(key[:, h] for h in heads) / self.heads
        if self.metric == "hidden_states":
            metric = np.stack([token.value for token in attended])
        merged = merge(attended, choose_pairs(metric, attended, allowed_merges(len(attended), r)))
        return [Token(token.value + self._mlp(name, token.value), token.size, token.members) for token in merged]

    def _mlp(self, name: str, value: np.ndarray) -> np.ndarray:
        hidden = self._linear(name + "mlp.fc1", self._norm(name + "layernorm_after", value))
        activated = np.array([x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in hidden])
        return self._linear(name + "mlp.fc2", activated)

    def _linear(self, name: str, value: np.ndarray) -> np.ndarray:
        return self.weights[name + ".weight"] @ value + self.weights[name + ".bias"]

    def _norm(self, name: str, value: np.ndarray) -> np.ndarray:
        centred = value - value.mean()
        scale = math.sqrt(float((centred**2).mean()) + 1e-12)
        return centred / scale * self.weights[name + ".weight"] + self.weights[name + ".bias"]
