"""Fine-tune a FastAST on a corpus, or train one from nothing.

    accelerate launch training/run_finetune.py --recipe esc50 --data ESC-50 --fold all --output_dir out

A recipe (training/recipes/) holds settings of the dataclasses below and of transformers' TrainingArguments; the
command line replaces any of them. `--resume` continues a run that was stopped. `fastast train` launches this script.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import TrainingArguments, set_seed

from fastast_hf.finetuning import CorpusArguments, ModelArguments, build_trainer
from fastast_hf.recipes import RecipeParser, parse_with_recipe
from fastast_hf.runs import Run, one_line_errors, summarise_folds
from fastast_hf.training import AugmentationArguments, ScheduleArguments


@dataclass
class RunArguments:
    """How to run."""

    resume: bool = field(default=False, metadata={"help": "continue what was stopped in the output folder"})


@one_line_errors("run_finetune.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build, train, evaluate; for each fold in turn where all are asked for."""
    parser = RecipeParser(
        (CorpusArguments, ModelArguments, AugmentationArguments, ScheduleArguments, RunArguments, TrainingArguments)
    )
    parsed = parse_with_recipe(parser, sys.argv[1:] if argv is None else argv)
    corpus_settings, model_settings, augment, schedule, run_settings, args = parsed
    root = Path(args.output_dir)
    folds = corpus_settings.folds()
    for fold in folds:
        args.output_dir = str(root if len(folds) == 1 else root / f"fold-{fold}")
        run = Run(Path(args.output_dir), resume=run_settings.resume)
        if run.is_finished:
            continue
        set_seed(args.seed)
        corpus = corpus_settings.load(fold)
        trainer = build_trainer(corpus_settings, model_settings, augment, schedule, args, corpus)
        run.train(trainer, corpus, parsed)
    if len(folds) > 1:
        summarise_folds(root, folds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
