"""The checkpoints that come with the package, by their short names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).resolve().parents[1] / "checkpoints"
SPEECH_COMMANDS = _FOLDER / "speech-commands-tiny"
BUNDLED = {"speech-commands": SPEECH_COMMANDS}
DEFAULT = "speech-commands"  # for whoever names no model


def bundled(model: Any = DEFAULT) -> Any:
    """The folder of a bundled checkpoint for its short name; anything else, and what is here by that name, as it is.

    Example:
        >>> bundled("speech-commands").name, bundled("MIT/ast-finetuned-audioset-10-10-0.4593")
        ('speech-commands-tiny', 'MIT/ast-finetuned-audioset-10-10-0.4593')
    """
    return BUNDLED[model] if isinstance(model, str) and model in BUNDLED and not Path(model).exists() else model


def short_name_of(place: Any) -> str | None:
    """The short name of a bundled checkpoint's folder; None of any other place.

    Example:
        >>> short_name_of(SPEECH_COMMANDS), short_name_of("elsewhere")
        ('speech-commands', None)
    """
    return next((name for name, folder in BUNDLED.items() if str(folder) == str(place)), None)
