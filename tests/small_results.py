"""Results files of a small checkpoint, for its card."""

from __future__ import annotations

ROW = {"method": "Inf", "schedule": "constant", "metric": "accuracy", "clips": 400, "unreadable": 0, "tokens_in": 50}
ROWS = [
    ROW | {"tome_r": 0, "tokens_out": 50, "gmacs": 0.41498, "mac_ratio": 1.0, "low": 0.77, "high": 0.85}
    | {"score": 0.8125, "samples_per_sec": 97.6},
    ROW | {"tome_r": 4, "tokens_out": 38, "gmacs": 0.31234, "mac_ratio": 1.3286, "low": 0.75, "high": 0.83}
    | {"score": 0.79, "samples_per_sec": 123.4},
]  # fmt: skip
TABLE = {
    "corpus": "esc50",
    "classes": 2,
    "split": "test",
    "dtype": "float32",
    "device": "cpu",
    "threads": 2,
    "level": 0.95,
}
TABLE |= {"batch_size": 16, "attention": "sdpa", "processor": "a processor", "rows": ROWS}
SETTINGS = {"corpus": "esc50", "data": "/home/me/ESC-50", "model": "MIT/ast-base", "train_r": [0, 4, 8], "mixup": 0.5}
SETTINGS |= {"teacher": "me/teacher", "lam": 0.1, "tau": 2.0, "cache_teacher": False, "frequency_mask": 24}
RUN = {"learning_rate": 2e-4, "num_train_epochs": 10.0, "max_steps": -1, "per_device_train_batch_size": 16, "seed": 1}
RUN |= {"gradient_accumulation_steps": 1, "weight_decay": 0.05, "bf16": True, "fp16": False, "world_size": 1}
TRAINING = {"settings": SETTINGS, "training": RUN, "fold": 3, "metric": "accuracy", "missing": {"train": 2}}
TRAINING |= {"clips": {"train": 318, "test": 80, "extra": 0}, "test": {"last": {"accuracy": 0.8}}}
