"""transformers' own common tests of models, configs and front ends, on FastAST's classes and on stock AST's.

`make conformance` runs them. `StockAST` shows what is no matter of ours.
"""

from __future__ import annotations

import unittest
from typing import Any

import numpy as np
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, ASTModel
from transformers_tests.test_configuration_common import ConfigTester
from transformers_tests.test_modeling_common import ModelTesterMixin
from transformers_tests.test_sequence_feature_extraction_common import SequenceFeatureExtractionTestMixin

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification, FastASTModel

# 4 x 12 patches and two prefix tokens.
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "num_mel_bins": 48,
    "max_length": 128,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
TOKENS = 50


class Builder:
    """What the common tests ask for configs and inputs."""

    def __init__(self, parent: unittest.TestCase, config_class: type[Any], fields: dict[str, Any]) -> None:
        self.parent, self.config_class, self.fields = parent, config_class, fields
        self.batch_size, self.seq_length, self.is_training = 3, TOKENS, True
        self.hidden_size, self.num_hidden_layers = SIZES["hidden_size"], SIZES["num_hidden_layers"]
        self.num_attention_heads, self.num_labels = SIZES["num_attention_heads"], 2

    def get_config(self) -> Any:
        return self.config_class(**SIZES, **self.fields)

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, torch.Tensor]]:
        clips = torch.randn(self.batch_size, SIZES["max_length"], SIZES["num_mel_bins"])
        return self.get_config(), {"input_values": clips}


class _Model(ModelTesterMixin):
    """Tests of a model that hears, which has no words whose embeddings could be resized."""

    all_model_classes: tuple[type[Any], ...] = (FastASTModel, FastASTForAudioClassification)
    config_class: type[Any] = FastASTConfig
    fields: dict[str, Any] = {}
    test_resize_embeddings = False

    def setUp(self) -> None:
        self.model_tester = Builder(self, self.config_class, self.fields)
        self.config_tester = ConfigTester(
            self, config_class=self.config_class, has_text_modality=False, hidden_size=32, **self.fields
        )
        if "test_training" in self.id():  # an encoder has no loss; transformers knows its own by that list
            self.all_model_classes = self.all_model_classes[1:]

    def _prepare_for_class(self, inputs: Any, model_class: type[Any], return_labels: bool = False) -> dict[str, Any]:
        """With labels for a classifier, which transformers tells by its name in a list of its own."""
        prepared = super()._prepare_for_class(inputs, model_class, return_labels=return_labels)
        if return_labels and model_class in (ASTForAudioClassification, FastASTForAudioClassification):
            prepared["labels"] = torch.zeros(self.model_tester.batch_size, dtype=torch.long)
        return prepared

    def test_config(self) -> None:
        self.config_tester.run_common_tests()


class TestStockAST(_Model, unittest.TestCase):
    all_model_classes = (ASTModel, ASTForAudioClassification)
    config_class = ASTConfig


class TestWithoutMerging(_Model, unittest.TestCase):
    pass


class TestMerging(_Model, unittest.TestCase):
    fields = {"tome_r": 4}


class FrontEndBuilder:
    """What the common tests ask for front ends and sounds of several lengths."""

    batch_size, min_seq_length, max_seq_length = 7, 400, 2000
    feature_size, padding_value, sampling_rate = 1, 0.0, 16000
    seq_length_diff = (max_seq_length - min_seq_length) // (batch_size - 1)

    def prepare_feat_extract_dict(self) -> dict[str, Any]:
        named = ("feature_size", "padding_value", "sampling_rate")
        return {name: getattr(self, name) for name in named} | {"return_attention_mask": True}

    def prepare_inputs_for_common(self, equal_length: bool = False, numpify: bool = False) -> list[Any]:
        lengths = range(self.min_seq_length, self.max_seq_length, self.seq_length_diff)
        lengths = [self.max_seq_length] * self.batch_size if equal_length else list(lengths)[: self.batch_size]
        clips = [np.random.default_rng(0).random(length, dtype=np.float32) for length in lengths]
        return clips if numpify else [clip.tolist() for clip in clips]


class _FrontEnd(SequenceFeatureExtractionTestMixin):
    feature_extraction_class: type[Any] = FastASTFeatureExtractor

    def setUp(self) -> None:
        self.feat_extract_tester = FrontEndBuilder()


class TestStockFrontEnd(_FrontEnd, unittest.TestCase):
    feature_extraction_class = ASTFeatureExtractor


class TestFrontEnd(_FrontEnd, unittest.TestCase):
    pass
