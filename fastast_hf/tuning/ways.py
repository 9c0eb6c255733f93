"""A way to run a model on clips: in a dtype, at native length or padded, with any merges."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model.modeling_fastast import FastASTForAudioClassification
from ..tagging.tagger import Tagger
from .search import Arithmetic


@dataclass(frozen=True)
class Way:
    """A model in a dtype, with clips at a length.

    Attributes:
        dtype: By its name, such as `"int8"`.
        native: Whether clips keep their own length, in steps of 32 frames.
        tagger: Runs the model.
    """

    dtype: str
    native: bool
    tagger: Tagger

    @property
    def name(self) -> str:
        """As a table has it."""
        return f"{self.dtype}, {'native length' if self.native else 'padded'}"

    def prepared(self, windows: Sequence[np.ndarray]) -> Prepared:
        """Clips as the model's inputs, computed once."""
        return Prepared(self, [(places, dict(inputs)) for places, inputs in self.tagger.batches(windows)])


@dataclass(frozen=True)
class Prepared:
    """The inputs of some clips, to be run with one list of merges after the other.

    Attributes:
        way: That they were made by.
        batches: Places of the clips, and their inputs.
    """

    way: Way
    batches: list[tuple[list[int], dict[str, Tensor]]]

    def run_by(self, way: Way) -> Prepared:
        """The same inputs, for the model in another dtype."""
        return Prepared(way, self.batches)

    @property
    def lengths(self) -> Counter[int]:
        """How many clips have so many frames."""
        found: Counter[int] = Counter()
        for places, inputs in self.batches:
            found[inputs["input_values"].shape[1]] += len(places)
        return found

    @property
    def arithmetic(self) -> Arithmetic:
        """What merges save on these clips."""
        return Arithmetic(self.way.tagger.model.config, self.lengths)

    @torch.inference_mode()
    def logits(self, merges: Sequence[int]) -> Tensor:
        """(clips, labels) in float32 on the CPU."""
        tagger = self.way.tagger
        rows = torch.empty(sum(len(places) for places, _ in self.batches), tagger.model.config.num_labels)
        for places, inputs in self.batches:
            inputs = {**inputs, "input_values": inputs["input_values"].to(tagger.dtype)}
            rows[places] = tagger.model(**inputs, tome_r=list(merges)).logits.float().cpu()
        return rows


def taggers(
    model: FastASTForAudioClassification, dtype: str, lengths: Iterable[bool], settings: Mapping[str, Any]
) -> Iterator[tuple[bool, Tagger]]:
    """A tagger in a dtype for each length, native or not; they share the weights.

    Raises:
        ValueError: The device lacks the dtype.
    """
    first = Tagger(model, dtype=dtype, **settings)
    for native in lengths:
        other = copy.copy(first)
        other.native_length = native
        yield native, other
