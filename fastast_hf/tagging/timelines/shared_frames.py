"""Log-mel frames of windows that overlap, each frame computed once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...model.feature_extraction_fastast import (
    FastASTFeatureExtractor,
    hop_samples,
    log_mel_spectrogram,
    num_frames,
)


class SharedFrames:
    """The log-mel frames of a recording's windows, given in batches from front to back.

    A frame depends on its own 25 ms alone. So where windows are a whole number of frames apart, they share them. Other
    windows get frames of their own.

    Args:
        extractor: The front end.
        device: Where to compute.
    """

    def __init__(self, extractor: FastASTFeatureExtractor, device: torch.device) -> None:
        self._rate, self._bins, self._device = extractor.sampling_rate, extractor.num_mel_bins, device
        self._start = 0  # sample at which the frames that are held begin
        self._frames = torch.zeros(0, self._bins, device=device)

    def of(self, windows: Sequence[tuple[int, np.ndarray]]) -> Tensor:
        """Frames (B, frames, mel bins) of windows, neither padded nor normalised.

        Args:
            windows: The first sample's place, and the samples (n,), the same number for all; none begins before
                those of earlier calls.
        """
        step = hop_samples(self._rate)
        starts = [start for start, _ in windows]
        apart = np.diff(starts)
        if len(windows) > 1 and (apart % step).any():
            if not (apart[:-1] % step).any():  # the last window of a recording ends with it
                return torch.cat([self.of(windows[:-1]), self.of(windows[-1:])])
            return self._log_mel(np.stack([samples for _, samples in windows]))
        begun = starts[0] - self._start
        known = self._frames[begun // step :] if begun % step == 0 else self._frames[:0]
        new = [samples[-distance:] for distance, (_, samples) in zip(apart, windows[1:], strict=True)]
        samples = np.concatenate([windows[0][1], *new])[len(known) * step :]
        self._start, self._frames = starts[0], torch.cat([known, self._log_mel(samples[None])[0]])
        count = num_frames(len(windows[0][1]), self._rate)
        return torch.stack([self._frames[(start - starts[0]) // step :][:count] for start in starts])

    def _log_mel(self, samples: np.ndarray) -> Tensor:
        return log_mel_spectrogram(torch.from_numpy(samples).to(self._device), self._rate, self._bins)
