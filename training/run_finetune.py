"""Fine-tune a FastAST on a corpus, or train one from nothing.

    accelerate launch training/run_finetune.py --recipe esc50 --data ESC-50 --fold all --output out

A recipe (training/recipes/) holds settings of the dataclasses below and of transformers' TrainingArguments; the
command line replaces any of them. `--resume` continues a run that was stopped. `fastast train` launches this script.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from transformers import TrainingArguments

from fastast_hf.corpora import Corpus, StreamingCorpus
from fastast_hf.errors import one_line_errors
from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments
from fastast_hf.training.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.training.recipes import RecipeParser, RunArguments, parse_with_recipe
from fastast_hf.training.runs import run_folds
from fastast_hf.training.start.adaptation import AdaptationArguments, adapt
from fastast_hf.training.start.student import ModelArguments, build_extractor, build_model
from fastast_hf.training.trainer import FastASTTrainer

PARTS = (CorpusArguments, ModelArguments, AdaptationArguments, LearningArguments, AugmentationArguments)


@one_line_errors("run_finetune.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build, train, evaluate; for each fold in turn where all are asked for."""
    parser = RecipeParser((*PARTS, ScheduleArguments, RunArguments, TrainingArguments))
    *settings, args = parse_with_recipe(parser, sys.argv[1:] if argv is None else argv)
    corpus_settings, model_settings, adaptation, learning, augment, schedule, run = settings

    def build(corpus: Corpus | StreamingCorpus, fold: int | None) -> FastASTTrainer:
        model, corpus = build_model(model_settings, corpus)
        extractor = build_extractor(model_settings, model, corpus)
        shared = (corpus_settings, learning, augment, schedule, args)
        adapt(model, adaptation, trained_before=model_settings.model is not None)
        own = {"train_r": model_settings.train_r, "layer_decay": adaptation.layer_decay}
        return build_trainer(model, extractor, corpus, *shared, **own)

    run_folds(corpus_settings, args, run.resume, settings, build)
    return 0


if __name__ == "__main__":
    sys.exit(main())
