"""A training run and its output folder: started, resumed, finished, and its results written down."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import gather_object
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from transformers import EarlyStoppingCallback, EvalPrediction

from ..corpora import Corpus, StreamingCorpus, is_multi_label, label_names, targets_of
from ..corpora.corpus import first_of
from ..errors import counted
from ..hub.facts import RESULTS
from ..loading.places import check_output
from ..loading.progress import only_downloads_shown
from ..loading.saved_weights import digest_of_folder
from ..model.configuration_fastast import FastASTConfig
from .arguments import CORPORA_OF
from .checkpoints import checkpoints, is_whole, newest_checkpoint
from .finetuning import CorpusArguments
from .inputs.streaming import ClipStream
from .reporting import Tested, chosen_on, predict, tune_thresholds, write_report
from .results import SPLIT, describe, summarise_folds, write_json, write_split, written_settings
from .trainer import FastASTTrainer

logger = logging.getLogger(__name__)

LOCK_WAIT = 10.0  # seconds: when a run is killed, its workers keep its lock until they notice
SPARE_BYTES = 2**24  # a disk with less free is taken for full where writing to it failed
# Settings that a resumed run may change, or that its model and front end tell.
_MAY_CHANGE = (
    "resume",
    "teacher",
    "teacher_labels",
    "teacher_scores",
    "frames",
    "mean",
    "std",
    "hidden_size",
    "layers",
    "heads",
    "stride",
    "mel_bins",
)


class Run:
    """The output folder of a run.

    Args:
        folder: Where checkpoints, the model and `results.json` go.
        resume: Whether to go on from the newest whole checkpoint there, or to skip a run that is finished.
        fold: That is tested on, of a corpus with folds.

    Raises:
        ValueError: There is an earlier run in the folder, and `resume` is False; or none of the checkpoints there
            can be resumed.
    """

    def __init__(self, folder: Path, resume: bool = False, fold: int | None = None) -> None:
        self.folder, self.fold = folder, fold
        self.checkpoint = newest_checkpoint(folder)
        self.is_finished = (folder / RESULTS).is_file()
        if not (self.checkpoint or self.is_finished) and (others := checkpoints(folder)):
            names = ", ".join(path.name for path in reversed(others))
            raise ValueError(
                f"{folder} holds {names}, which can't be resumed (damaged, or not written by this version), and which "
                "training would delete: give another --output, or remove them"
            )
        if resume and not self.checkpoint and not self.is_finished:
            logger.warning("%s: nothing to resume, so training starts from the beginning", folder)
        if (self.checkpoint or self.is_finished) and not resume:
            held = RESULTS if self.is_finished else self.checkpoint.name if self.checkpoint else ""
            raise ValueError(f"{folder} holds {held} of an earlier run: add --resume to go on, or give another folder")

    def is_done(self, args: transformers.TrainingArguments) -> bool:
        """Whether the run is finished, and no more epochs or steps are asked for than it has gone.

        Raises:
            ValueError: More are asked for, and there is no checkpoint to go on from.
        """
        if not self.is_finished:
            return False
        length = "max_steps" if args.max_steps > 0 else "num_train_epochs"
        gone = json.loads((self.folder / RESULTS).read_text())["training"][length]
        if getattr(args, length) <= gone:
            option = length.replace("_", "-")
            logger.info(
                "%s: this run is finished. Give --%s above %g to extend it, or another folder to train again.",
                self.folder,
                option,
                gone,
            )
            return True
        if self.checkpoint is None:
            raise ValueError(
                f"{self.folder} holds a finished run and no checkpoint to extend it from: give another folder"
            )
        return False

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
        check_before_training(trainer, corpus)
        own = written["settings"].get("corpus") in ("csv", "audiofolder", "datasets")
        if trainer.args.should_save and isinstance(corpus, Corpus) and (own or not corpus.own_splits):
            write_split(self.folder / SPLIT, corpus)
        trainer.settings = {key: value for key, value in written["settings"].items() if key not in _MAY_CHANGE}
        if getattr(trainer.model.config, "thresholds", None) is not None:
            trainer.model.config.thresholds = trainer.model.config.thresholds_split = None  # of other weights
        if self.checkpoint is not None:
            logger.info("resuming from %s", self.checkpoint)
        try:
            trainer.train(resume_from_checkpoint=None if self.checkpoint is None else str(self.checkpoint))
            trainer.remove_callback(EarlyStoppingCallback)  # which would look for the metric among the test's
            trainer.save_model(_internal_call=True)  # before it is tested; it is pushed below, with its results
            clips = trainer.test_dataset if trainer.test_dataset is not None else trainer.eval_dataset
            tested = predict(trainer, clips)
            scores = {"last" if not trainer.args.load_best_model_at_end else "best": tested.scores}
            if trainer.average is not None and trainer.average.epochs:
                trainer.average.copy_to(trainer.model)
                trainer.save_model(_internal_call=True)
                tested = predict(trainer, clips)
                scores["averaged"] = tested.scores
            unreadable = sorted(set(gather_object(sorted(trainer.unreadable))))
            results = written | self._results(trainer, corpus, scores, len(unreadable))
            if trainer.args.should_save:
                with suppress(FileNotFoundError):  # an adapter's weights are not all here
                    results["weights"] = digest_of_folder(self.folder)
                write_json(self.folder / RESULTS, results)
            report = self._report(trainer, tested, written["settings"].get("corpus"))
        except (OSError, SafetensorError, RuntimeError) as error:
            if not is_disk_full(error, self.folder):
                raise
            raise self._disk_full(trainer) from error
        if trainer.args.should_save:
            missing = sum(results["missing"].values())
            if results["epochs"]:
                best = max(results["epochs"], key=lambda epoch: epoch["score"])
                split = "test" if trainer.eval_dataset is trainer.test_dataset else "validation"
                print(f"{self.folder}: best {_when(best['epoch'], trainer)} ({split} ", end="")
                print(describe({results["metric"]: best["score"]}) + ")")
            for name, score in scores.items():  # the last of them are in the folder
                saved = "saved: " if name == [*scores][-1] else ""
                split = "validation" if trainer.test_dataset is None else "test"
                print(f"{self.folder}: {saved}the {name} weights ({split} {describe(score)})")
            if missing or unreadable:
                print(
                    f"{self.folder}: {missing} clip{'s'[: missing != 1]} missing, {len(unreadable)} of those to train "
                    "on unreadable" + _names(trainer.train_dataset, unreadable)
                )
            found = [file for file in self.folder.glob("[!.]*") if file.is_file()]
            files = sorted(file.name for file in found if file.suffix != ".py")
            code = len(found) - len(files)
            print(f"{self.folder}: wrote {', '.join(files)}" + (f" and {code} code files" if code else ""))
            if report is not None:
                print(f"{self.folder}: what is right and wrong is in {report}")
        if trainer.args.push_to_hub:
            trainer.push_to_hub()
        trainer.accelerator.wait_for_everyone()  # before any process reads what the first one has written
        return results

    def _report(self, trainer: FastASTTrainer, tested: Tested, corpus: str | None) -> Path | None:
        """Tune thresholds for several labels, and write the page; nothing where nobody has labelled the clips."""
        if corpus == "unlabelled":
            return None
        tune_thresholds(trainer, tested, self.folder)
        if not trainer.args.should_save:
            return None
        fold = "" if self.fold is None else f", fold {self.fold}"
        try:
            return write_report(trainer, tested, self.folder, {"corpus": f"{corpus}{fold}"})
        except Exception as error:  # the model and its scores are saved: nothing of them is lost
            if is_disk_full(error, self.folder):
                raise
            logger.warning("%s: no report could be written: %s: %s", self.folder, type(error).__name__, error)
            return None

    def _results(
        self,
        trainer: FastASTTrainer,
        corpus: Corpus | StreamingCorpus,
        scores: dict[str, dict[str, float]],
        unreadable: int,
    ) -> dict[str, Any]:
        epochs = [entry for entry in trainer.state.log_history if main_metric(corpus, "eval_") in entry]
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
            "best_epoch_chosen_on": chosen_on(trainer),
            "clips": counts | ({"extra": len(trainer.train_dataset) - counts["train"]} if "train" in counts else {}),
            "missing": dict(corpus.missing),
            "unreadable_in_training": unreadable,
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
        ValueError: Several folds are to be pushed, each over the one before, or another run trains in the folder.
    """
    root, folds = Path(args.output_dir), corpus_settings.folds()
    if args.output_dir == "trainer_output":  # transformers' own, for want of a folder
        raise ValueError("no output folder: give --output, where checkpoints, the model and its results go")
    if args.max_steps <= 0 and args.num_train_epochs <= 0:
        raise ValueError(f"--num-train-epochs is {args.num_train_epochs:g}: give more than 0, or --max-steps")
    if len(folds) > 1 and args.push_to_hub:
        raise ValueError(
            f"--push-to-hub would push {len(folds)} folds over each other into one repository: give --fold N, or "
            "leave it out and push a fold's folder with fastast push"
        )
    only_downloads_shown()
    with locked(root) if args.should_save else nullcontext():
        for fold in folds:
            args.output_dir = str(root if len(folds) == 1 else root / f"fold-{fold}")
            run = Run(Path(args.output_dir), resume, fold)
            if run.is_done(args):
                continue
            transformers.set_seed(args.seed)
            model = next((part.model for part in settings if hasattr(part, "model")), None)
            corpus = corpus_settings.load(fold, model)
            if "train" not in corpus:
                raise ValueError(f"no clips to train on, only {', '.join(corpus)}: give some the split train")
            trainer = build(corpus, fold)
            if args.should_save:
                print(f"{run.folder}: {_what_is_trained(trainer, corpus, corpus_settings, fold)}")
            run.train(trainer, corpus, settings)
    if args.should_save:
        if len(folds) > 1:
            summarise_folds(root, folds)
        print("next:", *next_commands(root, corpus_settings, folds), sep="\n  ")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, by a hidden file in it.

    Raises:
        ValueError: Another run has it.
    """
    check_output(folder, "folder")
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock", timeout=LOCK_WAIT)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(f"another run trains in {folder}: wait for it, or give another --output") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        with suppress(OSError):  # it is not empty, unless the run was refused
            folder.rmdir()


def _names(clips: Any, indices: Sequence[int]) -> str:
    """The first of some clips, after a colon; nothing of a stream, whose clips have no names by then."""
    if isinstance(clips, ClipStream) or not indices:
        return ""
    return ": " + first_of([str(clips.split[index]["audio"]["path"]) for index in indices])


def _what_is_trained(trainer: FastASTTrainer, corpus: Any, corpus_settings: CorpusArguments, fold: int | None) -> str:
    """The corpus, its splits and the model, on a line."""
    counts = [counted(len(rows), f"{split} clip") for split, rows in corpus.items() if hasattr(rows, "__len__")]
    name = corpus_settings.corpus if fold is None else f"{corpus_settings.corpus}, fold {fold} to test on"
    every = sum(parameter.numel() for parameter in trainer.model.parameters())
    trained = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    of_them = "" if trained == every else f" ({trained:,} of {every:,} are trained)"
    return (
        f"{name}: {', '.join(counts)}, {len(label_names(corpus))} classes, "
        f"{counted(sum(corpus.missing.values()), 'clip')} missing; "
        f"{every / 1e6:.1f} M parameters{of_them}, r {trainer.merging}"
    )


def next_commands(root: Path, corpus: CorpusArguments, folds: Sequence[int | None]) -> list[str]:
    """Two commands that use what was trained."""
    model = root if len(folds) == 1 else root / f"fold-{folds[0]}"
    place = ["--data", corpus.data] if corpus.data else ["--hub-id", str(corpus.hub_id)]
    named = [corpus.corpus, *place, *(["--fold", corpus.fold] if corpus.fold and len(folds) == 1 else [])]
    for option in sorted(set(CORPORA_OF) - {"fold"}):
        if (given := getattr(corpus, option)) not in (None, []):
            named += [f"--{option.replace('_', '-')}", *(given if isinstance(given, list) else [str(given)])]
    if json.loads((model / "config.json").read_text())["model_type"] != FastASTConfig.model_type:
        return [
            f"fastast distill --corpus {shlex.join(named)} --teacher {shlex.quote(str(root))} --model CHECKPOINT",
            f"fastast push {shlex.quote(str(model))} USER/NAME",
        ]
    classify = f"fastast classify RECORDING --model {shlex.quote(str(model))}"
    if corpus.corpus == "unlabelled":
        return [classify]
    return [
        classify,
        f"fastast evaluate {shlex.join([*named, '--model', str(root), '--output', str(root / 'results')])}",
    ]


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether saving to `folder` failed for want of space, which safetensors says in words and torch hides."""
    said = ("No space left", "StorageFull", "file write failed", "Disk quota", "File too large")  # the last by a limit
    if any(words in str(error) for words in said):
        return True
    # Of torch's zip writer: its file is not as long as it should be.
    stopped_writing = any(words in str(error) for words in ("unexpected pos", "iostream error", "inline_container"))
    if stopped_writing and shutil.disk_usage(folder).free < SPARE_BYTES:
        return True
    reason = error.__cause__ or error.__context__
    return reason is not None and is_disk_full(reason, folder)


def _when(epoch: float, trainer: FastASTTrainer) -> str:
    """A whole epoch, or else the step."""
    if epoch % 1 == 0:
        return f"epoch {epoch:g}"
    return f"step {next(entry['step'] for entry in trainer.state.log_history if entry.get('epoch') == epoch)}"


def main_metric(corpus: Corpus | StreamingCorpus, prefix: str = "") -> str:
    """The metric that a corpus is judged by: mAP where clips have several labels, else accuracy."""
    return prefix + ("mean_average_precision" if is_multi_label(corpus) else "accuracy")


def check_before_training(trainer: FastASTTrainer, corpus: Corpus | StreamingCorpus) -> None:
    """Find out what would otherwise end the run after its last step.

    Raises:
        ValueError: There is no such metric to choose epochs by, no clip to test on can be read, or their labels allow
            no score.
    """
    known = ["loss", "accuracy"]
    if is_multi_label(corpus):
        known = ["loss", "mean_average_precision", "d_prime", "roc_auc"]
    wanted = trainer.args.metric_for_best_model
    if wanted is not None and wanted.removeprefix("eval_") not in known:
        raise ValueError(f"metric_for_best_model is {wanted!r}: choose one of {', '.join(known)}")
    for clips in {id(part): part for part in (trainer.eval_dataset, trainer.test_dataset) if part}.values():
        if all(clips[index]["unreadable"] >= 0 for index in range(len(clips))):
            raise ValueError(f"none of the {len(clips)} clips to test on can be read: check the corpus' files")
        if is_multi_label(corpus):
            targets = targets_of(clips.split)
            compute: Any = trainer.compute_metrics
            compute(EvalPrediction(targets, targets))
