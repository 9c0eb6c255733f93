"""Distillation: equation 1 by hand, its gradient, and what the teacher never meets."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_corpora import write_esc50
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import TrainingArguments

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification
from fastast_hf.corpora import load_corpus
from fastast_hf.distillation.teachers.cnn import CNNConfig, CNNForAudioClassification
from fastast_hf.distillation.teachers.itself import SelfTeacher
from fastast_hf.distillation.teachers.logit_cache import LogitCache
from fastast_hf.distillation.teachers.teacher import Teacher
from fastast_hf.distillation.trainer import CMKDTrainer, DistillationArguments, build_distillation, cmkd_loss
from fastast_hf.training.arguments import AugmentationArguments
from fastast_hf.training.inputs.batches import ClipDataset
from fastast_hf.training.inputs.views import SpectrogramDraws, View, spectrograms
from fastast_hf.training.trainer import FastASTTrainer

Make = Callable[..., Any]
LOSSES = ("cross_entropy", "bce")
AUGMENT = AugmentationArguments(mixup=0.5, frequency_mask=20, time_mask=30, roll=True, gain=3.0)


def log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_one_label_by_hand() -> None:
    # The student says 1/2, 1/4, 1/4 and the teacher, at τ = 2, 1/4, 1/2, 1/4; the truth is the first class.
    student = torch.tensor([[0.5, 0.25, 0.25]]).log()
    teacher = 2 * torch.tensor([[0.25, 0.5, 0.25]]).log()
    truth = -math.log(0.5)
    distilled = 0.25 * math.log(0.25 / 0.5) + 0.5 * math.log(0.5 / 0.25)
    loss = cmkd_loss(student, teacher, torch.tensor([[1.0, 0.0, 0.0]]), lam=0.1, tau=2.0)
    assert loss.item() == pytest.approx(0.1 * truth + 0.9 * distilled, abs=1e-6)


def test_several_labels_by_hand() -> None:
    # The student says 0.5 and 0.8, the teacher, at τ = 4, 0.9 and 0.2; the truth is the second class.
    student = torch.tensor([[log_odds(0.5), log_odds(0.8)]])
    teacher = 4 * torch.tensor([[log_odds(0.9), log_odds(0.2)]])
    truth = (-math.log(0.5) - math.log(0.8)) / 2
    first = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    second = 0.2 * math.log(0.2 / 0.8) + 0.8 * math.log(0.8 / 0.2)
    loss = cmkd_loss(student, teacher, torch.tensor([[0.0, 1.0]]), loss="bce", lam=0.3, tau=4.0)
    assert loss.item() == pytest.approx(0.3 * truth + 0.7 * (first + second) / 2, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_students_gradient_is_that_of_the_mixed_targets(loss: str) -> None:
    torch.manual_seed(0)
    teacher, targets = 3 * torch.randn(4, 5), torch.eye(5)[[0, 2, 2, 4]]
    soft = (teacher / 2.0).sigmoid() if loss == "bce" else (teacher / 2.0).softmax(dim=1)
    mixed = 0.1 * targets + 0.9 * soft
    student = torch.randn(4, 5)

    def gradient(value: Callable[[Tensor], Tensor]) -> Tensor:
        logits = student.clone().requires_grad_()
        value(logits).backward()
        assert logits.grad is not None
        return logits.grad

    own = gradient(lambda logits: cmkd_loss(logits, teacher, targets, loss=loss, lam=0.1, tau=2.0))
    torchs: Any = F.binary_cross_entropy_with_logits if loss == "bce" else F.cross_entropy
    torch.testing.assert_close(own, gradient(lambda logits: torchs(logits, mixed)), atol=1e-7, rtol=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_temperature_touches_only_the_teacher(loss: str) -> None:
    torch.manual_seed(0)
    student, teacher, targets = torch.randn(4, 5), torch.randn(4, 5), torch.eye(5)[:4]
    at_2 = cmkd_loss(student, teacher, targets, loss=loss, tau=2.0)
    torch.testing.assert_close(at_2, cmkd_loss(student, teacher / 2, targets, loss=loss))
    truth_alone = [cmkd_loss(student, teacher, targets, loss=loss, lam=1.0, tau=tau) for tau in (1.0, 7.0)]
    assert truth_alone[0] == truth_alone[1]


def test_a_teacher_without_doubt_gives_no_nan() -> None:
    teacher = torch.tensor([[200.0, -200.0]])
    for loss in LOSSES:
        student = torch.zeros(1, 2, requires_grad=True)
        value = cmkd_loss(student, teacher, torch.tensor([[1.0, 0.0]]), loss=loss)
        value.backward()
        assert value.isfinite() and student.grad is not None and student.grad.isfinite().all()


@pytest.fixture
def corpus(tmp_path: Path) -> Any:
    return load_corpus("esc50", write_esc50(tmp_path / "esc50"), fold=1)


@pytest.fixture
def make_student() -> Make:
    def make(**fields: Any) -> FastASTForAudioClassification:
        torch.manual_seed(0)
        sizes = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 48}
        labels = {"id2label": {0: "dog", 1: "rain"}, "label2id": {"dog": 0, "rain": 1}}
        return FastASTForAudioClassification(FastASTConfig(**sizes, max_length=64, tome_r=2, **labels, **fields))

    return make


def small_cnn(names: tuple[str, ...] = ("rain", "dog")) -> CNNForAudioClassification:
    torch.manual_seed(1)
    config = CNNConfig(backbone="mobilenetv3_small_050", max_length=64, id2label=dict(enumerate(names)))
    return CNNForAudioClassification(config)


@pytest.fixture
def make_trainer(corpus: Any, make_student: Make, tmp_path: Path) -> Make:
    extractor = FastASTFeatureExtractor(max_length=64, mean=-5.0, std=4.0)

    def make(
        trainer_class: type[FastASTTrainer] = CMKDTrainer,
        model: Any = None,
        loss: str = "cross_entropy",
        augment: AugmentationArguments = AUGMENT,
        teaching: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> Any:
        defaults = {"max_steps": 3, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "save_strategy": "no"}
        args = TrainingArguments(
            str(tmp_path / "out"), use_cpu=True, report_to="none", disable_tqdm=True, **(defaults | arguments)
        )
        clips = ClipDataset(corpus["train"], 2, 16000, extractor.samples_of(64), training=True)
        if trainer_class is CMKDTrainer:
            teaching = {"teacher": Teacher(small_cnn(), extractor, ["dog", "rain"])} | (teaching or {})
        return trainer_class(
            model or make_student(), args, extractor=extractor, loss=loss, augment=augment, train_dataset=clips,
            **(teaching or {}),
        )  # fmt: skip

    return make


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


@pytest.mark.parametrize("loss", LOSSES)
def test_with_the_ground_truth_alone_it_is_plain_fine_tuning_bit_for_bit(loss: str, make_trainer: Make) -> None:
    plain, taught = make_trainer(FastASTTrainer, loss=loss), make_trainer(loss=loss, teaching={"lam": 1.0})
    before = weights_of(taught.model)
    plain.train()
    taught.train()
    changed = 0
    for name, weight in weights_of(taught.model).items():
        assert torch.equal(weight, weights_of(plain.model)[name]), name
        changed += not torch.equal(weight, before[name])
    assert changed


def test_the_teacher_stays_as_it_is_and_out_of_the_checkpoint(make_trainer: Make, tmp_path: Path) -> None:
    trainer = make_trainer(save_strategy="steps", save_steps=3)
    before = weights_of(trainer.teacher.model)
    trainer.train()
    after = weights_of(trainer.teacher.model)
    assert all(torch.equal(before[name], after[name]) for name in before)  # batch norm's statistics among them
    assert not trainer.teacher.model.training
    assert all(not p.requires_grad and p.grad is None for p in trainer.teacher.model.parameters())
    trainer.save_model()
    for folder in (tmp_path / "out", tmp_path / "out" / "checkpoint-3"):
        _, info = FastASTForAudioClassification.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
    students = {id(parameter) for parameter in trainer.model.parameters()}
    assert {id(p) for group in trainer.optimizer.param_groups for p in group["params"]} == students


def test_a_teacher_with_the_students_front_end_gets_the_very_tensor_that_the_student_gets(make_trainer: Make) -> None:
    trainer = make_trainer()
    seen: list[Tensor] = []
    for model in (trainer.model, trainer.teacher.model):
        model.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(args[0] if args else kwargs["input_values"]), with_kwargs=True
        )
    trainer.model.train()
    trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
    assert len(seen) == 2 and seen[0] is seen[1]


class Half:
    """A teacher that is no model, and of two minds."""

    def scores(self, waveforms: Any) -> list[list[float]]:
        return [[0.5, 0.5]] * len(waveforms)


def test_anything_with_scores_teaches_and_its_scores_can_be_kept(make_trainer: Make, tmp_path: Path) -> None:
    plain = AugmentationArguments()
    for kept in (None, tmp_path / "scores.safetensors"):
        trainer = make_trainer(augment=plain, teaching={"teacher": Half(), "lam": 0.0, "cache_file": kept})
        trainer.train()
        logged = trainer.state.log_history[-1]
        assert math.isfinite(logged["train_loss"])
    assert (tmp_path / "scores.safetensors").is_file()
    with pytest.raises(ValueError, match="knows no overlay: leave out --cache-teacher"):
        make_trainer(augment=AugmentationArguments(overlay=0.5), teaching={"teacher": Half(), "cache_file": kept})


def test_what_is_logged_are_both_losses_and_how_often_they_agree(make_trainer: Make) -> None:
    trainer = make_trainer(logging_steps=1)
    trainer.train()
    for entry in trainer.state.log_history[:3]:
        expected = 0.1 * entry["loss_ground_truth"] + 0.9 * entry["loss_distillation"]
        assert entry["loss"] == pytest.approx(expected, rel=1e-4)
        assert entry["teacher_agreement"] in (0.0, 0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_trainers_loss_is_equation_1_of_what_student_and_teacher_make_of_the_same_view(
    loss: str, make_trainer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(loss=loss, teaching={"lam": 0.3, "tau": 2.0})
    plain, seen = trainer.teacher.classify, []
    monkeypatch.setattr(trainer.teacher, "classify", lambda inputs: 500 * plain(inputs))  # sure of something
    monkeypatch.setattr(trainer, "losses", lambda *args: seen.append(args) or CMKDTrainer.losses(trainer, *args))
    trainer.model.train()
    computed = trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
    ((logits, view, features),) = seen
    taught = trainer.teacher.logits(view, trainer.extractor, features)
    expected = cmkd_loss(logits, taught, view.targets, loss=loss, lam=0.3, tau=2.0)
    torch.testing.assert_close(computed, expected)
    for other in ({"lam": 0.1, "tau": 2.0}, {"lam": 0.3, "tau": 1.0}):
        assert not torch.isclose(computed, cmkd_loss(logits, taught, view.targets, loss=loss, **other))


@pytest.mark.parametrize("loss", LOSSES)
def test_accumulated_steps_give_the_update_of_one_big_batch(loss: str, make_trainer: Make) -> None:
    neutral = AugmentationArguments()
    whole = make_trainer(loss=loss, augment=neutral, max_steps=2)
    parts = make_trainer(
        loss=loss, augment=neutral, max_steps=2, per_device_train_batch_size=1, gradient_accumulation_steps=4
    )
    for trainer in (whole, parts):
        trainer.train()
    for (name, one), other in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=0, msg=name)


def test_a_stopped_run_goes_on_as_if_it_had_not_been(make_trainer: Make, tmp_path: Path) -> None:
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    through = make_trainer(**settings)
    through.train()
    resumed = make_trainer(**settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    for (name, one), other in zip(through.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"lam": 0.5}, "lam was 0.1 and is now 0.5"), ({"tau": 2.0}, "tau was 1.0 and is now 2.0"), ({}, "teacher ")],
)
def test_a_stopped_run_does_not_go_on_with_another_teaching(
    changed: dict[str, float], said: str, make_trainer: Make, tmp_path: Path
) -> None:
    settings = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    make_trainer(**settings).train()
    other = make_trainer(**settings, teaching=changed)
    if not changed:
        with torch.no_grad():
            next(other.teacher.model.parameters()).add_(0.1)
    stopped = tmp_path / "out" / "checkpoint-1"
    with pytest.raises(ValueError, match=rf"checkpoint-1 has other settings \({said}.*: resume with the same ones"):
        other.train(resume_from_checkpoint=str(stopped))


def test_evaluation_is_without_the_teacher(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer()
    monkeypatch.setattr(trainer.teacher, "logits", None)
    metrics = trainer.evaluate(trainer.train_dataset)
    assert metrics["eval_loss"] > 0


def test_kept_logits_are_the_teachers_on_clean_clips_and_are_computed_once(
    make_trainer: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "logits.safetensors"
    trainer = make_trainer(teaching={"cache_file": file})
    batch = next(iter(trainer.get_train_dataloader()))
    clean = trainer.view(batch)
    expected = trainer.teacher.logits(clean, trainer.extractor, trainer.features(clean))
    torch.testing.assert_close(trainer.cache.logits[batch["clip"]], expected, atol=1e-5, rtol=0)
    view = trainer.view(batch, augment=True)
    own, partner = expected.softmax(dim=1), trainer.cache.logits[batch["partner_clip"]].softmax(dim=1)
    mixed = torch.where(
        batch["partner_clip"].unsqueeze(1) >= 0,
        view.mixture.weights * own + (1 - view.mixture.weights) * partner,
        own,
    )
    torch.testing.assert_close(trainer.cache.probabilities(view, "cross_entropy", 1.0), mixed, atol=1e-5, rtol=0)
    monkeypatch.setattr(Teacher, "logits", None)
    make_trainer(teaching={"cache_file": file}).train()


def test_logits_are_compared_by_each_class_own_deviation(make_trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    deviation = torch.tensor([0.5, 2.0])
    teaching = {"lam": 0.3, "distance": "mse", "deviation": deviation}
    trainer, seen = make_trainer(loss="bce", teaching=teaching), []
    monkeypatch.setattr(trainer, "losses", lambda *args: seen.append(args) or CMKDTrainer.losses(trainer, *args))
    trainer.model.train()
    computed = trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())))
    ((logits, view, features),) = seen
    taught = trainer.teacher.logits(view, trainer.extractor, features)
    truth = F.binary_cross_entropy_with_logits(logits, view.targets)
    errors = [(logits[:, k] - taught[:, k]) / deviation[k] for k in range(2)]
    torch.testing.assert_close(computed, 0.3 * truth + 0.7 * torch.stack(errors).square().mean())


def test_a_student_that_teaches_itself_learns_from_its_own_scores_without_merging(
    make_trainer: Make, make_student: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, extractor = (
        make_student(initializer_range=0.3),
        FastASTFeatureExtractor(max_length=64, mean=-5.0, std=4.0),
    )
    trainer = make_trainer(model=student, teaching={"teacher": SelfTeacher(student, extractor), "lam": 0.0})
    seen: list[Any] = []
    monkeypatch.setattr(trainer, "losses", lambda *args: seen.append(args) or CMKDTrainer.losses(trainer, *args))
    computed = trainer.compute_loss(trainer.model.train(), next(iter(trainer.get_train_dataloader())))
    ((logits, view, features),) = seen
    whole = student.eval()(features, tome_r=0).logits
    assert (logits - whole).abs().max() > 1e-4  # of a student that merges
    torch.testing.assert_close(computed, cmkd_loss(logits, whole, view.targets, lam=0.0))
    trainer.train()
    assert not torch.equal(whole, student.eval()(features, tome_r=0).logits)


def test_distances_that_can_not_be_had_are_refused() -> None:
    for settings in ({"distance": "l1"}, {"distance": "mse", "tau": 2.0}, {"distance": "mse", "cache_teacher": True}):
        with pytest.raises(ValueError, match="distance"):
            DistillationArguments(**settings)  # type: ignore[arg-type]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"lam": 1.5}, "lam is 1.5"),
    ({"lam": -0.1}, "lam is -0.1"),
    ({"tau": 0.0}, "tau is 0.0"),
    ({"distance": "l1"}, "distance is 'l1'"),
    ({"distance": "mse", "cache_file": Path("logits")}, "distance mse"),
]


@pytest.mark.parametrize(("teaching", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_settings_are_refused(teaching: dict[str, Any], said: str, make_trainer: Make) -> None:
    with pytest.raises(ValueError, match=said):
        make_trainer(teaching=teaching)


def test_each_fold_has_its_own_teacher(corpus: Any, tmp_path: Path) -> None:
    for fold, names in ((1, ("dog", "rain")), (2, ("rain", "dog"))):
        folder = tmp_path / "teacher" / f"fold-{fold}"
        small_cnn(names).save_pretrained(folder)
        FastASTFeatureExtractor(max_length=64).save_pretrained(folder)
    args = TrainingArguments(str(tmp_path / "out"), use_cpu=True)
    settings = DistillationArguments(teacher=str(tmp_path / "teacher"), lam=0.2)
    orders = [build_distillation(settings, corpus, fold, args)["teacher"].order.tolist() for fold in (1, 2)]
    assert orders == [[0, 1], [1, 0]]


def test_without_a_teacher_nothing_runs(corpus: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give --teacher"):
        build_distillation(DistillationArguments(), corpus, None, TrainingArguments(str(tmp_path), use_cpu=True))


def test_logits_of_longer_clips_are_not_kept(make_trainer: Make, tmp_path: Path) -> None:
    """Each visit hears another stretch, and so must the teacher."""
    trainer = make_trainer()
    trainer.train_dataset.max_samples = 4000
    with pytest.raises(ValueError, match=r"16 of 16 training clips are longer than the 0\.2 s that the student hears"):
        CMKDTrainer(
            trainer.model, trainer.args, extractor=trainer.extractor, train_dataset=trainer.train_dataset,
            teacher=trainer.teacher, cache_file=tmp_path / "logits",
        )  # fmt: skip
    assert not (tmp_path / "logits").exists()


def test_kept_logits_of_a_longer_clip_have_the_mean_score_of_its_windows(
    make_trainer: Make, corpus: Any, tmp_path: Path
) -> None:
    trainer = make_trainer()
    clips = ClipDataset(corpus["train"].select([0, 1]), 2, 16000, 3000)
    kept = LogitCache.of(trainer.teacher, clips, trainer.extractor, tmp_path / "logits", batch_size=2).logits
    for index, logits in enumerate(kept):
        item = clips[index]
        view = View(item["waveforms"], item["num_samples"], item["labels"][None], SpectrogramDraws())
        own = trainer.teacher.logits(view, trainer.extractor, spectrograms(trainer.extractor, view))
        torch.testing.assert_close(logits.sigmoid(), own.sigmoid().mean(dim=0), atol=1e-5, rtol=0)


OTHERS = {
    # what differs from the run that kept the logits
    "the teacher": lambda teacher, clips, extractor: teacher.model.backbone.conv_stem.weight.mul_(2),
    "the order of labels": lambda teacher, clips, extractor: setattr(teacher, "order", teacher.order.flip(0)),
    "a clip": lambda teacher, clips, extractor: setattr(clips, "split", clips.split.select([1, 0, 2, 3])),
    "the front end": lambda teacher, clips, extractor: setattr(extractor, "max_length", 48),
}


@pytest.mark.parametrize("change", [None, *OTHERS])
def test_kept_logits_are_made_anew_where_anything_they_depend_on_differs(
    change: str | None, make_trainer: Make, tmp_path: Path
) -> None:
    trainer = make_trainer()
    clips = ClipDataset(trainer.train_dataset.split.select([0, 1, 2, 3]), 2, 16000, 8000)
    LogitCache.of(trainer.teacher, clips, trainer.extractor, tmp_path / "logits")
    before = (tmp_path / "logits").stat().st_mtime_ns
    if change is not None:
        OTHERS[change](trainer.teacher, clips, trainer.extractor)
    LogitCache.of(trainer.teacher, clips, trainer.extractor, tmp_path / "logits")
    assert ((tmp_path / "logits").stat().st_mtime_ns != before) == (change is not None)
