"""What scores depend on, so that `--resume` and several processes do not mix those of different models in one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .tagger import Tagger

# Shown instead of a digest when that setting differs.
DIGESTS = {"weights": "other weights", "config": "another config", "front_end": "another front end"}
# Of a config or front end, what no score depends on, and what is remembered under its own name.
LEFT_OUT = {
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",
    "feature_extractor_type",
    "model_type",
    "processor_class",
    "thresholds",
    "thresholds_split",
    "tome_r",
    "tome_schedule",
    "transformers_version",
    "window_pool",
}


def score_settings(tagger: Tagger, model: str | None) -> dict[str, Any]:
    """What a tagger's scores depend on, as it turned out.

    Args:
        tagger: Made of `model`.
        model: Folder, Hub id, file of `fastast export`, or None for the bundled checkpoint.
    """
    from ..loading.bundled import DEFAULT, bundled
    from ..loading.checkpoint import load_classifier
    from ..loading.saved_weights import weights_digest
    from ..onnx.runtime import is_onnx_file

    if is_onnx_file(model):
        weights = digest_of(Path(model).read_bytes())
    else:  # in another dtype, they are read once more as they are stored
        as_stored = tagger.dtype_name == "float32"
        stored = tagger.model if as_stored else load_classifier(bundled(model or DEFAULT))
        weights = weights_digest(stored.state_dict().values())
    config = tagger.model.config
    return {
        "weights": weights,
        "r": config.tome_r,
        "schedule": tagger.schedule,
        "top_k": tagger.top_k,
        "dtype": tagger.dtype_name,
        "native_length": tagger.native_length,
        "preset": tagger.preset,
        "pool": tagger.pool,
        "activation": tagger.activation,
        "threshold": None if tagger.thresholds is None else tagger.thresholds.tolist(),
        "config": digest_of_fields(config.to_diff_dict()),
        "front_end": digest_of_fields(tagger.feature_extractor.to_dict()),
    }


def digest_of_fields(fields: dict[str, Any]) -> str:
    """Of those that scores depend on."""
    kept = {name: value for name, value in fields.items() if name not in LEFT_OUT}
    return digest_of(json.dumps(kept, sort_keys=True, default=str).encode())


def digest_of(content: bytes) -> str:
    """As long as that of weights."""
    return hashlib.sha256(content).hexdigest()[:16]


def check_same(settings: list[dict[str, Any]]) -> None:
    """Refuse processes that would not give the same scores: for example if only one machine has int8.

    Raises:
        ValueError: There are such.
    """
    for name, value in settings[0].items():
        others = [other[name] for other in settings if other[name] != value]
        if others:
            raise ValueError(
                f"the processes have {name} {value} and {others[0]}: give them the same files, and a --dtype that "
                "all can have"
            )


def check_same_settings(
    path: Path | str, name: str, remembered: str | None, settings: Mapping[str, Any] | None, kind: str = "file"
) -> None:
    """Refuse to add to results of other settings.

    Args:
        path: Of the results.
        name: Of the file that remembers their settings.
        remembered: What is in it; None where it is missing.
        settings: Those of now; None where they are not known yet, and only their file is read.
        kind: Of the results: `"file"`, or `"folder"` with the settings in it.

    Raises:
        ValueError: They differ, or nothing tells them.
    """
    try:
        earlier = dict(json.loads(remembered or ""))
    except (ValueError, TypeError, RecursionError):
        no = "no" if remembered is None else "a damaged"
        where = "in" if kind == "folder" else "beside"
        raise ValueError(
            f"{path} has {no} {name} {where} it, and its results may be of another model: give another {kind}"
        ) from None
    if settings is None:
        return
    names = [*settings, *(name for name in earlier if name not in settings)]
    other = [name for name in names if earlier.get(name) != settings.get(name)]
    if other:
        was = ", ".join(
            DIGESTS.get(name) or f"{name} {_short(earlier.get(name))} and not {_short(settings.get(name))}"
            for name in other
        )
        raise ValueError(f"{path} was begun with {was}: go on with the same settings, or give another {kind}")


def _short(setting: Any) -> str:
    """A setting for a message: of a list of equal values that one, and of a long list its beginning."""
    if not isinstance(setting, list) or len(setting) < 4:
        return str(setting)
    return str(setting[0]) if len(set(setting)) == 1 else f"[{', '.join(map(str, setting[:3]))}, …]"
