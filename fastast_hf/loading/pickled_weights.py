"""Weights as papers' authors release them: a state dict that torch.save wrote. Only tensors are read, no code."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def read_weights(checkpoint: str | Path) -> dict[str, Tensor]:
    """The tensors of a pickled checkpoint; code in it is refused, not run.

    Raises:
        OSError: No such file.
        ValueError: It is no checkpoint, holds code, or holds something else than tensors.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f"{checkpoint}: no such file; give the checkpoint that was downloaded")
    try:
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message goes on to say how to run the code.
        code = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            f"{checkpoint} holds {f'code ({code[1]})' if code else 'more than tensors, perhaps code,'} and was not "
            "read: give a file of weights alone"
        ) from None
    except OSError:
        raise
    except Exception:  # any bytes are instructions to pickle, and fail in any way
        raise ValueError(
            f"{checkpoint} is no torch checkpoint, or cut off: give the file as it was released"
        ) from None
    if not isinstance(weights, Mapping) or not all(
        isinstance(key, str) and isinstance(weight, Tensor) for key, weight in weights.items()
    ):
        raise ValueError(f"{checkpoint} holds no weights by name: give a state dict")
    return dict(weights)
