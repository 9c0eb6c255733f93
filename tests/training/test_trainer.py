"""The trainer: one update however a batch is split, runs that go on as if never stopped, and AST's augmentation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import ASTForAudioClassification, TrainerCallback, TrainingArguments

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.metrics import compute_metrics_for
from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments, decay_factor
from fastast_hf.training.inputs.batches import UNREADABLE, ClipDataset
from fastast_hf.training.trainer import FastASTTrainer
from fastast_hf.training.weight_averaging import WeightAverage

Make = Callable[..., Any]
CLASSES = 5
EVERYTHING = AugmentationArguments(
    mixup=0.5, frequency_mask=8, time_mask=20, roll=True, speed=1.1, shift=0.1, gain=6.0, noise=0.5
)
# AST's learning rates as its logs have them (egs/*/exp): recipe, epochs from 1, learning rate.
SCHEDULES = [
    (ScheduleArguments(decay=0.85, decay_start=5), 1e-5, {1: 1e-5, 5: 1e-5, 6: 8.5e-6, 25: 3.88e-7}),
    (ScheduleArguments(decay=0.85, decay_start=5, decay_end=26), 2.5e-4, {5: 2.5e-4, 26: 8.236e-6, 30: 8.236e-6}),
    (
        ScheduleArguments(decay=0.5, decay_start=10, decay_every=5),
        5e-5,
        {10: 5e-5, 11: 2.5e-5, 15: 2.5e-5, 16: 1.25e-5, 20: 1.25e-5, 21: 6.25e-6, 25: 6.25e-6},
    ),
    (ScheduleArguments(decay=0.5, decay_start=2), 1e-5, {1: 1e-5, 2: 1e-5, 3: 5e-6, 4: 2.5e-6, 5: 1.25e-6}),
]


def clips(count: int = 12, several: bool = False, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of noise of several lengths, all shorter than the 128 frames of the tiny model."""
    random = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        samples = random.normal(scale=0.1, size=random.integers(4000, 20000)).astype(np.float32)
        labels = {"labels": [index % 5, (index + 2) % 5]} if several else {"label": index % 5}
        rows.append({"audio": {"array": samples, "sampling_rate": 16000, "path": f"{index}"}} | labels)
    return rows


@pytest.fixture
def make_trainer(make_fastast: Make, tmp_path: Path) -> Make:
    def make(rows: list[dict[str, Any]] | None = None, *, folder: str = "out", **settings: Any) -> FastASTTrainer:
        model = settings.pop("model", None) or make_fastast(tome_r=settings.pop("tome_r", 4))
        shape = (CLASSES, 16000, 20720)
        own = {
            k: settings.pop(k)
            for k in ("loss", "train_r", "augment", "schedule", "average", "adam_l2")
            if k in settings
        }
        own |= {k: settings.pop(k) for k in ("noise", "sampling_weights", "callbacks") if k in settings}
        defaults = {
            "per_device_train_batch_size": 4,
            "learning_rate": 0.01,
            "num_train_epochs": 1,
            "save_strategy": "no",
        }
        args = TrainingArguments(
            str(tmp_path / folder), use_cpu=True, report_to="none", disable_tqdm=True, **(defaults | settings)
        )
        return FastASTTrainer(
            model,
            args,
            extractor=FastASTFeatureExtractor(num_mel_bins=48, max_length=128),
            train_dataset=ClipDataset(rows or clips(), *shape, training=True),
            eval_dataset=ClipDataset(rows or clips(), *shape),
            compute_metrics=compute_metrics_for(False),
            **own,
        )

    return make


def weights(trainer: FastASTTrainer) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
@pytest.mark.parametrize(("size", "steps"), [(2, 6), (5, 3)])  # of 12 clips; the second in batches of 5, 5 and 2
def test_accumulated_steps_give_the_update_of_one_big_batch(
    loss: str, size: int, steps: int, make_trainer: Make
) -> None:
    made = []
    for number, (batch, accumulated) in enumerate(((12, 1), (size, steps))):
        trainer = make_trainer(
            clips(several=loss == "bce"),
            folder=str(number),
            loss=loss,
            optim="sgd",
            max_grad_norm=0.0,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulated,
            num_train_epochs=2,
        )
        before = weights(trainer)
        trainer.train()
        assert trainer.state.global_step == 2
        made.append(weights(trainer))
    assert difference(before, made[0]) > 1e-3
    assert difference(made[0], made[1]) < 1e-6


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_a_stopped_run_goes_on_as_if_it_had_not_been(make_trainer: Make, make_fastast: Make, tmp_path: Path) -> None:
    """With everything random on: augmentation, sampling, r, dropout; a stop in mid-epoch, averages over epochs."""

    def build(folder: str, **more: Any) -> FastASTTrainer:
        return make_trainer(
            model=make_fastast(tome_r=4, hidden_dropout_prob=0.1),
            folder=folder,
            augment=EVERYTHING,
            noise=torch.randn(3, 20720, generator=torch.Generator().manual_seed(0)),
            train_r=[0, 4, 8],
            sampling_weights=torch.arange(1.0, 13.0),
            average=WeightAverage(1),
            adam_l2=True,
            schedule=ScheduleArguments(decay=0.5, decay_start=1),
            num_train_epochs=3,
            gradient_accumulation_steps=2,
            per_device_train_batch_size=2,
            save_strategy="steps",
            save_steps=2,
            **more,
        )

    whole = build("whole")
    whole.train()
    assert whole.state.global_step == 9

    stopped = build("stopped", callbacks=[StopAt(5)])
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    torch.manual_seed(99)
    resumed = build("stopped")
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoint-4"))  # epoch 2 has steps 4 to 6
    assert difference(weights(whole), weights(resumed)) == 0
    assert resumed.average.epochs == [1, 2, 3]
    for name, average in whole.average.weights.items():
        assert torch.equal(average, resumed.average.weights[name])


def test_stretches_of_longer_clips_are_the_same_with_any_number_of_workers_and_after_a_stop(
    make_trainer: Make, tmp_path: Path
) -> None:
    rows = clips()
    for row in rows:
        samples = np.tile(row["audio"]["array"], 12)
        row["audio"]["array"] = samples * np.linspace(0.1, 1, len(samples))
    settings: dict[str, Any] = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 2}
    settings |= {"augment": AugmentationArguments(mixup=0.5), "sampling_weights": torch.arange(1.0, 13.0)}
    made = {}
    for folder, workers in (("none", 0), ("two", 2)):
        trainer = make_trainer(rows, folder=folder, dataloader_num_workers=workers, **settings)
        trainer.train()
        made[folder] = weights(trainer)
    assert difference(made["none"], made["two"]) == 0
    stopped = make_trainer(rows, folder="stopped", callbacks=[StopAt(3)], **settings)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = make_trainer(rows, folder="stopped", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoint-2"))
    assert difference(made["none"], weights(resumed)) == 0
    heard = []
    for epoch in (0, 1):
        resumed.sampler.epoch = epoch
        heard += [tuple(resumed.train_dataset[drawn]["waveforms"][:9].tolist()) for drawn in resumed.sampler]
    assert len(set(heard)) == 24


def test_checkpoints_hold_no_pickled_arguments_and_the_model_loads_anywhere(
    make_trainer: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(save_strategy="epoch")
    trainer.train()
    trainer.save_model()
    for folder in (tmp_path / "out", tmp_path / "out" / "checkpoint-3"):
        assert not (folder / "training_args.bin").exists()
        loaded, info = ASTForAudioClassification.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
        for name, weight in trainer.model.state_dict().items():
            assert torch.equal(weight, loaded.state_dict()[name])
        assert FastASTFeatureExtractor.from_pretrained(folder).num_mel_bins == 48


def test_the_best_epoch_comes_back_whole(make_trainer: Make) -> None:
    kept: dict[int, Any] = {}

    class Keep(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
            kept[state.global_step] = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    trainer = make_trainer(
        callbacks=[Keep()], num_train_epochs=4, save_strategy="epoch", eval_strategy="epoch", learning_rate=0.1,
        load_best_model_at_end=True, metric_for_best_model="accuracy",
    )  # fmt: skip
    trainer.train()
    assert difference(kept[trainer.state.best_global_step], weights(trainer)) == 0
    assert difference(kept[3], kept[6]) > 0


@pytest.mark.parametrize(("schedule", "base", "expected"), SCHEDULES)
def test_learning_rates_are_those_of_asts_logs(
    schedule: ScheduleArguments, base: float, expected: dict[int, float]
) -> None:
    for epoch, rate in expected.items():
        for step in (10 * (epoch - 1), 10 * epoch - 1):  # the first and the last of an epoch of 10 steps
            assert base * decay_factor(schedule, step, 10) == pytest.approx(rate, rel=2e-3)


def test_warm_up_rises_in_stairs_of_50_steps_from_0() -> None:
    schedule = ScheduleArguments(staircase_warmup=1000)
    steps = [0, 49, 50, 99, 500, 999, 1000, 5000]
    assert [decay_factor(schedule, step, 100) for step in steps] == [0, 0, 0.05, 0.05, 0.5, 0.95, 1, 1]


def test_the_trainer_uses_the_schedule_and_asts_adam(make_trainer: Make) -> None:
    trainer = make_trainer(
        schedule=ScheduleArguments(decay=0.5, decay_start=1), adam_l2=True, num_train_epochs=3, logging_steps=3,
        adam_beta1=0.95, weight_decay=5e-7,
    )  # fmt: skip
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert rates == pytest.approx([0.01, 0.005, 0.0025])
    optimizer = trainer.optimizer.optimizer
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["betas"] == (0.95, 0.999) and optimizer.param_groups[0]["weight_decay"] == 5e-7


def batch_of(trainer: FastASTTrainer) -> dict[str, torch.Tensor]:
    return next(iter(trainer.get_train_dataloader()))


def test_masks_hold_0_of_raw_log_mel_and_come_before_normalising(make_trainer: Make) -> None:
    trainer = make_trainer(augment=AugmentationArguments(frequency_mask=20, time_mask=60))
    inputs = batch_of(trainer)
    torch.manual_seed(1)
    masked = trainer.features(trainer.view(inputs, augment=True))
    plain = trainer.features(trainer.view(inputs))
    changed = masked != plain
    fill = (0.0 - trainer.extractor.mean) / (2 * trainer.extractor.std)
    assert fill == pytest.approx(0.467, abs=1e-3)  # AudioSet's, as published
    assert changed.any() and masked[changed].unique().tolist() == pytest.approx([fill])
    expected = trainer.extractor(
        [w[:n].numpy() for w, n in zip(inputs["waveforms"], inputs["num_samples"], strict=True)],
        sampling_rate=16000, return_tensors="pt",
    ).input_values  # fmt: skip
    torch.testing.assert_close(plain, expected, atol=1e-5, rtol=0)


def test_noise_comes_after_normalising_and_the_roll_takes_it_along(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(augment=AugmentationArguments(roll=True))
    inputs = batch_of(trainer)
    noise = torch.rand(4, trainer.extractor.max_length, 48, generator=torch.Generator().manual_seed(0)) / 10
    monkeypatch.setattr("fastast_hf.training.inputs.augmentation.draw_feature_noise", lambda grid: noise)
    monkeypatch.setattr("fastast_hf.training.inputs.augmentation.draw_roll", lambda grid: torch.full((4, 1), 5))
    plain = trainer.features(trainer.view(inputs))
    changed = trainer.features(trainer.view(inputs, augment=True))
    torch.testing.assert_close(changed, (plain + noise).roll(5, dims=1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("augment", "changed"),
    [
        ({"speed": 1.2}, "random_speed"),
        ({"shift": 0.05}, "random_shift"),
        ({"gain": 6.0}, "random_gain"),
        ({"noise": 1.0}, "add_noise"),
    ],
)
def test_each_setting_does_what_it_is_named_after(
    augment: dict[str, float], changed: str, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = 0.1 * torch.ones(1, batch_of(make_trainer())["waveforms"].shape[1])
    trainer = make_trainer(augment=AugmentationArguments(**augment), noise=noise)
    inputs = batch_of(trainer)
    marked = torch.full_like(inputs["waveforms"], 7.0)
    calls = []

    def mark(*args: Any) -> torch.Tensor:
        calls.append(args)
        return marked

    monkeypatch.setattr(f"fastast_hf.training.inputs.augmentation.{changed}", mark)
    assert torch.equal(trainer.view(inputs, augment=True).waveforms, marked)
    numbers = [arg for arg in calls[0][1:] if isinstance(arg, (int, float))]
    rate = 16000
    expected = {"random_speed": [1 / 1.2, 1.2], "random_shift": [0.05 * rate], "random_gain": [-6.0, 6.0],
                "add_noise": [1.0, 0.0, 30.0]}  # fmt: skip
    assert numbers == pytest.approx(expected[changed])


def test_every_process_draws_for_itself(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for process in (0, 1, 0):
        trainer = make_trainer()
        monkeypatch.setattr(type(trainer.args), "process_index", process)
        trainer._begin_step(batch_of(trainer))
        drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


def test_with_several_r_as_many_graphs_are_allowed(make_trainer: Make) -> None:
    with torch._dynamo.config.patch(recompile_limit=8):
        make_trainer(train_r=[0, 1, 2, 3, 4, 5])
        assert torch._dynamo.config.recompile_limit >= 12


@pytest.mark.parametrize("wrong", [{"mixup": 3.0}, {"noise": -0.1}, {"speed": 0.9}, {"mixup_beta": 0.0}])
def test_augmentation_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.* {next(iter(wrong.values()))}"):
        AugmentationArguments(**wrong)


def test_asts_adam_decays_every_weight(make_trainer: Make) -> None:
    trainer = make_trainer(adam_l2=True, weight_decay=0.1)
    trainer.create_optimizer()
    decayed = {id(p) for group in trainer.optimizer.param_groups for p in group["params"] if group["weight_decay"]}
    assert decayed == {id(parameter) for parameter in trainer.model.parameters()}


def test_mixed_clips_have_mixed_targets(make_trainer: Make) -> None:
    trainer = make_trainer(augment=AugmentationArguments(mixup=1.0))
    inputs = batch_of(trainer)
    torch.manual_seed(0)
    targets = trainer.view(inputs, augment=True).targets
    for target, own, other in zip(targets, inputs["labels"], inputs["partner_labels"], strict=True):
        if torch.equal(own, other):
            assert torch.allclose(target, own)  # a class of both is wholly there
        else:
            weight = target[own.argmax()]
            assert 0.1 < weight < 0.9
            assert torch.allclose(target, weight * own + (1 - weight) * other)


def test_without_partners_a_stream_mixes_within_the_batch(make_trainer: Make) -> None:
    trainer = make_trainer(augment=AugmentationArguments(mixup=1.0))
    inputs = {name: value for name, value in batch_of(trainer).items() if not name.startswith("partner")}
    targets = trainer.view(inputs, augment=True).targets
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(4))


def test_label_smoothing_is_spread_over_all_classes(make_trainer: Make) -> None:
    trainer = make_trainer(label_smoothing_factor=0.1)
    targets = trainer.view(batch_of(trainer), augment=True).targets
    assert targets.unique().tolist() == pytest.approx([0.02, 0.92])


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_losses_are_torchs(loss: str, make_trainer: Make) -> None:
    trainer = make_trainer(loss=loss)
    trainer.model.eval()
    inputs = batch_of(trainer)
    value, outputs = trainer.compute_loss(trainer.model, inputs, return_outputs=True)
    expected = {
        "cross_entropy": F.cross_entropy(outputs["logits"], inputs["labels"].argmax(dim=1)),
        "bce": F.binary_cross_entropy_with_logits(outputs["logits"], inputs["labels"]),
    }
    torch.testing.assert_close(value, expected[loss])


def test_r_is_drawn_at_every_step_alike_for_its_accumulation_steps(
    make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(
        train_r=[0, 4, 8], per_device_train_batch_size=1, gradient_accumulation_steps=2, num_train_epochs=4
    )
    drawn = []
    forward = trainer.model.forward

    def spy(features: torch.Tensor, tome_r: Any = None) -> Any:
        drawn.append(tome_r)
        return forward(features, tome_r=tome_r)

    monkeypatch.setattr(trainer.model, "forward", spy)
    trainer.train()
    assert len(drawn) == 48 and drawn[::2] == drawn[1::2]
    assert set(drawn) == {0, 4, 8}


def test_evaluation_leaves_out_what_cannot_be_read(make_trainer: Make) -> None:
    rows = clips(8)
    broken = rows[0] | {"audio": {"bytes": b"no audio", "path": "broken.wav"}}
    trainer = make_trainer([*rows, broken])
    scores = trainer.evaluate()
    assert scores["eval_unreadable"] == 1
    kept = make_trainer(rows).evaluate()
    assert scores["eval_accuracy"] == kept["eval_accuracy"]
    inputs = trainer.data_collator([trainer.eval_dataset[8]])
    trainer.model.eval()
    assert (inputs["labels"] == UNREADABLE).all()
    assert trainer.compute_loss(trainer.model, inputs) == 0


def test_an_unreadable_clip_in_mid_epoch_is_counted_once(make_trainer: Make) -> None:
    rows = clips(8)
    rows[3] = rows[3] | {"audio": {"bytes": b"no audio", "path": "broken.wav"}}
    trainer = make_trainer(rows, num_train_epochs=2)
    trainer.train()
    assert trainer.unreadable == {3}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"augment": AugmentationArguments(noise=0.5)}, "noise needs clips"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str, make_trainer: Make) -> None:
    with pytest.raises(ValueError, match=said):
        make_trainer(**settings)
