"""Tables 1 and 2 of the FastAST paper (Behera et al., Interspeech 2024), to be drawn beside one's own."""

from __future__ import annotations

from typing import NamedTuple

R_VALUES = (0, 5, 10, 15, 20, 25, 30, 35, 40)


class PaperColumns(NamedTuple):
    """A corpus' columns: accuracy or mAP in percent at each of `R_VALUES`, and samples a second."""

    name: str
    inference: tuple[float, ...]
    training_and_inference: tuple[float, ...]
    samples_per_sec: tuple[float, ...]


PAPER_TABLE_1 = {
    "esc50": PaperColumns(
        "ESC-50",
        (95.6, 95.2, 95.1, 94.9, 94.2, 93.1, 92.4, 91.8, 90.2),
        (94.7, 94.5, 94.4, 94.3, 94.3, 93.7, 93.4, 93.1, 92.9),
        (65, 75, 85, 95, 110, 120, 125, 140, 150),
    ),
    "speech_commands": PaperColumns(
        "Speech Commands V2-35",
        (98.1, 98.1, 97.9, 97.4, 97.2, 96.3, 95.2, 94.5, 93.3),
        (97.8, 97.7, 97.5, 97.5, 97.4, 97.1, 96.8, 96.6, 96.4),
        (340, 380, 410, 455, 475, 490, 512, 540, 580),
    ),
    "audioset": PaperColumns(
        "AudioSet balanced",
        (38.4, 38.2, 37.7, 37.7, 37.5, 37.9, 37.2, 38.1, 36.0),
        (38.2, 38.1, 37.9, 37.8, 37.6, 37.5, 37.3, 37.1, 36.9),
        (55, 59, 60, 62, 65, 68, 70, 74, 80),
    ),
}


class PaperDistillation(NamedTuple):
    """A method's columns of Table 2, on AudioSet balanced: percent and samples a second at each of `R_VALUES`."""

    method: str
    accuracy: tuple[float, ...]
    mean_average_precision: tuple[float, ...]
    samples_per_sec: tuple[float, ...]


PAPER_TABLE_2 = (
    PaperDistillation(
        "FastAST",
        (38.4, 38.2, 37.7, 37.7, 37.5, 37.9, 37.2, 38.1, 36.0),
        (37.3, 38.7, 37.2, 37.1, 38.4, 37.0, 36.4, 36.5, 37.1),
        (55, 59, 60, 62, 65, 68, 70, 74, 80),
    ),
    PaperDistillation(
        "FastAST + KD (PaSST)",
        (39.2, 38.3, 37.4, 37.1, 37.8, 34.8, 35.9, 35.6, 35.9),
        (42.8, 42.4, 40.1, 40.6, 42.2, 40.8, 40.3, 38.7, 37.4),
        (55, 57, 59, 62, 65, 67, 72, 76, 80),
    ),
    PaperDistillation(
        "FastAST + KD (CNN)",
        (41.4, 39.9, 38.6, 39.0, 40.8, 37.1, 36.7, 36.1, 36.9),
        (43.2, 44.6, 43.1, 43.3, 43.7, 42.1, 41.3, 38.7, 39.4),
        (56, 58, 60, 62, 64, 68, 73, 77, 80),
    ),
)
