"""The trainer: batches of waveforms, AST's augmentation and front end on the training device, merging at any r."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, Sampler
from transformers import PrinterCallback, ProgressCallback, TrainingArguments

from ..loading.adapters import has_adapters, merged
from ..loading.checkpoint import labels_in_order
from ..metrics import UNREADABLE
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..tagging.pooling import POOLS, pool_of, pooled_logits
from .arguments import AugmentationArguments, ScheduleArguments, decay_factor
from .callbacks import Bar, EpochLines, Epochs, Stopping
from .checkpoints import COMPLETE, check_no_shorter, check_same_run, mark_complete
from .hub_trainer import HubTrainer
from .inputs.batches import ClipSampler, collate
from .inputs.streaming import ClipStream, steps_per_epoch
from .inputs.views import SpectrogramDraws, View, augmented, draw_for_spectrograms, spectrograms
from .start.adaptation import frozen_parts, learning_rate_scale
from .weight_averaging import WeightAverage

logger = logging.getLogger(__name__)

# What a resumed run has in common with the one that was stopped.
_MODEL = ("hidden_size", "num_hidden_layers", "num_attention_heads", "time_stride", "backbone", "head", "tome_r",
          "tome_schedule")  # fmt: skip
_FRONT_END = ("sampling_rate", "num_mel_bins", "max_length", "mean", "std", "do_normalize")
_OPTIMISATION = ("learning_rate", "lr_scheduler_type", "warmup_steps", "weight_decay", "optim", "adam_beta1",
                 "adam_beta2", "adam_epsilon", "max_grad_norm", "label_smoothing_factor", "seed",
                 "data_seed")  # fmt: skip


def clip_losses(logits: Tensor, targets: Tensor, loss: str, weights: Tensor | None = None) -> Tensor:
    """Loss (B,) of each clip: `"cross_entropy"` of softmax, or `"bce"`, binary cross-entropy averaged over classes.

    What is lost where a class is in the clip is multiplied by the class' weight, of `weights` (classes,).

    Example:
        >>> clip_losses(torch.zeros(1, 4), torch.tensor([[0.0, 1.0, 0.0, 0.0]]), "bce")
        tensor([0.6931])
    """
    if loss == "bce":
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none", pos_weight=weights).mean(dim=1)
    return F.cross_entropy(logits, targets, weights, reduction="none")


class FastASTTrainer(HubTrainer):
    """transformers' Trainer for batches of waveforms (`training_data`).

    - Augmentation and front end run batched on the training device.
    - The loss is its own: a mean over the clips of an optimizer step however they are split into accumulation steps.
    - Every random draw is a function of the seed and the step, so that a resumed run continues as the first one would.

    Args:
        model: A FastAST classifier.
        args: transformers' arguments; `label_smoothing_factor` is used.
        extractor: Front end; saved with the model.
        loss: `"cross_entropy"` (softmax) or `"bce"` (sigmoid; AST's for AudioSet and Speech Commands).
        train_r: `tome_r` is drawn from these at every step, the same on all processes; empty for the model's own.
        augment: Augmentation of training clips.
        schedule: AST's learning rates instead of `args.lr_scheduler_type`, where `decay` or `staircase_warmup` is set.
        noise: (M, n) waveforms that `augment.noise` adds.
        sampling_weights: (clips,) how often each is drawn; None for each once an epoch.
        average: Of the weights over epochs; saved in every checkpoint.
        test_dataset: Clips to score in the end, where they are others than `eval_dataset`.
        pool: How the windows of a longer clip are scored together in evaluation, as of [`pooled`]; saved in the
            model's config, for whoever classifies with it. None for what is there.
        class_weights: (classes,) of [`clip_losses`], in training.
        layer_decay: What the learning rate is multiplied by with each layer further from the head; None for 1.
        adam_l2: AST's optimiser, Adam with weight decay in the gradient, instead of `args.optim`.
        kwargs: What `Trainer` takes: `train_dataset`, `eval_dataset`, `compute_metrics`, `callbacks` …
    """

    # The loss below is the mean over the clips; what else the Trainer would do to it for accumulation is wrong for it.
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: torch.nn.Module,
        args: TrainingArguments,
        *,
        extractor: FastASTFeatureExtractor,
        loss: str = "cross_entropy",
        train_r: Sequence[int] = (),
        augment: AugmentationArguments | None = None,
        schedule: ScheduleArguments | None = None,
        noise: Tensor | None = None,
        sampling_weights: Tensor | None = None,
        average: WeightAverage | None = None,
        test_dataset: Any = None,
        pool: str | None = None,
        class_weights: Tensor | None = None,
        layer_decay: float | None = None,
        adam_l2: bool = False,
        **kwargs: Any,
    ) -> None:
        if loss not in ("cross_entropy", "bce"):
            raise ValueError(f"loss is {loss!r}: choose cross_entropy or bce")
        if pool is not None:
            if pool not in POOLS:
                raise ValueError(f"pool is {pool!r}: choose one of {', '.join(POOLS)}")
            model.config.window_pool = pool  # type: ignore[union-attr]
        self.augment, self.schedule = augment or AugmentationArguments(), schedule or ScheduleArguments()
        if self.augment.noise > 0 and (noise is None or not len(noise)):
            raise ValueError("augmentation with noise needs clips to take it from: the corpus has no class _silence_")
        self.extractor, self.loss, self.train_r, self.noise = extractor, loss, list(train_r), noise
        self.sampling_weights, self.average, self.test_dataset = sampling_weights, average, test_dataset
        self.adam_l2, self.class_weights, self.layer_decay = adam_l2, class_weights, layer_decay
        self._frozen = frozen_parts(model)
        self.unreadable: set[int] = set()
        self.settings: dict[str, Any] = {}  # of the run, for its checkpoints
        self._microstep = (-1, 0)  # optimizer step, and which of its accumulation steps comes next
        if adam_l2:
            betas = (args.adam_beta1, args.adam_beta2)
            kwargs["optimizer_cls_and_kwargs"] = (
                torch.optim.Adam,
                {"lr": args.learning_rate, "betas": betas, "eps": args.adam_epsilon},
            )
        if len(self.train_r) > 1:  # a graph for each r
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * len(self.train_r))
        args.remove_unused_columns = False
        args.logging_nan_inf_filter = False  # such a loss ends the run
        args.dataloader_pin_memory &= args.device.type == "cuda"
        if isinstance(kwargs.get("train_dataset"), IterableDataset):
            args.accelerator_config.dispatch_batches = False  # every process reads its own shards of the stream
        super().__init__(model, args, data_collator=collate, processing_class=extractor, **kwargs)
        self.model_accepts_loss_kwargs = False
        self.stopping = Stopping(self)
        if self.pop_callback(ProgressCallback):
            self.add_callback(Bar)
        self.remove_callback(PrinterCallback)
        for callback in (Epochs(self), self.stopping, EpochLines(self)):
            self.add_callback(callback)

    @property
    def merging(self) -> str:
        """How many tokens merge in training, in words."""
        return f"one of {self.train_r}" if self.train_r else str(getattr(self.model.config, "tome_r", 0))

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """transformers', stopped by SIGINT, SIGTERM or SIGHUP after a checkpoint.

        Raises:
            Stopped: A signal was heard.
            ValueError: The loss is not finite, or the checkpoint to resume from is another run's.
        """
        with self.stopping.listening():
            return super().train(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """transformers', which ends a run whose loss is not finite before the weights change."""
        loss: Tensor = super().training_step(*args, **kwargs)
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {loss.item()}")
        return loss

    def _diverged(self, what: str) -> ValueError:
        return ValueError(
            f"{what} at step {self.state.global_step + 1}: lower --learning-rate, or limit gradients by "
            "--max-grad-norm 1; to go on from the last checkpoint, give it as --model, and another output folder"
        )

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Mean loss over the batch's clips, weighted by the batch's share of the optimizer step."""
        tome_r = None
        if model.training:
            tome_r = self._begin_step(inputs)
        view = self.view(inputs, augment=model.training)
        if "windows" in inputs:
            features, logits = view.waveforms, self._logits_of_windows(model, view, inputs["windows"].tolist())
        else:
            features = self.features(view)
            logits = model(features, tome_r=tome_r).logits.float()
        readable = view.targets[:, 0] != UNREADABLE
        losses = self.losses(logits, view, features)
        # The mean over what could be read, without asking the device what that is.
        loss = torch.where(readable, losses, 0.0).sum() / readable.sum().clamp(min=1)
        if model.training and num_items_in_batch is not None:
            loss = loss * (len(readable) * self.current_gradient_accumulation_steps / num_items_in_batch)
        return (loss, {"logits": logits}) if return_outputs else loss

    def _logits_of_windows(self, model: torch.nn.Module, view: View, counts: list[int]) -> Tensor:
        """Logits (B, classes) of whole clips, whose windows go through the model a batch at a time."""
        parts = []
        for waveforms, num_samples in zip(
            *(part.split(self.args.eval_batch_size) for part in (view.waveforms, view.num_samples)), strict=True
        ):
            windows = replace(view, waveforms=waveforms, num_samples=num_samples)
            parts.append(model(self.features(windows)).logits.float())
        multi_label = self.model.config.problem_type == "multi_label_classification"
        return pooled_logits(torch.cat(parts), counts, multi_label, pool_of(self.model.config))

    def view(self, inputs: dict[str, Tensor], augment: bool = False) -> View:
        """A batch, augmented or as it is."""
        view = View(inputs["waveforms"], inputs["num_samples"], inputs["labels"], SpectrogramDraws())
        if not augment:
            return view
        with torch.no_grad(), torch.autocast(inputs["waveforms"].device.type, enabled=False):
            settings, rate = self.augment, self.extractor.sampling_rate
            view = augmented(view, inputs, settings, self.noise, rate, self.args.label_smoothing_factor)
            draws = draw_for_spectrograms(
                self.extractor, view.waveforms, settings.frequency_mask, settings.time_mask, settings.roll
            )
        return replace(view, draws=draws)

    def features(self, view: View) -> Tensor:
        """The model's input (B, frames, mel bins)."""
        with torch.no_grad(), torch.autocast(view.waveforms.device.type, enabled=False):
            return spectrograms(self.extractor, view)

    def losses(self, logits: Tensor, view: View, features: Tensor) -> Tensor:
        """Loss (B,) of each clip; what it is for clips that could not be read does not count."""
        return clip_losses(logits, view.targets, self.loss, self.weights_in_training(logits))

    def weights_in_training(self, logits: Tensor) -> Tensor | None:
        """The classes' weights where the logits are lying; None in evaluation."""
        return None if self.class_weights is None or not self.model.training else self.class_weights.to(logits.device)

    def _begin_step(self, inputs: dict[str, Tensor]) -> int | None:
        """Seed what this accumulation step draws, note what could not be read, and draw its r."""
        for part in self._frozen:  # which the Trainer has set to training
            part.eval()
        step = self.state.global_step
        micro = self._microstep[1] if self._microstep[0] == step else 0
        self._microstep = (step, micro + 1)
        key = hash((self.args.seed, step, micro, self.args.process_index))  # of integers: the same in every run
        torch.manual_seed(key % 2**63)
        self.unreadable |= set(inputs["unreadable"][inputs["unreadable"] >= 0].tolist())
        return random.Random(hash((self.args.seed, step))).choice(self.train_r) if self.train_r else None

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> tuple[list[Any], Any]:
        """The batches of an optimizer step, and the clips in all of them."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, sum(len(batch["labels"]) for batch in batches)

    def get_train_dataloader(self) -> DataLoader:
        """The Trainer's, but that of a stream is not split over processes: it is one process' share already."""
        if not isinstance(self.train_dataset, ClipStream):
            return super().get_train_dataloader()
        from accelerate.data_loader import prepare_data_loader

        args = self.args
        batches = DataLoader(
            self.train_dataset,
            batch_size=self._train_batch_size,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            prefetch_factor=args.dataloader_prefetch_factor,
            multiprocessing_context=args.dataloader_multiprocessing_context,
        )
        return prepare_data_loader(
            batches, args.device, num_processes=1, process_index=0, put_on_device=True, dispatch_batches=False
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler | None:
        clips = len(train_dataset or self.train_dataset)
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        self.sampler = ClipSampler(clips, self.sampling_weights, self.augment.mixup, seed)
        return self.sampler

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Model and front end; of the arguments, which transformers would pickle, `results.json` tells."""
        folder = Path(output_dir or self.args.output_dir)
        if self.args.should_save:
            model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            adapted = has_adapters(model)
            if adapted and folder.parent != Path(self.args.output_dir):  # no checkpoint to go on from
                model, state_dict, adapted = merged(model), None, False
            model.save_pretrained(folder, state_dict=state_dict, save_original_format=not adapted)
            self.extractor.save_pretrained(folder)

    def run_settings(self) -> dict[str, Any]:
        """What a resumed run has to have in common with the one that was stopped, by name."""
        args, config = self.args, self.model.config
        size = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        return {
            **self.settings,
            "labels": labels_in_order(config),
            "clips": None if isinstance(self.train_dataset, ClipStream) else len(self.train_dataset),
            **{name: getattr(config, name, None) for name in _MODEL},
            **{name: getattr(self.extractor, name) for name in _FRONT_END},
            **{name: getattr(args, name) for name in _OPTIMISATION},
            "batch size over all devices": size,
        }

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        options = {*self.settings, *_OPTIMISATION}
        check_same_run(Path(resume_from_checkpoint), self.run_settings(), options)
        check_no_shorter(Path(resume_from_checkpoint), self.args)
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """transformers', of finite weights alone; marked as whole in the end."""
        if not all(weight.isfinite().all() for weight in self.model.parameters()):
            raise self._diverged("weights are not finite")
        checkpoint = self.stopping.checkpoint
        (checkpoint / COMPLETE).unlink(missing_ok=True)
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            mark_complete(checkpoint, self.run_settings())

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self.average is not None and self.args.should_save:
            self.average.save(output_dir)
        self.unreadable_file(output_dir).write_text(json.dumps(sorted(self.unreadable)))

    def unreadable_file(self, checkpoint: str | Path) -> Path:
        """Where this process keeps, in a checkpoint, which clips it could not read."""
        return Path(checkpoint) / f"unreadable_{self.args.process_index}.json"

    def get_decay_parameter_names(self, model: torch.nn.Module) -> list[str]:
        """All of them with AST's optimiser; else transformers' choice."""
        names: list[str] = super().get_decay_parameter_names(model)
        return [name for name, _ in model.named_parameters()] if self.adam_l2 else names

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """transformers', with learning rates that fall from layer to layer where `layer_decay` is set."""
        if self.optimizer is not None or self.layer_decay is None:
            return super().create_optimizer(*args, **kwargs)
        optimizer = super().create_optimizer(*args, **kwargs)
        layers = self.model.config.num_hidden_layers
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        groups = list(optimizer.param_groups)
        optimizer.param_groups.clear()
        for group in groups:
            scales = [learning_rate_scale(names[parameter], layers, self.layer_decay) for parameter in group["params"]]
            for scale in sorted(set(scales), reverse=True):  # the first one's is shown
                own = [part for part, its in zip(group["params"], scales, strict=True) if its == scale]
                optimizer.add_param_group({**group, "params": own, "lr": group["lr"] * scale})
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """AST's schedule where one is set; `max_steps` then spread over `num_train_epochs` as its epochs."""
        self.lr_scheduler: Any
        if self.lr_scheduler is None and (self.schedule.decay is not None or self.schedule.staircase_warmup):
            steps = steps_per_epoch(num_training_steps, self.args.num_train_epochs)
            factor = partial(decay_factor, self.schedule, steps_per_epoch=steps)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)
