"""Configuration of FastAST: everything AST has, plus how many tokens each layer merges."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from packaging.version import Version

# Before all other imports, which would only tell what an older one lacks. A checkpoint's code starts with this module.
if Version(transformers.__version__).release < (5, 17):
    raise ImportError(
        f"FastAST needs transformers 5.17 or newer, and {transformers.__version__} is installed: "
        "pip install -U 'transformers>=5.17'"
    )

from huggingface_hub.dataclasses import strict
from transformers import ASTConfig

from .token_merging import merges_per_layer

# Saving a model writes the entry of its own class alone.
AUTO_MAP = {
    "AutoConfig": "configuration_fastast.FastASTConfig",
    "AutoModel": "modeling_fastast.FastASTModel",
    "AutoModelForAudioClassification": "modeling_fastast.FastASTForAudioClassification",
}


@strict
class FastASTConfig(ASTConfig):
    r"""Configuration of a FastAST model: an [`ASTConfig`] with Token Merging (FastAST, Behera et al. 2024, §2).

    Args:
        tome_r: Tokens merged away in every layer (the paper's constant `r`), or a list with one number per layer.
            A layer never merges more than half of its patch tokens. 0 is stock AST, bit for bit.
        tome_schedule: How an int `tome_r` is spread over the layers: `"constant"` (the same in each), `"decreasing"`
            (from 2 r in the first layer to 0 in the last) or `"increasing"` (the reverse).
        tome_proportional_attention: Whether a merged token counts in attention as many times as it has patches,
            by adding log(size) to its key scores (ToMe, Bolya et al. 2023, eq. 1).
        kwargs: Everything else is [`ASTConfig`]'s.

    Raises:
        ValueError: `tome_r` is negative or a list of another length than the layers, or the schedule is unknown
            (inside huggingface_hub's `StrictDataclassError` when it is found while the config is built).

    Example:
        >>> FastASTConfig(tome_r=20, max_length=512).tome_r
        20
    """

    model_type = "fastast"

    patch_size: int = 16  # ASTConfig allows a pair, which AST's own embeddings can't take
    tome_r: int | list[int] = 0
    tome_schedule: str = "constant"
    tome_proportional_attention: bool = True

    def validate_token_merging(self) -> None:
        """Check `tome_r` and `tome_schedule` against the number of layers (called when a config is built)."""
        merges_per_layer(self.tome_r, self.num_hidden_layers, self.tome_schedule)

    def merges_per_layer(self, tome_r: int | Sequence[int] | None = None) -> list[int]:
        """Merges asked of each layer, before the 50 % cap; `tome_r` replaces the config's own for this call."""
        tome_r = self.tome_r if tome_r is None else tome_r
        return merges_per_layer(tome_r, self.num_hidden_layers, self.tome_schedule)

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Patches along frequency and time of a clip of `max_length` frames."""
        return self.patch_grid_of(self.max_length)

    def patch_grid_of(self, num_frames: int) -> tuple[int, int]:
        """Patches along frequency and time of a clip of `num_frames` frames (AST, Gong et al. 2021, §2.1)."""
        if num_frames < self.patch_size:
            raise ValueError(
                f"a clip of {num_frames} frames is shorter than one patch of {self.patch_size}: "
                "pad it, or take a longer clip"
            )
        frequency = (self.num_mel_bins - self.patch_size) // self.frequency_stride + 1
        return frequency, (num_frames - self.patch_size) // self.time_stride + 1

    @classmethod
    def from_ast(cls, config: ASTConfig, **overrides: Any) -> FastASTConfig:
        """Turn an AST config into a FastAST config with the same fields; `overrides` are set on top.

        Example:
            >>> FastASTConfig.from_ast(ASTConfig(max_length=512), tome_r=8).max_length
            512
        """
        fields = config.to_dict()
        for key in ("model_type", "architectures", "auto_map", "transformers_version"):
            fields.pop(key, None)
        fields["attn_implementation"] = config._attn_implementation  # which to_dict leaves out
        return cls(**{**fields, **overrides})

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """Save `config.json`, and in it where the code of each class is, for `trust_remote_code=True`."""
        self.auto_map = {**AUTO_MAP, **getattr(self, "auto_map", {})}
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    @classmethod
    def get_config_dict(
        cls,
        pretrained_model_name_or_path: Any,
        **kwargs: Any,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read `config.json`, taking AST's as FastAST's own and refusing any other model's."""
        checkpoint = adapted_checkpoint(pretrained_model_name_or_path)
        subfolder = kwargs.get("subfolder") or ""
        check_place(checkpoint, subfolder)
        config, kwargs = super().get_config_dict(checkpoint, **kwargs)
        model_type = config.get("model_type")
        if model_type not in (cls.model_type, ASTConfig.model_type):
            kind = "is no checkpoint of a known kind" if model_type is None else f"is a {model_type!r} checkpoint"
            raise ValueError(
                f"{checkpoint} {kind}; FastAST needs an Audio Spectrogram Transformer ({ASTConfig.model_type!r} or "
                f"{cls.model_type!r}): choose such a checkpoint"
            )
        if model_type == ASTConfig.model_type:
            # Without this, transformers warns about the type and the loaded config keeps AST's.
            config = {**config, "model_type": cls.model_type}
        return config, kwargs


def check_place(checkpoint: str | os.PathLike[str], subfolder: str = "") -> None:
    """Raise an OSError for what is meant as a folder and holds no checkpoint, and for a file.

    Transformers would take a folder that is not there for a malformed id of the Hub, and a file for a config.json.
    """
    path = Path(checkpoint)
    looks_local = path.is_absolute() or len(path.parts) != 2 or os.fspath(checkpoint).startswith((".", "~"))
    if looks_local and not path.exists():
        raise OSError(f"{path} does not exist: give a checkpoint's folder, or a model id of the Hub (owner/name)")
    if path.is_dir() and not (path / subfolder / "config.json").is_file():
        raise OSError(f"{path} has no config.json: give a checkpoint's folder, or a model id of the Hub (owner/name)")
    if path.suffix.lower() == ".onnx" and path.is_file():
        raise OSError(f"{path} is a model exported for ONNX Runtime: give the checkpoint that it was made of here")
    if path.is_file() and path.suffix != ".json":
        raise OSError(f"{path} is a file: give a checkpoint's folder, or a model id of the Hub (owner/name)")


def adapted_checkpoint(checkpoint: Any) -> Any:
    """The checkpoint that a folder of PEFT's adapts, or what was given where it is none."""
    adapter = Path(checkpoint) / "adapter_config.json"
    if not adapter.is_file() or (Path(checkpoint) / "config.json").is_file():
        return checkpoint
    return json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path") or checkpoint


# What is saved carries its code, so that it loads with `trust_remote_code=True` where this package is not installed.
FastASTConfig.register_for_auto_class()
