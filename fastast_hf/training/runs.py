"""A training run and its output folder: started, resumed, finished, and its results written down."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from accelerate.utils import gather_object
from safetensors import SafetensorError
from transformers import EarlyStoppingCallback

from ..corpora import Corpus, StreamingCorpus, is_multi_label
from ..hub.card_schema import RESULTS
from ..loading.places import is_here, short_name
from ..loading.saved_weights import digest_of_folder
from .trainer import FastASTTrainer

if TYPE_CHECKING:
    from .finetuning import CorpusArguments

logger = logging.getLogger(__name__)

SIZES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "max_length", "time_stride", "num_mel_bins", "backbone",
    "head",
)  # fmt: skip
# Settings that may name files and folders.
PLACES = ("model", "teacher", "teacher_labels", "imagenet_weights", "data", "extra_data", "label_file")
OF_ONE_CORPUS = {"classes": "speech_commands", "subset": "audioset", "label_file": "audioset", "fold": "esc50"}
SPARE_BYTES = 2**24  # a disk with less free is taken for full where writing to it failed


class Run:
    """The output folder of a run.

    Args:
        folder: Where checkpoints, the model and `results.json` go.
        resume: Whether to go on from the newest whole checkpoint there, or to skip a run that is finished.
        fold: That is tested on, of a corpus with folds.

    Raises:
        ValueError: There is an earlier run in the folder, and `resume` is False.
    """

    def __init__(self, folder: Path, resume: bool = False, fold: int | None = None) -> None:
        self.folder, self.fold = folder, fold
        self.checkpoint = newest_checkpoint(folder)
        self.is_finished = (folder / RESULTS).is_file()
        if (self.checkpoint or self.is_finished) and not resume:
            held = RESULTS if self.is_finished else self.checkpoint.name if self.checkpoint else ""
            raise ValueError(f"{folder} holds {held} of an earlier run: add --resume to go on, or give another folder")

    def train(
        self, trainer: FastASTTrainer, corpus: Corpus | StreamingCorpus, settings: Sequence[Any]
    ) -> dict[str, Any]:
        """Train, evaluate, and save the model and the results.

        The model is the average of weights where one is made, else that of the last epoch or, with
        `load_best_model_at_end`, of the best one.

        Raises:
            OSError: The disk is full; what was saved before stays, and `resume` goes on from it.
        """
        written = written_settings(settings)
        self.folder.mkdir(parents=True, exist_ok=True)
        check_metric(trainer, corpus)
        if self.checkpoint is not None:
            check_same_model(self.checkpoint, trainer)
        try:
            trainer.train(resume_from_checkpoint=None if self.checkpoint is None else str(self.checkpoint))
            trainer.remove_callback(EarlyStoppingCallback)  # which would look for the metric among the test's
            scores = {"last" if not trainer.args.load_best_model_at_end else "best": self._test(trainer, corpus)}
            if trainer.average is not None and trainer.average.epochs:
                trainer.average.copy_to(trainer.model)
                scores["averaged"] = self._test(trainer, corpus)
            trainer.save_model(_internal_call=True)  # it is pushed below, with its results
            results = written | self._results(trainer, corpus, scores)
            if trainer.args.should_save:
                with suppress(FileNotFoundError):  # an adapter's weights are not all here
                    results["weights"] = digest_of_folder(self.folder)
                write_json(self.folder / RESULTS, results)
        except (OSError, SafetensorError, RuntimeError) as error:
            if not is_disk_full(error, self.folder):
                raise
            raise self._disk_full(trainer) from error
        if trainer.args.should_save:
            missing = sum(results["missing"].values())
            for name, score in scores.items():
                print(f"{self.folder}, {name} weights: " + describe(score))
            if missing or results["unreadable_in_training"]:
                unreadable = results["unreadable_in_training"]
                print(f"{self.folder}: {missing} clips missing, {unreadable} of those to train on unreadable")
        if trainer.args.push_to_hub:
            trainer.push_to_hub()
        trainer.accelerator.wait_for_everyone()  # before any process reads what the first one has written
        return results

    def _test(self, trainer: FastASTTrainer, corpus: Corpus | StreamingCorpus) -> dict[str, float]:
        """Scores of the model as it is on the test split, without timings."""
        dataset = trainer.test_dataset if trainer.test_dataset is not None else trainer.eval_dataset
        metrics = trainer.evaluate(dataset, metric_key_prefix="test")
        timings = ("runtime", "per_second", "jit")
        return {key.removeprefix("test_"): v for key, v in metrics.items() if not any(t in key for t in timings)}

    def _results(
        self,
        trainer: FastASTTrainer,
        corpus: Corpus | StreamingCorpus,
        scores: dict[str, dict[str, float]],
    ) -> dict[str, Any]:
        epochs = [entry for entry in trainer.state.log_history if main_metric(corpus, "eval_") in entry]
        unreadable = sorted(set(gather_object(sorted(trainer.unreadable))))
        args = trainer.args
        counts = {split: len(rows) for split, rows in corpus.items() if hasattr(rows, "__len__")}  # a stream has none
        return {
            "training": {
                key: getattr(args, key)
                for key in (
                    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size",
                    "gradient_accumulation_steps", "weight_decay", "seed", "bf16", "fp16", "world_size",
                )
            },
            "fold": self.fold,
            "metric": main_metric(corpus),
            "clips": counts | ({"extra": len(trainer.train_dataset) - counts["train"]} if "train" in counts else {}),
            "missing": dict(corpus.missing),
            "unreadable_in_training": len(unreadable),
            "parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
            "epochs": [
                {"epoch": entry["epoch"], "score": entry[main_metric(corpus, "eval_")]} for entry in epochs
            ],
            "test": scores,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }  # fmt: skip

    def _disk_full(self, trainer: FastASTTrainer) -> OSError:
        broken = self.folder / f"checkpoint-{trainer.state.global_step}"
        if broken.is_dir() and not is_whole(broken):
            shutil.rmtree(broken, ignore_errors=True)
        last = newest_checkpoint(self.folder)
        kept = f"{last.name} is whole: free space, then go on with --resume" if last else "free space and start again"
        return OSError(f"{self.folder}: no space left to save step {trainer.state.global_step}; {kept}")


def run_folds(
    corpus_settings: CorpusArguments,
    args: transformers.TrainingArguments,
    resume: bool,
    settings: Sequence[Any],
    build: Callable[[Corpus | StreamingCorpus, int | None], FastASTTrainer],
) -> None:
    """Train on each fold that is asked for, in a folder of its own where there are several, and sum them up.

    Args:
        corpus_settings: The corpus and its folds.
        args: transformers'; `output_dir` is set for each fold.
        resume: Whether to go on with what was stopped, and to leave out what is finished.
        settings: Dataclasses to be written down in the results.
        build: The trainer for a corpus and its fold.

    Raises:
        ValueError: Several folds are to be pushed, each over the one before.
    """
    root, folds = Path(args.output_dir), corpus_settings.folds()
    if len(folds) > 1 and args.push_to_hub:
        raise ValueError(
            f"--push-to-hub would push {len(folds)} folds over each other into one repository: give --fold N, or "
            "leave it out and push a fold's folder with fastast push"
        )
    for fold in folds:
        args.output_dir = str(root if len(folds) == 1 else root / f"fold-{fold}")
        run = Run(Path(args.output_dir), resume, fold)
        if run.is_finished:
            logger.info("%s is finished: give another folder to train anew", run.folder)
            continue
        transformers.set_seed(args.seed)
        model = next((part.model for part in settings if hasattr(part, "model")), None)
        corpus = corpus_settings.load(fold, model)
        run.train(build(corpus, fold), corpus, settings)
    if len(folds) > 1 and args.should_save:
        summarise_folds(root, folds)


def written_settings(settings: Sequence[Any]) -> dict[str, Any]:
    """What results tell of a run's settings, but for transformers'; to be called before it begins.

    Args:
        settings: Dataclasses.

    Returns:
        `settings`, and in `local` those of them that name a file or folder of this machine, by its last part alone.
    """
    parts = [asdict(part) for part in settings if not isinstance(part, transformers.TrainingArguments)]
    written = {key: value for part in parts for key, value in part.items()}
    strange = [key for key, corpus_name in OF_ONE_CORPUS.items() if written.get("corpus") != corpus_name]
    kept = {key: value for key, value in written.items() if key not in strange}
    local = [key for key in PLACES if is_here(kept.get(key))]
    return {"settings": kept | {key: short_name(kept[key]) for key in local}, "local": local}


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the latest step that was written to its end."""
    found = [path for path in folder.glob("checkpoint-*") if is_whole(path)]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end: the Trainer's state is what it writes last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return False
    return True


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether saving to `folder` failed for want of space, which safetensors says in words and torch hides."""
    if any(words in str(error) for words in ("No space left", "StorageFull", "file write failed", "Disk quota")):
        return True
    # Of torch's zip writer: its file is not as long as it should be.
    stopped_writing = any(words in str(error) for words in ("unexpected pos", "iostream error", "inline_container"))
    if stopped_writing and shutil.disk_usage(folder).free < SPARE_BYTES:
        return True
    reason = error.__cause__ or error.__context__
    return reason is not None and is_disk_full(reason, folder)


def main_metric(corpus: Corpus | StreamingCorpus, prefix: str = "") -> str:
    """The metric that a corpus is judged by: mAP where clips have several labels, else accuracy."""
    return prefix + ("mean_average_precision" if is_multi_label(corpus) else "accuracy")


def check_same_model(checkpoint: Path, trainer: FastASTTrainer) -> None:
    """Raise a ValueError for a checkpoint of a model of other sizes than the one to be trained on."""
    stored = json.loads((checkpoint / "config.json").read_text())
    wanted = trainer.model.config.to_dict()
    other = [key for key in SIZES if stored.get(key) != wanted.get(key)]
    if other:
        difference = ", ".join(f"{key} {stored.get(key)} and not {wanted.get(key)}" for key in other)
        raise ValueError(
            f"{checkpoint} is of another model ({difference}): resume with the settings it was begun with"
        )


def check_metric(trainer: FastASTTrainer, corpus: Corpus | StreamingCorpus) -> None:
    """Raise a ValueError for a metric to choose epochs by that there is none of: the Trainer would find out late."""
    known = ["loss", "accuracy"]
    if is_multi_label(corpus):
        known = ["loss", "mean_average_precision", "d_prime", "roc_auc"]
    wanted = trainer.args.metric_for_best_model
    if wanted is not None and wanted.removeprefix("eval_") not in known:
        raise ValueError(f"metric_for_best_model is {wanted!r}: choose one of {', '.join(known)}")


def check_fold(checkpoint: str, fold: int | None) -> None:
    """Raise a ValueError for a checkpoint that was trained on what it would be tested on, as its results say."""
    results = Path(checkpoint) / RESULTS
    if fold is None or not results.is_file():
        return
    tested_on = json.loads(results.read_text()).get("fold")
    if tested_on is not None and tested_on != fold:
        raise ValueError(
            f"{checkpoint} was trained on the clips of fold {fold}, and kept from those of fold {tested_on}: give "
            f"--fold {tested_on}, or a folder of fold-1 to fold-5 with a checkpoint for each"
        )


def describe(score: dict[str, float]) -> str:
    """Scores on a line."""
    return ", ".join(f"{key} {value:.4g}" for key, value in score.items() if key not in ("epoch", "loss"))


def summarise_folds(root: Path, folds: Sequence[int | None]) -> dict[str, Any]:
    """Mean over the folds at the epoch that is best for their mean (AST's protocol), and at the last.

    Writes `results.json` in `root` and prints a line.
    """
    runs = [json.loads((root / f"fold-{fold}" / RESULTS).read_text()) for fold in folds]
    summary: dict[str, Any] = {"metric": runs[0]["metric"], "folds": list(folds), "best": None, "last": None}
    said = []
    for name in runs[0]["test"]:
        scores = [run["test"][name][summary["metric"]] for run in runs]
        mean = sum(scores) / len(scores)
        summary[f"{name}_weights"] = {"mean": mean, "folds": scores}
        said.append(f"{mean:.4f} with the {name} weights")
    epochs = [epoch["epoch"] for epoch in runs[0]["epochs"]]
    # A fold that stopped early has no score at the epochs of the others.
    if epochs and all([epoch["epoch"] for epoch in run["epochs"]] == epochs for run in runs):
        curves = [[epoch["score"] for epoch in run["epochs"]] for run in runs]
        means = [sum(scores) / len(scores) for scores in zip(*curves, strict=True)]
        best = max(range(len(means)), key=means.__getitem__)
        summary["best"] = {"epoch": epochs[best], "mean": means[best], "folds": [curve[best] for curve in curves]}
        summary["last"] = {"epoch": epochs[-1], "mean": means[-1], "folds": [curve[-1] for curve in curves]}
        said.append(f"{means[best]:.4f} after epoch {epochs[best]:g}, the best for the mean")
    write_json(root / RESULTS, summary)
    print(f"{root}, mean of {len(folds)} folds: {summary['metric']} {', '.join(said)}")
    return summary


def write_json(path: Path, content: Any) -> None:
    """Write a file that is either whole or not there."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
