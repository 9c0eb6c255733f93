"""What the model gives besides logits: hidden states, attentions, merge maps, losses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from fastast_hf.model.modeling_fastast import FastASTForAudioClassification

Make = Callable[..., Any]


def recorded_sizes(model: FastASTForAudioClassification, clips: Tensor, **kwargs: Any) -> tuple[Any, list[Tensor]]:
    """The model's output, and the token sizes that each layer hands to the next."""
    sizes: list[Tensor] = []
    layers = model.audio_spectrogram_transformer.layers
    handles = [layer.register_forward_hook(lambda _m, _i, out: sizes.append(out[1])) for layer in layers]
    with torch.no_grad():
        output = model(clips, **kwargs)
    for handle in handles:
        handle.remove()
    return output, sizes


@pytest.mark.parametrize("r", [0, 8, [1, 30, 0], 100])
def test_hidden_states_and_attentions_shrink_with_the_schedule(
    r: int | list[int], make_fastast: Make, spectrogram: Make
) -> None:
    model = make_fastast(tome_r=r, attn_implementation="eager")
    with torch.no_grad():
        out = model(spectrogram(), output_hidden_states=True, output_attentions=True)
    entering = model.token_schedule()
    assert [hidden.shape[1] for hidden in out.hidden_states[:-1]] == entering
    assert [tuple(weights.shape) for weights in out.attentions] == [(2, 2, n, n) for n in entering]
    for weights in out.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


def test_nothing_is_recorded_unless_asked_for(make_fastast: Make, spectrogram: Make) -> None:
    out = make_fastast(tome_r=8)(spectrogram())
    assert (out.hidden_states, out.attentions, out.merge_map, out.loss) == (None, None, None, None)
    assert isinstance(make_fastast(tome_r=8)(spectrogram(), return_dict=False), tuple)


@pytest.mark.parametrize("frames", [128, 77])
@pytest.mark.parametrize("r", [0, 5, [0, 9, 0], 100])
def test_merge_map_says_where_every_patch_went(
    r: int | list[int], frames: int, make_fastast: Make, spectrogram: Make
) -> None:
    model = make_fastast(tome_r=r)
    patches = model.token_schedule(frames)[0] - 2
    out, sizes = recorded_sizes(model, spectrogram(frames=frames), output_merge_map=True)
    after = [*model.token_schedule(frames)[1:], None]
    assert len(out.merge_map) == 3
    for merge_map, size, num_tokens in zip(out.merge_map, sizes, after, strict=True):
        assert merge_map.dtype == torch.int64
        assert merge_map.shape == (2, patches)
        assert merge_map.min() >= 2  # no patch goes into CLS or the distillation token
        if size is None:  # nothing was merged so far
            assert merge_map.tolist() == [list(range(2, patches + 2))] * 2
            continue
        assert num_tokens in (None, size.shape[1])
        counts = torch.stack([torch.bincount(row, minlength=size.shape[1]) for row in merge_map])
        counts[:, :2] += 1  # the prefix tokens hold themselves
        assert torch.equal(counts.float(), size)


@pytest.mark.parametrize("layers", [[0], [2], [0, 2], [2, 0], [-1], (1,), range(3)])
def test_merge_maps_of_chosen_layers(layers: Sequence[int], make_fastast: Make, spectrogram: Make) -> None:
    model, clips = make_fastast(tome_r=8), spectrogram()
    every = model(clips, output_merge_map=True).merge_map
    chosen = model(clips, output_merge_map=layers).merge_map
    assert len(chosen) == len(layers)
    assert all(torch.equal(got, every[layer]) for got, layer in zip(chosen, layers, strict=True))
    base = model.audio_spectrogram_transformer(clips, output_merge_map=layers).merge_map
    assert all(torch.equal(one, other) for one, other in zip(base, chosen, strict=True))


@pytest.mark.parametrize("layers", [[3], [-4], [0, 12]])
def test_merge_map_of_a_layer_that_is_not_there_is_refused(
    layers: list[int], make_fastast: Make, spectrogram: Make
) -> None:
    with pytest.raises(
        ValueError, match=r"^output_merge_map is \[.*\] for a model of 3 layers: give True or a list of"
    ):
        make_fastast(tome_r=8)(spectrogram(), output_merge_map=layers)


def test_losses_are_asts(make_ast: Make, make_fastast: Make, spectrogram: Make) -> None:
    clips, single = spectrogram(), torch.tensor([0, 3])
    multiple = torch.tensor([[1.0, 0, 0, 1, 0], [0, 0, 1, 0, 0]])
    for labels, problem in ((single, "single_label_classification"), (multiple, "multi_label_classification")):
        expected = make_ast(problem_type=problem)(clips, labels=labels).loss
        model = make_fastast(problem_type=problem)
        assert torch.equal(model(clips, labels=labels).loss, expected)
        out = model(clips, labels=labels, tome_r=8, output_merge_map=[0])
        criterion = torch.nn.functional.cross_entropy
        if problem.startswith("multi"):
            criterion = torch.nn.functional.binary_cross_entropy_with_logits
        torch.testing.assert_close(out.loss, criterion(out.logits, labels))
