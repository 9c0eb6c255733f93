"""Train a teacher on a corpus: a CNN of timm, or PaSST.

    accelerate launch training/run_teacher.py --recipe teacher_cnn_esc50 --data ESC-50 --output teacher

Its options are those of run_finetune.py. With `--fold all` ESC-50 gets a teacher for each fold. No teacher has heard
the clips that its students are tested on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from transformers import TrainingArguments

from fastast_hf.corpora import Corpus, StreamingCorpus
from fastast_hf.distillation.teachers.building import TeacherModelArguments, build_teacher
from fastast_hf.errors import one_line_errors
from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments
from fastast_hf.training.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.training.recipes import RecipeParser, RunArguments, parse_with_recipe
from fastast_hf.training.runs import run_folds
from fastast_hf.training.trainer import FastASTTrainer

PARTS = (CorpusArguments, TeacherModelArguments, LearningArguments, AugmentationArguments, ScheduleArguments)


@one_line_errors("run_teacher.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build, train, evaluate; for each fold in turn where all are asked for."""
    parser = RecipeParser((*PARTS, RunArguments, TrainingArguments))
    *settings, args = parse_with_recipe(parser, sys.argv[1:] if argv is None else argv)
    corpus_settings, model_settings, learning, augment, schedule, run = settings

    def build(corpus: Corpus | StreamingCorpus, fold: int | None) -> FastASTTrainer:
        model, extractor, corpus = build_teacher(model_settings, corpus)
        return build_trainer(model, extractor, corpus, corpus_settings, learning, augment, schedule, args)

    run_folds(corpus_settings, args, run.resume, settings, build)
    return 0


if __name__ == "__main__":
    sys.exit(main())
