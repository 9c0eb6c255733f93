"""Fine-tune a checkpoint on a table of files and labels.

    python examples/fine_tune_on_csv.py labels.csv --output mine

`fastast train` does this with many more options, and goes on after a stop.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from transformers import TrainingArguments

from fastast_hf import Tagger
from fastast_hf.corpora import label_names, load_corpus
from fastast_hf.errors import counted, one_line_errors
from fastast_hf.training.finetuning import build_trainer
from fastast_hf.training.start.student import ModelArguments, build_extractor, build_model


@one_line_errors("fine_tune_on_csv.py")
def main(argv: Sequence[str] | None = None) -> int:
    """Train, say how good it is, and save a checkpoint that `Tagger` takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help="csv with a column of files and one of labels")
    parser.add_argument("--model", default="MIT/ast-finetuned-audioset-10-10-0.4593", help="where to start from")
    parser.add_argument("--output", default="mine")
    parser.add_argument("--r", type=int, default=20, help="tokens to merge in each layer, in training and later")
    parser.add_argument("--frames", type=int, default=512, help="length of a clip, in frames of 10 ms")
    parser.add_argument("--epochs", type=float, default=5)
    args = parser.parse_args(argv)

    corpus = load_corpus("csv", args.table)  # without a column `split`, about a fifth of the clips is held out
    print(
        f"{counted(len(corpus['train']), 'clip')} to train on, {len(corpus['test'])} to test on: {label_names(corpus)}"
    )
    start = ModelArguments(model=args.model, frames=args.frames, tome_r=[args.r])
    model, corpus = build_model(start, corpus)  # with a new head for the table's labels
    extractor = build_extractor(start, model, corpus)
    settings = TrainingArguments(
        args.output, num_train_epochs=args.epochs, learning_rate=1e-5, per_device_train_batch_size=8, report_to="none"
    )
    trainer = build_trainer(model, extractor, corpus, args=settings)
    trainer.train()
    print({name: round(value, 3) for name, value in trainer.evaluate().items() if "accuracy" in name})
    trainer.save_model(args.output)
    print(Tagger(args.output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
