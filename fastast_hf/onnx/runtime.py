"""A file that `fastast export` made, in ONNX Runtime, called as the model it was made of."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any, TypeGuard

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from ..errors import INSTALL, one_line, what_to_do
from ..model.configuration_fastast import FastASTConfig
from ..model.feature_extraction_fastast import FastASTFeatureExtractor
from ..model.modeling_fastast import FastASTClassifierOutput, FastASTPreTrainedModel

SUFFIX = ".onnx"
_LEFT_ALONE: list[Any] = []  # sessions of the process that this one was forked from: their end waits for threads, too
CONFIG_KEY, FEATURE_EXTRACTOR_KEY = "fastast_config", "fastast_feature_extractor"


def is_onnx_file(model: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Whether a model is named as an ONNX file is, and is no folder of that name.

    Example:
        >>> is_onnx_file("model.onnx"), is_onnx_file("MIT/ast-finetuned-audioset-10-10-0.4593")
        (True, False)
    """
    return isinstance(model, (str, os.PathLike)) and Path(model).suffix.lower() == SUFFIX and not Path(model).is_dir()


def needs(package: str) -> Any:
    """Import what the extra `onnx` brings.

    Raises:
        ImportError: It is not installed.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise ImportError(f"ONNX files need {package}: {INSTALL.format('onnx')}") from error


class OnnxModel(nn.Module):
    """A FastAST classifier that ONNX Runtime computes on the CPU, with as many threads as torch uses.

    Args:
        path: A file of [`export_onnx`].

    Attributes:
        config: The exported model's, `max_length` being the only length that it takes.
        feature_extractor: The front end to its input.

    Raises:
        ImportError: onnxruntime is not installed.
        OSError: There is no such file.
        ValueError: It can't be read, was made by something else, or contradicts itself.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from fastast_hf.onnx.export import export_onnx
        >>> from fastast_hf.loading.bundled import SPEECH_COMMANDS
        >>> with TemporaryDirectory() as folder:
        ...     exported = export_onnx(SPEECH_COMMANDS, f"{folder}/model.onnx")
        ...     OnnxModel(f"{folder}/model.onnx")(torch.zeros(2, 128, 128)).logits.shape
        torch.Size([2, 12])
    """

    token_schedule = FastASTPreTrainedModel.token_schedule

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.path = Path(path)
        self.session, self._process = self._session(), os.getpid()
        stored = self.session.get_modelmeta().custom_metadata_map
        try:
            self.config = FastASTConfig.from_dict(json.loads(stored[CONFIG_KEY]))
            self.feature_extractor = FastASTFeatureExtractor.from_dict(json.loads(stored[FEATURE_EXTRACTOR_KEY]))
        except (AttributeError, KeyError, TypeError, ValueError, StrictDataclassError) as error:
            raise ValueError(
                f"{path} does not say what its labels and front end are ({what_to_do(error)}): make it with `fastast "
                "export`, from a checkpoint"
            ) from error
        graph = {own.name: own.shape[1:] for own in [*self.session.get_inputs(), *self.session.get_outputs()]}
        extractor, config = self.feature_extractor, self.config
        for name, said in (
            ("input_values", [config.max_length, config.num_mel_bins]),
            ("input_values", [extractor.max_length, extractor.num_mel_bins]),
            ("logits", [config.num_labels]),
        ):
            if graph.get(name) != said:
                raise ValueError(
                    f"{path} contradicts itself: the shape of {name} is {graph.get(name)} in the graph and {said} in "
                    "the settings beside it; make it again with `fastast export`"
                )

    def __reduce__(self) -> tuple[type[OnnxModel], tuple[Path], dict[str, Any]]:
        # In another process or a copy, the runtime begins anew.
        return type(self), (self.path.absolute(),), {"config": self.config}

    def _session(self) -> Any:
        runtime = needs("onnxruntime")
        if not self.path.is_file():
            raise OSError(f"{self.path} does not exist: give a file that `fastast export` made, or a checkpoint")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # its errors are raised as well
        # Its threads would wait for more by spinning, and slow down the front end, which has the next turn.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Without it, CPUs that lack VNNI may overflow in the sums of int8 products, silently.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            return runtime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime's own classes, which have no base of theirs
            raise ValueError(
                f"{self.path} can't be read (damaged, or no ONNX file?): make it again with `fastast export`"
            ) from error

    def forward(self, input_values: Tensor, attention_mask: Tensor | None = None) -> FastASTClassifierOutput:
        """Classify log-mel spectrograms.

        Args:
            input_values: (B, `config.max_length`, mel bins).
            attention_mask: (B, frames), where the file was made for a front end with masks.

        Raises:
            ValueError: Inputs of another shape or number.
        """
        wanted = (self.config.max_length, self.config.num_mel_bins)
        if input_values.dim() != 3 or tuple(input_values.shape[1:]) != wanted:
            raise ValueError(
                f"input_values has shape {tuple(input_values.shape)}, and {self.path} takes (batch, {wanted[0]} "
                f"frames, {wanted[1]} mel bins): leave out native_length, or export again with --frames"
            )
        inputs = {"input_values": input_values.detach().cpu().float().numpy()}
        if attention_mask is not None:
            inputs["attention_mask"] = attention_mask.cpu().long().numpy()
        names = [own.name for own in self.session.get_inputs()]
        if sorted(inputs) != sorted(names):
            raise ValueError(f"{self.path} takes {' and '.join(names)}; it was given {' and '.join(inputs)}")
        if self._process != os.getpid():  # forked, without the threads of the runtime, for which it would wait
            _LEFT_ALONE.append(self.session)
            self.session, self._process = self._session(), os.getpid()
        try:
            (logits,) = self.session.run(["logits"], inputs)
        except Exception as error:
            raise RuntimeError(f"{self.path}: ONNX Runtime failed: {one_line(error)}") from error
        return FastASTClassifierOutput(logits=torch.from_numpy(logits))

    def set_tome_r(self, tome_r: Any, tome_schedule: str | None = None) -> None:
        """Refuse: what is merged is part of the graph.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"{self.path} merges tome_r={self.config.tome_r} ({self.config.tome_schedule}), which was fixed at its "
            "export: export again with --r and --schedule, or leave the setting out"
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> OnnxModel:  # type: ignore[override]
        """Refuse everything but the CPU and float32, which is what the file takes and gives.

        Raises:
            ValueError: Another device or dtype.
        """
        for name, given, own in (("device", device.type, "cpu"), ("dtype", dtype, torch.float32)):
            if given != own:
                raise ValueError(
                    f"{name} is {str(given).removeprefix('torch.')}, and {self.path} runs on the cpu in float32 (int8 "
                    f"inside, if exported so): leave {name} out, or give a checkpoint"
                )
        return self
