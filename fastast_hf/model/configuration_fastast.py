"""Configuration of FastAST: everything AST has, plus how many tokens each layer merges."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import transformers
from packaging.version import Version

# Before all other imports, which would fail in an older one. A checkpoint's code starts with this module.
if Version(transformers.__version__).release < (5, 17):
    raise ImportError(
        f"FastAST needs transformers 5.17 or newer, and {transformers.__version__} is installed: "
        "pip install -U 'transformers>=5.17'"
    )

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import ASTConfig
from transformers.activations import ACT2FN

from .token_merging import merges_per_layer

SIZES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "patch_size", "frequency_stride",
    "time_stride", "num_mel_bins", "max_length",
)  # fmt: skip
MOST = 1_000_000  # of a size, and of labels: what transformers makes of a config is as large
PROBLEM_TYPES = (None, "regression", "single_label_classification", "multi_label_classification")
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
        tome_metric: What the likeness of two tokens is measured on: `"keys"` (ToMe, §3), or `"hidden_states"`, the
            tokens after attention, which kept the scores of the one small model that was tried closer
            (`docs/tuning.md`).
        window_pool: `"mean"`, `"max"` or `"top3"` (the mean of the three highest): what is made of the scores
            of a long recording's windows. The model itself does not read it.
        thresholds: The score that gives a label, one for each in their order, where clips have any number of labels.
            Training tunes them on validation clips. The model itself does not read them.
        thresholds_split: The split that they were tuned on.
        kwargs: Everything else is [`ASTConfig`]'s.

    Raises:
        ValueError: `tome_r` is negative or a list of another length than the layers, the schedule or activation is
            unknown, a size is below 1, or a class has no label (inside huggingface_hub's `StrictDataclassError` when
            it is found while the config is built).

    Example:
        >>> FastASTConfig(tome_r=20, max_length=512).tome_r
        20
    """

    model_type = "fastast"

    patch_size: int = 16  # ASTConfig allows a pair, which AST's own embeddings can't take
    tome_r: int | list[int] = 0
    tome_schedule: str = "constant"
    tome_proportional_attention: bool = True
    tome_metric: str = "keys"
    window_pool: str = "mean"
    thresholds: list[float] | None = None
    thresholds_split: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Make labels text, which some checkpoints on the Hub store as numbers."""
        labels: Any = getattr(self, "id2label", None)
        indices: Any = getattr(self, "label2id", None)
        if labels is not None:
            try:
                self.id2label = {int(index): str(label) for index, label in labels.items()}
            except (AttributeError, TypeError, ValueError):
                raise ValueError(f"id2label is {str(labels)[:60]}: give a map of 0, 1, … to labels") from None
        if isinstance(indices, dict):
            self.label2id = {str(label): index for label, index in indices.items()}
        if isinstance(count := kwargs.get("num_labels"), int) and count > MOST:
            raise ValueError(f"num_labels is {count}: give {MOST:,} or fewer")
        super().__post_init__(**kwargs)

    def validate_labels(self) -> None:
        """Check that every class has a label (called when a config is built)."""
        missing = [index for index in range(max(self.num_labels, 1)) if index not in self.id2label]
        if missing:
            raise ValueError(f"id2label has {self.num_labels} labels, but none for class {missing[0]}: count from 0")
        if self.problem_type not in PROBLEM_TYPES:
            raise ValueError(
                f"problem_type is {self.problem_type!r}: give one of {', '.join(map(str, PROBLEM_TYPES))}"
            )

    def validate_sizes(self) -> None:
        """Check the numbers that the model is built from (called when a config is built)."""
        for name in SIZES:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give 1 or more")
            if getattr(self, name) > MOST:
                raise ValueError(f"{name} is {getattr(self, name)}: give {MOST:,} or less")
        for name in ("layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number from 0 to 1")
        if self.num_attention_heads > self.hidden_size:
            raise ValueError(
                f"num_attention_heads is {self.num_attention_heads} and hidden_size {self.hidden_size}: "
                "give fewer heads"
            )
        if self.num_mel_bins < self.patch_size:
            raise ValueError(
                f"num_mel_bins is {self.num_mel_bins} and patch_size {self.patch_size}: give as many mel bins or more"
            )
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"hidden_act is {self.hidden_act!r}: give an activation of transformers, such as gelu")
        self.patch_grid_of(self.max_length)  # raises where that is shorter than a patch

    def validate_window_pool(self) -> None:
        """Check it (called when a config is built)."""
        if self.window_pool not in ("mean", "max", "top3"):
            raise ValueError(f"window_pool is {self.window_pool!r}: give mean, max or top3")

    def validate_token_merging(self) -> None:
        """Check `tome_r` and `tome_schedule` against the layers, and the metric (called when a config is built)."""
        if self.tome_metric not in ("keys", "hidden_states"):
            raise ValueError(f"tome_metric is {self.tome_metric!r}: give keys or hidden_states")
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
        return built(cls, {**fields, **overrides})

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
        """Read `config.json`: AST's is taken as FastAST's, another model's and a wrong one are refused in one line."""
        checkpoint = adapted_checkpoint(pretrained_model_name_or_path)
        subfolder = kwargs.get("subfolder") or ""
        check_place(checkpoint, subfolder)
        try:
            config, kwargs = super().get_config_dict(checkpoint, **kwargs)
            model_type = config.get("model_type")
        except (AttributeError, TypeError, RecursionError) as error:
            raise ValueError(f"the config.json of {checkpoint} is wrong: it holds no JSON object") from error
        if model_type not in (cls.model_type, ASTConfig.model_type):
            kind = "is no checkpoint of a known kind" if model_type is None else f"is a {model_type!r} checkpoint"
            raise ValueError(
                f"{checkpoint} {kind}; FastAST needs an Audio Spectrogram Transformer ({ASTConfig.model_type!r} or "
                f"{cls.model_type!r}): choose such a checkpoint"
            )
        config = {**config, "model_type": cls.model_type}  # transformers would warn about AST's, and keep it
        built(cls, config, f"the config.json of {checkpoint} is wrong: ")
        return config, kwargs


def built(kind: type[FastASTConfig], fields: dict[str, Any], begin: str = "") -> FastASTConfig:
    """A config of these fields, or a ValueError that says in one line, after `begin`, which of them is wrong."""
    try:
        return kind(**fields)
    except (StrictDataclassError, AttributeError, TypeError, ValueError) as error:  # transformers raises all four
        raise ValueError(begin + " ".join(str(error.__cause__ or error).split())) from error


def check_place(checkpoint: str | os.PathLike[str], subfolder: str = "") -> None:
    """Raise an OSError for a folder without a checkpoint, and for a file.

    Transformers would take the path of a missing folder for a model id, and any file for a config.json.
    """
    path = Path(checkpoint)
    looks_local = path.is_absolute() or len(path.parts) != 2 or os.fspath(checkpoint).startswith((".", "~"))
    if looks_local and not path.exists():
        raise OSError(f"{path} does not exist: give a checkpoint's folder, or a model id of the Hub (owner/name)")
    if path.is_dir() and not (path / subfolder / "config.json").is_file():
        raise OSError(f"{path} has no config.json: give a checkpoint's folder, or a model id of the Hub (owner/name)")
    if path.suffix.lower() == ".onnx" and path.is_file():
        raise OSError(f"{path} is a model exported for ONNX Runtime: give the checkpoint that it was exported from")
    if path.suffix.lower() in (".pth", ".pt") and path.is_file():
        raise OSError(
            f"{path} is a file of weights alone: if it is AST's or SSAST's as their authors released it, run `fastast "
            f"convert {path} FOLDER` and give that folder"
        )
    if path.is_file() and path.suffix != ".json":
        raise OSError(f"{path} is a file: give a checkpoint's folder, or a model id of the Hub (owner/name)")


def adapted_checkpoint(checkpoint: Any) -> Any:
    """The base model of a PEFT adapter's folder; anything else is returned as it is."""
    adapter = Path(checkpoint) / "adapter_config.json"
    if not adapter.is_file() or (Path(checkpoint) / "config.json").is_file():
        return checkpoint
    try:
        base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path") or checkpoint
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{adapter} holds no JSON object: save the adapter anew") from error
    if not isinstance(base, (str, os.PathLike)):
        raise ValueError(f"{adapter}: base_model_name_or_path is {base!r}: give the base model's folder or id")
    return base


# Saved checkpoints carry this code, and so load with `trust_remote_code=True` without the package.
FastASTConfig.register_for_auto_class()
