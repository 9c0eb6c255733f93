"""Unlabelled sound: the labels that a teacher gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from small_corpora import write_tone
from torch import Tensor

from fastast_hf.corpora import load_corpus
from fastast_hf.distillation.unlabelled import labelled_by

LOGITS = {  # by a tone's Hz, in an order of their own: Dog, Rain, Bell
    300: [0.0, -1.0, -9.0],
    500: [-9.0, -1.5, -9.0],
    700: [-9.0, -8.0, -9.0],
}


class ByPitch:
    """Says of a clip what `LOGITS` has of its pitch."""

    calls = 0

    def fingerprint(self) -> str:
        return "by pitch"

    def logits(self, view: Any, student: Any, features: Tensor) -> Tensor:
        self.calls += 1
        peaks = torch.fft.rfft(view.waveforms[:, :8000]).abs().argmax(dim=1) * 2  # Hz
        return torch.tensor([LOGITS[min(LOGITS, key=lambda hertz: abs(hertz - peak))] for peak in peaks.tolist()])


def test_training_clips_have_faint_labels_or_the_likeliest_and_test_clips_clear_ones(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for hertz in LOGITS:
            write_tone(tmp_path / split / f"{hertz}.wav", hertz)
    corpus: Any = load_corpus("unlabelled", tmp_path, labels=["Dog", "Rain", "Bell"])
    teacher: Any = ByPitch()
    where = (16000, tmp_path / "scores", 2, torch.device("cpu"))
    labelled, likeliest, spread = labelled_by(teacher, corpus, *where)
    assert labelled["train"]["labels"][:] == [[0, 1], [1], [1]]  # 0.5 and 0.27; 0.18; nothing
    assert labelled["test"]["labels"][:] == [[0], [], []]
    assert likeliest.tolist() == [0, 1, 1]
    logits = torch.tensor(list(LOGITS.values()))
    torch.testing.assert_close(
        spread, (logits.sigmoid().mean(dim=0), logits.mean(dim=0), logits.std(dim=0, correction=0).clamp(min=0.01))
    )
    assert labelled["train"]["start"][:] == [0.0, 0.0, 0.0]
    calls = teacher.calls
    again, *_ = labelled_by(teacher, corpus, *where)
    assert teacher.calls == calls and again["train"]["labels"][:] == labelled["train"]["labels"][:]
