"""Distil a teacher of another family into a FastAST (CMKD): a recipe of fine-tuning, with a teacher.

    accelerate launch training/run_kd.py --recipe esc50 --teacher teacher --data ESC-50 --output out

All settings of run_finetune.py, and which teacher. `--teacher` is a folder or Hub id; of a folder that holds
`fold-1` …, each fold gets its own. `fastast distill` launches this script.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import TrainingArguments

from fastast_hf.corpora import Corpus, StreamingCorpus
from fastast_hf.distillation.teachers.itself import SelfTeacher
from fastast_hf.distillation.trainer import CMKDTrainer, DistillationArguments, build_distillation, check_teachers
from fastast_hf.distillation.unlabelled import labelled_by, with_agreement
from fastast_hf.errors import one_line_errors
from fastast_hf.training.arguments import AugmentationArguments, ScheduleArguments
from fastast_hf.training.finetuning import CorpusArguments, LearningArguments, build_trainer
from fastast_hf.training.recipes import RecipeParser, RunArguments, parse_with_recipe
from fastast_hf.training.runs import run_folds
from fastast_hf.training.start.adaptation import AdaptationArguments, adapt
from fastast_hf.training.start.student import ModelArguments, build_extractor, build_model, extractor_of
from fastast_hf.training.trainer import FastASTTrainer

PARTS = (CorpusArguments, ModelArguments, AdaptationArguments, DistillationArguments, LearningArguments)


@one_line_errors("run_kd.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Parse, build, train, evaluate; for each fold in turn where all are asked for."""
    parser = RecipeParser((*PARTS, AugmentationArguments, ScheduleArguments, RunArguments, TrainingArguments))
    *settings, args = parse_with_recipe(parser, sys.argv[1:] if argv is None else argv)
    corpus_settings, model_settings, adaptation, distillation, learning, augment, schedule, run = settings
    unlabelled = corpus_settings.corpus == "unlabelled"
    if unlabelled:
        if distillation.lam:
            raise ValueError(f"lam is {distillation.lam}, and unlabelled sound has no ground truth: give --lam 0")
        if corpus_settings.streaming:
            raise ValueError("a stream can't be labelled by its teacher beforehand: leave out --streaming")
        corpus_settings.teacher_knows = distillation.knows(model_settings.model) if distillation.teacher else None
    check_teachers(distillation, corpus_settings, extractor_of(model_settings))

    def build(corpus: Corpus | StreamingCorpus, fold: int | None) -> FastASTTrainer:
        model, corpus = build_model(model_settings, corpus)
        teaching = build_distillation(distillation, corpus, fold, args)  # first, for the next may take minutes
        if teaching["teacher"] is not None:
            teaching["teacher"].check_rate(extractor_of(model_settings).sampling_rate)
        extractor = build_extractor(model_settings, model, corpus)
        if teaching["teacher"] is None:
            if model_settings.model is None:
                raise ValueError(
                    "a model from nothing has nothing to teach itself: give --model, or another --teacher"
                )
            if not any([*model.config.merges_per_layer(), *model_settings.train_r]):
                raise ValueError("with r = 0 the student is its teacher: give --r or --train-r, or another --teacher")
            teaching["teacher"] = SelfTeacher(model.to(args.device), extractor)
        shared = (corpus_settings, learning, augment, schedule, args)
        if unlabelled:
            kept = Path(distillation.teacher_scores or args.output_dir)
            where = (extractor.sampling_rate, kept, args.eval_batch_size, args.device)
            with args.main_process_first(desc="what the teacher says"):
                corpus, likeliest, spread = labelled_by(teaching["teacher"], corpus, *where)
            if distillation.distance == "mse":
                teaching["deviation"] = spread.deviation
            # Its first steps need not learn each class' mean.
            if (model_settings.model or "timm/").startswith("timm/"):
                means = spread.logit if distillation.distance == "mse" else torch.logit(spread.probability, eps=1e-4)
                model.classifier.dense.bias.data.copy_(means)
        adapt(model, adaptation, trained_before=model_settings.model is not None)
        own = {"train_r": model_settings.train_r, "layer_decay": adaptation.layer_decay, **teaching}
        trainer = build_trainer(model, extractor, corpus, *shared, trainer_class=CMKDTrainer, **own)
        if unlabelled:
            trainer.compute_metrics = with_agreement(trainer.compute_metrics, likeliest)
        return trainer

    run_folds(corpus_settings, args, run.resume, settings, build)
    return 0


if __name__ == "__main__":
    sys.exit(main())
