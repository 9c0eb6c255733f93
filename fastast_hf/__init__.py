"""FastAST: Audio Spectrogram Transformers made faster by Token Merging, on transformers.

Importing the package registers FastAST with transformers' Auto classes and pipelines.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification
from transformers.pipelines import PIPELINE_REGISTRY

from .distillation.teachers.cnn import CNNConfig, CNNForAudioClassification
from .distillation.teachers.efficientat import EfficientATConfig, EfficientATForAudioClassification
from .distillation.teachers.passt import PasstConfig, PasstForAudioClassification
from .distillation.teachers.passt_features import PasstFeatureExtractor
from .merging.patching import apply_token_merging, remove_token_merging
from .merging.pipeline import FastASTAudioClassificationPipeline
from .model.configuration_fastast import FastASTConfig
from .model.feature_extraction_fastast import FastASTFeatureExtractor
from .model.modeling_fastast import FastASTForAudioClassification, FastASTModel

if TYPE_CHECKING:
    from .audio import AudioError, load_audio
    from .merging.complexity import solve_tome_r
    from .tagging.tagger import Tagger
    from .tuning.tune import tune

__version__ = "0.1.0"

__all__ = [
    "AudioError",
    "CNNConfig",
    "CNNForAudioClassification",
    "EfficientATConfig",
    "EfficientATForAudioClassification",
    "FastASTConfig",
    "FastASTFeatureExtractor",
    "FastASTForAudioClassification",
    "FastASTModel",
    "PasstConfig",
    "PasstFeatureExtractor",
    "PasstForAudioClassification",
    "Tagger",
    "apply_token_merging",
    "load_audio",
    "remove_token_merging",
    "solve_tome_r",
    "tune",
]

AutoConfig.register(FastASTConfig.model_type, FastASTConfig, exist_ok=True)
AutoModel.register(FastASTConfig, FastASTModel, exist_ok=True)
AutoModelForAudioClassification.register(FastASTConfig, FastASTForAudioClassification, exist_ok=True)
AutoFeatureExtractor.register(FastASTConfig, FastASTFeatureExtractor, exist_ok=True)
# The teachers of distillation.
for config, model, extractor in (
    (CNNConfig, CNNForAudioClassification, FastASTFeatureExtractor),
    (PasstConfig, PasstForAudioClassification, PasstFeatureExtractor),
    (EfficientATConfig, EfficientATForAudioClassification, PasstFeatureExtractor),
):
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModelForAudioClassification.register(config, model, exist_ok=True)
    AutoFeatureExtractor.register(config, extractor, exist_ok=True)
PIPELINE_REGISTRY.supported_tasks["audio-classification"]["impl"] = FastASTAudioClassificationPipeline

# What a model alone does not need (audio decoding, progress bars) is imported when it is first asked for.
_LAZY = {
    "AudioError": "audio",
    "load_audio": "audio",
    "Tagger": "tagging.tagger",
    "solve_tome_r": "merging.complexity",
    "tune": "tuning.tune",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fastast_hf' has no attribute {name!r}")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
