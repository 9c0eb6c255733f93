"""Training with merging on: checkpointing, autocast, half precision, several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

Make = Callable[..., Any]
STEPS = 20
LABELS = torch.tensor([1, 2])

TWO_PROCESSES = """
import sys, torch
from torch.distributed import destroy_process_group, init_process_group
from torch.nn.parallel import DistributedDataParallel
from conftest import TINY, randomise
from fastast_hf.model.configuration_fastast import FastASTConfig
from fastast_hf.model.modeling_fastast import FastASTForAudioClassification

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
model = randomise(FastASTForAudioClassification(FastASTConfig(**TINY, tome_r=8)))
batch = torch.load(f"{folder}/batch.pt")
parallel = DistributedDataParallel(model)
parallel(batch["clips"][rank::2], labels=batch["labels"][rank::2]).loss.backward()
torch.save({name: parameter.grad for name, parameter in model.named_parameters()}, f"{folder}/gradients{rank}.pt")
destroy_process_group()
"""


def train(model: nn.Module, batches: list[Tensor], mask: Tensor | None = None) -> list[float]:
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3)
    losses = []
    for batch in batches:
        loss = model(batch, labels=LABELS, attention_mask=mask).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.filterwarnings("ignore::FutureWarning")  # transformers 5.23 renames the method; 5.17 has this name alone
@pytest.mark.parametrize("implementation", ["eager", "sdpa", "sdpa_folded"])
@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_training_with_gradient_checkpointing_equals_training_without(
    implementation: str, use_reentrant: bool, masked: bool, make_fastast: Make, spectrogram: Make
) -> None:
    batches = [spectrogram(frames=64, seed=step) for step in range(STEPS)]
    mask = None
    if masked:
        mask = torch.ones(2, 64)
        mask[0, 30:] = 0
    plain, checkpointed = (make_fastast(tome_r=3, attn_implementation=implementation) for _ in range(2))
    checkpointed.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
    runs: list[None] = []
    checkpointed.audio_spectrogram_transformer.layers[0].mlp.register_forward_pre_hook(lambda *_: runs.append(None))

    expected = train(plain, batches, mask)
    assert train(checkpointed, batches, mask) == expected
    assert len(runs) == 2 * STEPS  # each step ran the layer again
    for one, other in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        assert torch.equal(one, other)
    assert expected[-1] != expected[0]


@pytest.mark.parametrize("implementation", ["sdpa", "sdpa_folded"])  # eager takes its softmax in float32
def test_every_parameter_gets_the_gradient_of_the_loss(
    implementation: str, make_fastast: Make, spectrogram: Make
) -> None:
    model = make_fastast(tome_r=8, attn_implementation=implementation).double()
    clips = spectrogram().double()
    model(clips, labels=LABELS).loss.backward()
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        if name.endswith("k_proj.bias"):
            continue  # softmax takes a bias of all keys out again: its gradient is 0 but for the choice of pairs
        # A small step along a random direction changes the loss as the gradient says.
        step = 1e-6 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            parameter += step
            up = model(clips, labels=LABELS).loss
            parameter -= 2 * step
            down = model(clips, labels=LABELS).loss
            parameter += step
        torch.testing.assert_close((up - down) / 2, (parameter.grad * step).sum(), rtol=1e-3, atol=1e-11, msg=name)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("r", [0, 8])
def test_autocast_trains(dtype: torch.dtype, r: int, make_fastast: Make, spectrogram: Make) -> None:
    model = make_fastast(tome_r=r).train()
    expected = model(spectrogram(), labels=LABELS).loss
    with torch.autocast("cpu", dtype=dtype):
        out = model(spectrogram(), labels=LABELS)
    out.loss.backward()
    torch.testing.assert_close(out.loss.float(), expected, rtol=0, atol=0.2)
    for name, parameter in model.named_parameters():
        assert parameter.grad.dtype == torch.float32
        assert torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("implementation", ["eager", "sdpa", "sdpa_folded"])
def test_half_precision_is_near_single(
    dtype: torch.dtype, implementation: str, make_fastast: Make, spectrogram: Make
) -> None:
    clips = spectrogram().to(dtype)
    model = make_fastast(tome_r=8, attn_implementation=implementation).to(dtype)
    with torch.no_grad():
        logits = model(clips).logits
        assert logits.dtype == dtype
        torch.testing.assert_close(logits.float(), model.float()(clips.float()).logits, rtol=0, atol=0.2)


def test_attention_dropout_acts_in_training_alone(make_fastast: Make, spectrogram: Make) -> None:
    model = make_fastast(tome_r=8, attention_probs_dropout_prob=0.5)
    with torch.no_grad():
        assert torch.equal(model(spectrogram()).logits, make_fastast(tome_r=8)(spectrogram()).logits)
        model.train()
        assert not torch.equal(model(spectrogram()).logits, model(spectrogram()).logits)


@pytest.mark.slow
def test_two_processes_get_the_gradient_of_one(make_fastast: Make, spectrogram: Make, tmp_path: Path) -> None:
    clips, labels = spectrogram(batch=4), torch.tensor([0, 1, 2, 3])
    torch.save({"clips": clips, "labels": labels}, tmp_path / "batch.pt")
    (tmp_path / "two_processes.py").write_text(TWO_PROCESSES)
    here = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here.parent), str(here)])}
    processes = [
        subprocess.Popen([sys.executable, tmp_path / "two_processes.py", str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]

    model = make_fastast(tome_r=8).train()
    model(clips, labels=labels).loss.backward()
    for rank in range(2):
        gradients = torch.load(tmp_path / f"gradients{rank}.pt")
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.fixture
def trainer(spectrogram: Make, tmp_path: Path) -> Make:
    """transformers' own Trainer, with a checkpoint for each of three epochs."""

    def make(model: nn.Module, folder: str = "run", **more: Any) -> Trainer:
        features = spectrogram(batch=4, frames=64)
        rows = [{"input_values": clip, "labels": index % 2} for index, clip in enumerate(features)]
        args = TrainingArguments(
            str(tmp_path / folder), num_train_epochs=3, per_device_train_batch_size=2, learning_rate=0.01,
            save_strategy="epoch", use_cpu=True, report_to="none", disable_tqdm=True, **more,
        )  # fmt: skip
        return Trainer(model, args, train_dataset=rows, eval_dataset=rows)

    return make


def check_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name


def test_transformers_trainer_resumes_with_the_saved_weights(
    trainer: Make, make_fastast: Make, tmp_path: Path
) -> None:
    whole = trainer(make_fastast(tome_r=3))
    whole.train()
    resumed = trainer(make_fastast(tome_r=3, seed=1), "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-4"))
    assert resumed.state.global_step == 6
    check_same(whole.model.state_dict(), resumed.model.state_dict())


def test_transformers_trainer_takes_back_the_best_epoch(trainer: Make, make_fastast: Make) -> None:
    kept: dict[int, dict[str, Tensor]] = {}

    class Keep(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            kept[state.global_step] = {name: weight.clone() for name, weight in model.state_dict().items()}

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
            metrics["eval_score"] = float(state.global_step == 4)  # the second of three is the best

    best = trainer(
        make_fastast(tome_r=3), eval_strategy="epoch", load_best_model_at_end=True, metric_for_best_model="score"
    )
    best.add_callback(Keep())
    best.train()
    assert best.state.best_global_step == 4
    check_same(kept[4], best.model.state_dict())
    assert any(not torch.equal(weight, kept[6][name]) for name, weight in kept[4].items())


def test_load_state_dict_takes_weights_under_their_published_and_their_own_names(
    make_fastast: Make, tmp_path: Path
) -> None:
    saved = make_fastast()
    saved.save_pretrained(tmp_path)
    published = load_file(tmp_path / "model.safetensors")
    assert published.keys() != saved.state_dict().keys()
    for state in (published, saved.state_dict()):
        loaded = make_fastast(seed=1)
        loaded.load_state_dict(state)
        check_same(saved.state_dict(), loaded.state_dict())
    encoder = saved.audio_spectrogram_transformer
    encoder.save_pretrained(tmp_path / "encoder")
    loaded = make_fastast(seed=1).audio_spectrogram_transformer
    loaded.load_state_dict(load_file(tmp_path / "encoder" / "model.safetensors"))
    check_same(encoder.state_dict(), loaded.state_dict())
