"""FastAST: Audio Spectrogram Transformers made faster by Token Merging, on transformers.

Importing the package registers FastAST with transformers' Auto classes and pipelines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_fastast import FastASTConfig
from .feature_extraction_fastast import FastASTFeatureExtractor
from .modeling_fastast import FastASTForAudioClassification, FastASTModel
from .patching import apply_token_merging, remove_token_merging

if TYPE_CHECKING:
    from .audio import AudioError, load_audio
    from .complexity import solve_tome_r
    from .tagging import Tagger

__version__ = "0.1.0"

__all__ = [
    "AudioError",
    "FastASTConfig",
    "FastASTFeatureExtractor",
    "FastASTForAudioClassification",
    "FastASTModel",
    "Tagger",
    "apply_token_merging",
    "load_audio",
    "remove_token_merging",
    "solve_tome_r",
]

AutoConfig.register(FastASTConfig.model_type, FastASTConfig, exist_ok=True)
AutoModel.register(FastASTConfig, FastASTModel, exist_ok=True)
AutoModelForAudioClassification.register(FastASTConfig, FastASTForAudioClassification, exist_ok=True)
AutoFeatureExtractor.register(FastASTConfig, FastASTFeatureExtractor, exist_ok=True)
# By name, as transformers has its own there: the pipeline is imported when one is made.
PIPELINE_REGISTRY.supported_tasks["audio-classification"]["impl"] = (
    "fastast_hf.pipeline_fastast.FastASTAudioClassificationPipeline"
)

# What a model alone does not need (audio decoding, progress bars) is imported when it is first asked for.
_LAZY = {
    "AudioError": "audio",
    "load_audio": "audio",
    "Tagger": "tagging",
    "solve_tome_r": "complexity",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fastast_hf' has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
