"""What happens between a run's steps: epochs begin and end, stop signals are heard, and a line is printed."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import ProgressCallback, Trainer, TrainerCallback
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ..errors import heard_signals
from .checkpoints import is_whole, newest_checkpoint
from .inputs.streaming import ClipStream, steps_per_epoch

LONGEST_UNSAVED = 600.0  # seconds
ASK_OTHERS_EVERY = 10  # steps, where there are several processes: each time they wait for each other


class Epochs(TrainerCallback):
    """Tells the sampler which pass begins, which accelerate does not, and averages weights when an epoch ends.

    Epochs are those of the schedule: the run's steps spread over `num_train_epochs`. A checkpoint of an epoch's last
    step is written after it was averaged.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up what a checkpoint knows."""
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.global_step > state.max_steps:
            raise ValueError(
                f"{checkpoint} has gone {state.global_step} steps, and {state.max_steps} are asked for: give more "
                "epochs (--num-train-epochs) or steps (--max-steps)"
            )
        if self.trainer.unreadable_file(checkpoint).is_file():
            self.trainer.unreadable |= set(json.loads(self.trainer.unreadable_file(checkpoint).read_text()))
        if self.trainer.average is not None and state.global_step > 0:
            self.trainer.average.load(checkpoint)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell the sampler."""
        if hasattr(self.trainer, "sampler"):
            self.trainer.sampler.epoch = int(state.epoch or 0)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Average the weights where an epoch ends."""
        steps = steps_per_epoch(state.max_steps, args.num_train_epochs)
        if isinstance(self.trainer.train_dataset, ClipStream):
            state.epoch = state.global_step / steps  # the Trainer takes the whole run for one pass
        if self.trainer.average is not None and (
            state.global_step % steps == 0 or state.global_step == state.max_steps
        ):
            self.trainer.average.update(self.trainer.model, math.ceil(state.global_step / steps))


class Stopped(KeyboardInterrupt):
    """A signal stopped the run."""

    def __init__(self, number: int, checkpoint: Path) -> None:
        newest = newest_checkpoint(checkpoint.parent)  # of an earlier step, where it was killed at once
        saved = f"; {newest} is saved, and --resume goes on from it" if newest else ""
        super().__init__("stopped" + saved)
        self.number = number


class Stopping(TrainerCallback):
    """Saves a checkpoint and stops at SIGINT, SIGTERM or SIGHUP, and saves one each ten minutes of a long epoch."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.number = 0  # of the signal
        self.process = os.getpid()
        self.saved = time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the signals within, but for ignored ones; Python lets the main thread alone do that.

        Raises:
            Stopped: One was heard.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.number, self.saved, self.process = 0, time.monotonic(), os.getpid()
        heard = heard_signals("SIGINT", "SIGTERM", "SIGHUP")
        before = {number: signal.signal(number, self._hear) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.number:
            raise Stopped(self.number, self.checkpoint)

    @property
    def checkpoint(self) -> Path:
        """Of the step that was gone last."""
        return Path(self.trainer.args.output_dir) / f"checkpoint-{self.trainer.state.global_step}"

    def _hear(self, number: int, frame: Any) -> None:
        if os.getpid() != self.process:  # a loader's worker, which lives until the trainer ends
            return
        if self.number or self.trainer.state.global_step == 0:  # asked for twice, or nothing to save yet
            raise Stopped(number, self.checkpoint)
        self.number = number

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint where one is due, and for the end where a signal was heard."""
        unsaved = time.monotonic() - self.saved
        heard, late = self.number, args.save_strategy == SaveStrategy.EPOCH and unsaved > LONGEST_UNSAVED
        if args.world_size > 1:  # a checkpoint is written by all of them at one step
            if state.global_step % ASK_OTHERS_EVERY:
                return
            own = torch.tensor([[heard, late]], device=args.device)
            heard, late = self.trainer.accelerator.gather(own).amax(dim=0).tolist()
        if heard:
            self.number = heard
            control.should_training_stop = True
        if heard or late:
            control.should_save = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Neither evaluate an epoch that was stopped within, nor save its last step again."""
        if control.should_training_stop and self.number and state.epoch % 1:
            control.should_evaluate = control.should_save = False

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save at once where a signal is heard in an evaluation, which may be killed before it ends."""
        if self.number and self.trainer.is_in_train and args.world_size == 1 and not is_whole(self.checkpoint):
            self.trainer._save_checkpoint(self.trainer.model, trial=None)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop after the evaluation, with its score in the checkpoint."""
        if self.number and self.trainer.is_in_train and args.world_size == 1:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin the ten minutes anew."""
        self.saved = time.monotonic()


class Bar(ProgressCallback):
    """transformers' progress bar, which shows the loss and prints no dictionaries."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Show the loss."""
        if self.training_bar is not None and "loss" in (logs or {}):
            self.training_bar.set_postfix(loss=logs["loss"])

    def on_prediction_step(self, *args: Any, **kwargs: Any) -> None:
        """Show no second bar while training."""
        if self.training_bar is None:
            super().on_prediction_step(*args, **kwargs)


class EpochLines(TrainerCallback):
    """Prints a line for each evaluation, or for each log where there are none: loss, score, seconds and r."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.logs: dict[str, float] = {}
        self.began = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to count seconds."""
        self.began = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Print the line."""
        logs = logs or {}
        if "loss" in logs:
            self.logs = logs
        if not state.is_world_process_zero or not self.trainer.is_in_train:
            return
        if "eval_loss" in logs or ("loss" in logs and args.eval_strategy == IntervalStrategy.NO):
            kind = "test" if self.trainer.eval_dataset is self.trainer.test_dataset else "validation"
            shown = {name: value for name, value in self.logs.items() if name.startswith(("loss", "teacher"))}
            shown |= {
                f"{kind} {name.removeprefix('eval_')}": value
                for name, value in logs.items()
                if name.startswith("eval_") and not any(part in name for part in ("runtime", "second", "jit", "class"))
            }
            scores = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in shown.items())
            seconds, self.began = time.monotonic() - self.began, time.monotonic()
            place = f"epoch {state.epoch or 0:.3g} of {args.num_train_epochs:g}"
            if args.max_steps > 0:
                place = f"step {state.global_step} of {args.max_steps}"
            tqdm.write(f"{place}: {scores}, {seconds:.1f} s, r {self.trainer.merging}")
