"""PaSST against a slow reference, what it leaves out in training, and what transformers asks of a model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import randomise
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForAudioClassification

from fastast_hf.distillation.teachers import passt
from fastast_hf.distillation.teachers.passt import PasstConfig, PasstEmbeddings, PasstForAudioClassification

# 4 rows and 9 columns of patches.
TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_mel_bins": 48,
    "max_length": 98,
    "num_labels": 3,
}

PATCHOUTS = [
    # columns, rows and single patches to leave out; patches that remain of 4 x 9
    (0, 0, 0, 36),
    (4, 0, 0, 20),
    (0, 3, 0, 9),
    (4, 1, 0, 15),
    (0, 0, 7, 29),
    (5, 2, 3, 5),
]

LOSSES = [
    ("single_label_classification", torch.tensor([0, 2]), F.cross_entropy),
    ("multi_label_classification", torch.eye(3)[:2], F.binary_cross_entropy_with_logits),
]

REFUSED_CONFIGS = [
    ({"time_patchout": -1}, "time_patchout is -1"),
    ({"unstructured_patchout": -2}, "unstructured_patchout is -2"),
    ({"num_mel_bins": 64, "frequency_stride": 8}, "64 mel bins at stride 8 make 7 rows of patches"),
    ({"max_length": 10}, "10 frames and 48 mel bins is smaller than one patch of 16"),
]

REFUSED_INPUTS = [
    # shape, the reason that the error gives
    ((2, 98, 40), r"\(2, 98, 40\); this PaSST takes \(batch, frames, 48 mel bins\)"),
    ((98, 48), r"\(98, 48\)"),
    ((2, 15, 48), "15 frames is shorter than one patch of 16"),
]


def make_passt(seed: int = 0, **fields: Any) -> PasstForAudioClassification:
    return randomise(PasstForAudioClassification(PasstConfig(**{**TINY, **fields})), seed).eval()


def clip(frames: int = 98, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, frames, 48, generator=torch.Generator().manual_seed(seed))


def labelled_embeddings(**fields: Any) -> PasstEmbeddings:
    """Embeddings in which each patch token says where it is from: its row and its column."""
    embeddings = PasstEmbeddings(PasstConfig(**{**TINY, **fields})).requires_grad_(False)
    for parameter in embeddings.parameters():
        parameter.zero_()
    rows, columns = embeddings.config.position_grid
    embeddings.frequency_positions[0, :, 0, 0] = torch.arange(rows)
    embeddings.time_positions[0, 0, :, 1] = torch.arange(columns)
    return embeddings


def places(embeddings: PasstEmbeddings, frames: int = 98) -> list[tuple[int, int]]:
    """(row, column) of each patch token, which must be the same throughout the batch."""
    tokens = embeddings(clip(frames, batch=3))[:, 2:, :2].int()
    assert torch.equal(tokens, tokens[:1].expand_as(tokens))
    return [(row, column) for row, column in tokens[0].tolist()]


def slow_logits(model: PasstForAudioClassification, spectrogram: Tensor) -> np.ndarray:
    """The paper's network for one clip (T, mel bins), patch by patch and head by head, in float64."""
    weights = {name: weight.double().numpy() for name, weight in model.state_dict().items()}
    stride, patch, heads, picture = 10, 16, TINY["num_attention_heads"], spectrogram.double().numpy().T

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    def layer_norm(x: np.ndarray, name: str, eps: float) -> np.ndarray:
        return (x - x.mean()) / math.sqrt(x.var() + eps) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def gelu(x: np.ndarray) -> np.ndarray:
        return np.array([value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x])

    kernel = weights["embeddings.patch_embeddings.projection.weight"][:, 0]
    prefix = weights["embeddings.prefix_positions"][0]
    starts = (weights["embeddings.cls_token"][0, 0], weights["embeddings.distillation_token"][0, 0])
    tokens = [start + prefix[place] for place, start in enumerate(starts)]
    for row in range((picture.shape[0] - patch) // stride + 1):
        for column in range(min(9, (picture.shape[1] - patch) // stride + 1)):
            window = picture[row * stride : row * stride + patch, column * stride : column * stride + patch]
            content = (kernel * window).sum(axis=(1, 2)) + weights["embeddings.patch_embeddings.projection.bias"]
            frequency = weights["embeddings.frequency_positions"][0, row, 0]
            tokens.append(content + frequency + weights["embeddings.time_positions"][0, 0, column])

    width = len(tokens[0]) // heads
    for index in range(TINY["num_hidden_layers"]):
        layer = f"layers.{index}"
        normed = [layer_norm(token, f"{layer}.layernorm_before", 1e-6) for token in tokens]
        query, key, value = ([linear(x, f"{layer}.attention.{kind}_proj") for x in normed] for kind in "qkv")
        attended = []
        for token in range(len(tokens)):
            parts = []
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                scores = np.exp([query[token][part] @ k[part] / math.sqrt(width) for k in key])
                parts.append(sum(score * v[part] for score, v in zip(scores / scores.sum(), value, strict=True)))
            attended.append(linear(np.concatenate(parts), f"{layer}.attention.o_proj"))
        tokens = [token + change for token, change in zip(tokens, attended, strict=True)]
        for place, token in enumerate(tokens):
            inner = gelu(linear(layer_norm(token, f"{layer}.layernorm_after", 1e-6), f"{layer}.mlp.fc1"))
            tokens[place] = token + linear(inner, f"{layer}.mlp.fc2")

    both = [layer_norm(token, "layernorm", 1e-6) for token in tokens[:2]]
    feature = (both[0] + both[1]) / 2
    return linear(layer_norm(feature, "classifier.layernorm", 1e-5), "classifier.dense")


@pytest.mark.parametrize("frames", [98, 100, 50, 16, 130])
def test_logits_are_those_of_the_slow_reference(frames: int) -> None:
    model, clips = make_passt(), clip(frames)
    with torch.no_grad():
        logits = model(clips).logits.numpy()
    expected = np.stack([slow_logits(model, one) for one in clips])
    assert np.abs(expected).mean() > 0.1
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("time", "frequency", "single", "kept"), PATCHOUTS)
def test_patchout_keeps_whole_columns_and_rows_in_order(time: int, frequency: int, single: int, kept: int) -> None:
    torch.manual_seed(0)
    embeddings = labelled_embeddings(time_patchout=time, frequency_patchout=frequency, unstructured_patchout=single)
    found = places(embeddings)
    rows, columns = ({place[axis] for place in found} for axis in (0, 1))
    assert len(found) == kept
    assert found == sorted(set(found))
    if not single:
        assert (len(rows), len(columns)) == (4 - frequency, 9 - time)
        assert found == list(itertools.product(sorted(rows), sorted(columns)))
    assert places(embeddings.eval()) == list(itertools.product(range(4), range(9)))


def test_every_patch_is_left_out_as_often_as_any_other() -> None:
    torch.manual_seed(0)
    embeddings = labelled_embeddings(time_patchout=3, frequency_patchout=1)
    counts = np.zeros((4, 9))
    for _ in range(200):
        for row, column in places(embeddings):
            counts[row, column] += 1
    assert np.abs(counts / 200 - 3 / 4 * 6 / 9).max() < 0.14  # four standard deviations


def test_patchout_follows_the_global_seed() -> None:
    embeddings = labelled_embeddings(time_patchout=4, unstructured_patchout=5)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(places(embeddings))
    assert draws[0] == draws[1] != draws[2]


def test_a_shorter_clip_is_anywhere_in_training_and_first_in_eval() -> None:
    torch.manual_seed(0)
    embeddings = labelled_embeddings()
    begins = set()
    for _ in range(100):
        found = places(embeddings, frames=66)  # 6 of 9 columns
        first = found[0][1]
        assert found == list(itertools.product(range(4), range(first, first + 6)))
        begins.add(first)
    assert begins == {0, 1, 2, 3}
    assert places(embeddings.eval(), frames=66) == list(itertools.product(range(4), range(6)))


@pytest.mark.parametrize("training", [False, True])
def test_a_longer_clip_is_cut_with_a_warning(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(passt.logger, "warning_once", warnings.append)
    model, clips = make_passt().train(training), clip(frames=150)
    with torch.no_grad():
        assert torch.equal(model(clips).logits, model(clips[:, :98]).logits)
        model(clips[:, :105])  # the ninth column's last frame is 96: a tenth would start at 90 and end at 106
    assert len(warnings) == 1 and "max_length=98" in warnings[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"time_patchout": 9}, "time_patchout=9 leaves nothing of the 9 there are"),
        ({"frequency_patchout": 4}, "frequency_patchout=4 leaves nothing of the 4"),
        ({"time_patchout": 8, "unstructured_patchout": 4}, "unstructured_patchout=4 leaves nothing of the 4"),
    ],
)
def test_patchout_that_leaves_nothing_is_refused_in_training_alone(fields: dict[str, int], message: str) -> None:
    model = make_passt(**fields)
    assert model(clip()).logits.shape == (2, 3)
    with pytest.raises(ValueError, match=message):
        model.train()(clip())


@pytest.mark.parametrize(("fields", "message"), REFUSED_CONFIGS, ids=str)
def test_a_wrong_config_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(Exception, match=message) as raised:
        PasstConfig(**{**TINY, **fields})
    assert isinstance(raised.value.__cause__ or raised.value, ValueError)


@pytest.mark.parametrize(("shape", "message"), REFUSED_INPUTS, ids=str)
def test_a_wrong_input_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_passt()(torch.zeros(shape))


def test_an_attention_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="PaSST takes no attention_mask"):
        make_passt()(clip(), attention_mask=torch.ones(2, 98))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("loader", [PasstForAudioClassification, AutoModelForAudioClassification])
def test_what_is_saved_is_loaded_whole(loader: Any, dtype: torch.dtype, tmp_path: Path) -> None:
    model = make_passt(time_patchout=2, id2label={0: "dog", 1: "rain", 2: "wind"}).to(dtype)
    model.save_pretrained(tmp_path)
    loaded, info = loader.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is PasstForAudioClassification
    assert not any(info.values()), info
    assert (loaded.config.time_patchout, loaded.config.id2label[1], loaded.dtype) == (2, "rain", dtype)
    assert loaded.classifier.layernorm.eps == 1e-5
    with torch.no_grad():
        assert torch.equal(loaded(clip().to(dtype)).logits, model(clip().to(dtype)).logits)


def test_a_head_for_other_labels_is_fresh_and_the_rest_kept(tmp_path: Path) -> None:
    model = make_passt()
    model.save_pretrained(tmp_path)
    other = PasstForAudioClassification.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    state = other.state_dict()
    for name, weight in model.state_dict().items():
        assert name.startswith("classifier.dense") or torch.equal(state[name], weight), name
    assert state["classifier.dense.weight"].shape == (7, 16)
    assert 0 < float(state["classifier.dense.weight"].std()) < 0.04


def test_a_fresh_model_has_every_position_small_and_random() -> None:
    embeddings = PasstForAudioClassification(PasstConfig(**{**TINY, "hidden_size": 64})).embeddings
    for name, parameter in embeddings.named_parameters(recurse=False):
        assert 0.01 < float(parameter.detach().std()) < 0.03, name


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_implementations_agree_and_states_are_given(implementation: str) -> None:
    model = make_passt(attn_implementation=implementation)
    with torch.no_grad():
        outputs = model(clip(), output_hidden_states=True, output_attentions=implementation == "eager")
        torch.testing.assert_close(outputs.logits, make_passt()(clip()).logits, rtol=0, atol=1e-5)
    assert [state.shape for state in outputs.hidden_states] == [(2, 38, 16)] * 3
    if implementation == "eager":
        assert [weights.shape for weights in outputs.attentions] == [(2, 2, 38, 38)] * 2
    assert isinstance(model(clip(), return_dict=False), tuple)


@pytest.mark.parametrize(("problem", "labels", "loss"), LOSSES)
def test_the_loss_is_the_problems(problem: str, labels: Tensor, loss: Callable[..., Tensor]) -> None:
    outputs = make_passt(problem_type=problem)(clip(), labels=labels)
    torch.testing.assert_close(outputs.loss, loss(outputs.logits, labels))


def test_gradients_reach_every_weight_with_and_without_checkpointing() -> None:
    models = [make_passt(time_patchout=2, frequency_patchout=1).train() for _ in range(2)]
    models[1].gradient_checkpointing_enable()
    for model in models:
        torch.manual_seed(0)
        model(clip(), labels=torch.tensor([0, 2])).loss.backward()
    plain, checkpointed = (model.named_parameters() for model in models)
    for (name, parameter), (_, same) in zip(plain, checkpointed, strict=True):
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
        # a key's bias shifts all scores of a query alike
        assert name.endswith("k_proj.bias") or float(parameter.grad.abs().sum()) > 0, name
        torch.testing.assert_close(parameter.grad, same.grad, msg=name)
