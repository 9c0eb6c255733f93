"""A teacher's logits of the training clips as they are: computed once, kept in a file.

That is no consistent teaching: the teacher has not heard what augmentation made of the clips. Mixed clips get the
mixture of their clips' probabilities.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ...tagging.pooling import pooled_logits
from ...training.inputs.batches import collate
from ...training.inputs.views import SpectrogramDraws, View, spectrograms
from .scorer import ScorerTeacher
from .teacher import Teacher, teacher_probabilities


class LogitCache:
    """Logits (clips, classes) of a teacher, by the clips' indices.

    Those of a clip longer than the model's input have the mean score of its windows, by sigmoid.
    """

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    @classmethod
    def of(
        cls,
        teacher: Teacher | ScorerTeacher,
        clips: Any,
        extractor: Any,
        file: Path,
        batch_size: int = 16,
        device: str | torch.device = "cpu",
    ) -> LogitCache:
        """Read what is kept in `file`, or have the teacher hear all clips once and keep what it says.

        Args:
            teacher: Whose logits.
            clips: A split as a [`ClipDataset`]; each clip is heard whole.
            extractor: The student's front end.
            file: Where they are kept; those of another teacher, of other clips or of another front end are made anew.
            batch_size: Clips at once.
            device: Where to compute.
        """
        stamp = _stamp(teacher, clips, extractor)
        try:
            kept = load_file(file)
            if bytes(kept["stamp"].tolist()) == stamp:
                return cls(kept["logits"])
        except (OSError, SafetensorError, KeyError):
            pass  # not there, or not whole
        parts = []
        loader = DataLoader(clips.to_evaluate(), batch_size, collate_fn=collate)
        for batch in tqdm(loader, desc="teacher", unit="batch", leave=False, disable=None):
            waveforms, samples = batch["waveforms"].to(device), batch["num_samples"].to(device)
            said = []
            for part in zip(waveforms.split(batch_size), samples.split(batch_size), strict=True):
                view = View(*part, batch["labels"], SpectrogramDraws())
                said.append(teacher.logits(view, extractor, spectrograms(extractor, view)).cpu())
            parts.append(pooled_logits(torch.cat(said), batch["windows"].tolist(), multi_label=True))
        logits = torch.cat(parts)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        save_file({"logits": logits, "stamp": torch.tensor(list(stamp), dtype=torch.uint8)}, partial)
        partial.replace(file)
        return cls(logits)

    def probabilities(self, view: View, loss: str, tau: float) -> Tensor:
        """ψ(Z_t / τ) of a batch (B, classes); of mixed clips, mixed alike."""
        assert view.mixture is not None  # which only a stream's view lacks
        device = view.waveforms.device
        self.logits = self.logits.to(device)
        mixture = view.mixture
        own = teacher_probabilities(self.logits[mixture.clips], loss, tau)
        others = teacher_probabilities(self.logits[mixture.partners.clamp(min=0)], loss, tau)
        mixed = mixture.weights * own + (1 - mixture.weights) * others
        return torch.where(mixture.partners.unsqueeze(1) >= 0, mixed, own)


def _stamp(teacher: Teacher | ScorerTeacher, clips: Any, extractor: Any) -> bytes:
    """Of all that the logits depend on."""
    heard = [clips.identity(index) for index in range(len(clips))]
    return hashlib.sha256(json.dumps([heard, extractor.to_json_string(), teacher.fingerprint()]).encode()).digest()
