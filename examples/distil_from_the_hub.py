"""Teach a small model what an audio classifier of the Hub knows, on your sound.

    python examples/distil_from_the_hub.py --data labels.csv --teacher USER/NAME --output student

The teacher must know the table's labels. `fastast distill` does this with many more options.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from transformers import TrainingArguments

from fastast_hf import Tagger
from fastast_hf.corpora import label_names, load_corpus
from fastast_hf.distillation.teachers.teacher import Teacher
from fastast_hf.distillation.trainer import CMKDTrainer
from fastast_hf.errors import one_line_errors
from fastast_hf.training.finetuning import build_trainer
from fastast_hf.training.start.student import ModelArguments, build_extractor, build_model


@one_line_errors("distil_from_the_hub.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Train a student from nothing, and say how often it agrees with the labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="csv with a column of files and one of labels")
    parser.add_argument("--teacher", required=True, help="folder or Hub id of any audio classifier")
    parser.add_argument("--output", default="student")
    parser.add_argument("--frames", type=int, default=512, help="length of a clip, in frames of 10 ms")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--epochs", type=float, default=20)
    args = parser.parse_args(argv)

    corpus = load_corpus("csv", args.data)
    start = ModelArguments(model="none", frames=args.frames, layers=args.layers, stride=16, tome_r=[8])
    model, corpus = build_model(start, corpus)
    extractor = build_extractor(start, model, corpus)
    settings = TrainingArguments(
        args.output, num_train_epochs=args.epochs, learning_rate=5e-4, per_device_train_batch_size=8, report_to="none"
    )
    teacher = Teacher.from_pretrained(args.teacher, label_names(corpus), settings.device)
    # λ = 0.1: nine tenths of the loss come from the teacher, who hears the same augmented sound.
    trainer = build_trainer(
        model, extractor, corpus, args=settings, trainer_class=CMKDTrainer, teacher=teacher, lam=0.1
    )
    trainer.train()
    print({name: round(value, 3) for name, value in trainer.evaluate().items() if "accuracy" in name})
    trainer.save_model(args.output)
    print(Tagger(args.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
