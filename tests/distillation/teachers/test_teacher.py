"""A teacher in use: labels by name, rates, any family, and files that are refused before anything runs."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from pickles_with_code import Touch
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
)

from fastast_hf import FastASTFeatureExtractor, PasstConfig, PasstFeatureExtractor, PasstForAudioClassification
from fastast_hf.distillation.teachers.cnn import CNNConfig, CNNForAudioClassification
from fastast_hf.distillation.teachers.teacher import Teacher, fast_length, label_order, upsample
from fastast_hf.training.inputs.views import SpectrogramDraws, View, spectrograms

NAMES = ["dog", "rain", "bell"]
LABELS: dict[str, Any] = {"id2label": {0: "rain", 1: "bell", 2: "dog"}, "label2id": {"rain": 0, "bell": 1, "dog": 2}}
TINY = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 1, "intermediate_size": 24}
WAV2VEC2 = {**TINY, "conv_dim": (8, 8), "conv_stride": (8, 8), "conv_kernel": (8, 8), "num_conv_pos_embeddings": 8,
            "num_conv_pos_embedding_groups": 2, "num_feat_extract_layers": 2}  # fmt: skip
WHISPER = {"d_model": 24, "encoder_layers": 1, "encoder_attention_heads": 3, "decoder_layers": 1, "vocab_size": 20,
           "decoder_attention_heads": 3, "max_source_positions": 100, "classifier_proj_size": 8, "pad_token_id": 0,
           "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}  # fmt: skip
STUDENT = FastASTFeatureExtractor(max_length=64)


def batch() -> View:
    torch.manual_seed(0)
    waveforms = 0.1 * torch.randn(2, STUDENT.samples_of(64))
    waveforms[1, 5000:] = 0.0
    return View(waveforms, torch.tensor([STUDENT.samples_of(64), 5000]), torch.zeros(2, 3), SpectrogramDraws())


def saved(folder: Path, kind: str) -> str:
    torch.manual_seed(0)
    models: dict[str, Any] = {
        "cnn": lambda: (
            CNNForAudioClassification(CNNConfig(backbone="mobilenetv3_small_050", max_length=64, **LABELS)),
            STUDENT,
        ),
        "passt": lambda: (
            PasstForAudioClassification(PasstConfig(**TINY, max_length=64, **LABELS)),
            PasstFeatureExtractor(max_length=64),
        ),
        "ast": lambda: (
            ASTForAudioClassification(ASTConfig(**TINY, max_length=64, **LABELS)),
            ASTFeatureExtractor(max_length=64),
        ),
        "wav2vec2": lambda: (
            Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**WAV2VEC2, **LABELS)),
            Wav2Vec2FeatureExtractor(),
        ),
        "masked wav2vec2": lambda: (
            Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**WAV2VEC2, feat_extract_norm="layer", **LABELS)),
            Wav2Vec2FeatureExtractor(return_attention_mask=True),
        ),
        "whisper": lambda: (
            WhisperForAudioClassification(WhisperConfig(**WHISPER, **LABELS)),
            WhisperFeatureExtractor(chunk_length=2),
        ),
    }
    model, extractor = models[kind]()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["masked wav2vec2", "whisper"])
def test_a_clip_has_the_logits_that_it_has_alone(kind: str, tmp_path: Path) -> None:
    """Where a front end pads to a length of its own, or says what is padding."""
    teacher = Teacher.from_pretrained(saved(tmp_path / "teacher", kind), NAMES)
    teacher.check_hearing(STUDENT)
    view = batch()
    logits = teacher.logits(view, STUDENT, spectrograms(STUDENT, view))
    clips = [clip[:count].numpy() for clip, count in zip(view.waveforms, view.num_samples.tolist(), strict=True)]
    alone = [teacher.extractor(clip, sampling_rate=16000, return_tensors="pt") for clip in clips]
    with torch.no_grad():
        expected = torch.cat([teacher.model(**inputs).logits for inputs in alone])[:, [2, 0, 1]]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_a_teacher_that_cannot_hear_the_students_clips_is_refused_at_once(tmp_path: Path) -> None:
    teacher = Teacher.from_pretrained(saved(tmp_path / "teacher", "whisper"), NAMES)
    teacher.extractor.nb_max_frames, teacher.extractor.n_samples = 150, 24000
    with pytest.raises(ValueError, match=r"the teacher can't hear clips of 64 frames: .*150"):
        teacher.check_hearing(STUDENT)


def test_a_teacher_that_hears_a_part_of_the_students_clips_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teacher = Teacher.from_pretrained(saved(tmp_path / "teacher", "cnn"), NAMES)
    teacher.check_hearing(STUDENT)
    assert not caplog.records
    teacher.extractor.max_length = 32
    teacher.check_hearing(STUDENT)
    assert caplog.messages == ["the teacher hears the first 0.3 s of a clip, the student 0.6 s"]


@pytest.mark.parametrize("kind", ["cnn", "passt", "ast", "wav2vec2"])
def test_any_audio_classifier_teaches_in_the_students_order_of_labels(kind: str, tmp_path: Path) -> None:
    teacher = Teacher.from_pretrained(saved(tmp_path / kind, kind), NAMES)
    teacher.check_rate(16000)
    view = batch()
    features = spectrograms(STUDENT, view)
    logits = teacher.logits(view, STUDENT, features)
    assert logits.shape == (2, 3) and logits.dtype == torch.float32 and not logits.requires_grad

    clips = [clip[:count].numpy() for clip, count in zip(view.waveforms, view.num_samples.tolist(), strict=True)]
    if kind == "passt":
        clips = [clip.numpy() for clip in upsample(view.waveforms, 2)]
    front_end = ASTFeatureExtractor(max_length=64) if kind == "ast" else teacher.extractor
    rate = teacher.extractor.sampling_rate
    inputs = front_end(
        clips, sampling_rate=rate, return_tensors="pt", **({"padding": True} if kind == "wav2vec2" else {})
    )
    with torch.no_grad():
        expected = teacher.model(next(iter(inputs.values()))).logits
    torch.testing.assert_close(logits, expected[:, [2, 0, 1]], atol=1e-3, rtol=1e-3)


def test_half_precision_is_the_teachers_alone(tmp_path: Path) -> None:
    view = batch()
    features = spectrograms(STUDENT, view)
    teacher = Teacher.from_pretrained(saved(tmp_path / "cnn", "cnn"), NAMES)
    plain = teacher.logits(view, STUDENT, features)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # the student's, not its
        assert torch.equal(teacher.logits(view, STUDENT, features), plain)
    teacher = Teacher.from_pretrained(str(tmp_path / "cnn"), NAMES, dtype=torch.bfloat16)
    logits = teacher.logits(view, STUDENT, features)
    assert teacher.model.dtype == torch.bfloat16 and logits.dtype == torch.float32
    assert any(
        p.dim() == 4 and p.is_contiguous(memory_format=torch.channels_last) and p.shape[1] > 1
        for p in teacher.model.parameters()
    )


def test_other_labels_are_listed() -> None:
    config = ASTConfig(id2label={0: "rain", 1: "cow", 2: "dog", 3: "cat"})
    with pytest.raises(ValueError, match="the teacher alone has 2: 'cat', 'cow'; the student alone has 1: 'bell'"):
        label_order(config, NAMES)


@pytest.mark.parametrize(
    ("rate", "student", "fits"),
    [(32000, 16000, True), (16000, 16000, True), (44100, 16000, False), (8000, 16000, False)],
)
def test_a_teacher_of_a_rate_that_the_students_does_not_divide_is_refused(rate: int, student: int, fits: bool) -> None:
    model = PasstForAudioClassification(PasstConfig(**TINY, max_length=64, **LABELS))
    teacher = Teacher(model, Wav2Vec2FeatureExtractor(sampling_rate=rate), NAMES)
    if fits:
        teacher.check_rate(student)
    else:
        with pytest.raises(ValueError, match=f"the teacher takes {rate} Hz and the student hears {student} Hz"):
            teacher.check_rate(student)


def test_a_pickled_checkpoint_with_code_in_it_is_refused_and_nothing_is_run(tmp_path: Path) -> None:
    folder = Path(saved(tmp_path / "cnn", "cnn"))
    (folder / "model.safetensors").unlink()
    code = {"head.linear.bias": Touch(tmp_path / "ran")}
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(code, protocol=2))
    with pytest.raises(ValueError, match="a pickle with code in it, which is not run") as caught:
        Teacher.from_pretrained(str(folder), NAMES)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_missing_folder_and_an_encoder_without_a_head_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="gone does not exist"):
        Teacher.from_pretrained(str(tmp_path / "gone"), NAMES)
    Wav2Vec2Model(Wav2Vec2Config(**WAV2VEC2)).save_pretrained(tmp_path / "encoder")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "encoder")
    with pytest.raises(ValueError, match=r"lacks \d+ weights"):
        Teacher.from_pretrained(str(tmp_path / "encoder"), NAMES)


def test_a_model_that_classifies_no_audio_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert", "num_hidden_layers": 1}))
    save_file({"a": torch.zeros(1)}, tmp_path / "bert" / "model.safetensors")
    with pytest.raises(ValueError, match="cannot be loaded as an audio classifier") as caught:
        Teacher.from_pretrained(str(tmp_path / "bert"), NAMES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("factor", [2, 3])
def test_upsampling_keeps_a_tone_and_adds_nothing_above(factor: int) -> None:
    def tone(rate: int) -> Tensor:
        return torch.sin(2 * torch.pi * 440 * torch.arange(rate).double() / rate)[None]

    torch.testing.assert_close(upsample(tone(8000), factor), tone(8000 * factor), atol=1e-4, rtol=0)
    for samples in (997, 1000):  # a prime, which is padded, and what is fast as it is
        spectrum = torch.fft.rfft(torch.randn(1, samples))
        spectrum[:, 400:] = 0
        noise = torch.fft.irfft(spectrum, n=samples) * torch.hann_window(samples)
        upsampled = upsample(noise, factor)
        torch.testing.assert_close(upsampled[:, ::factor], noise, atol=1e-5, rtol=0)
        spectrum = torch.fft.rfft(upsampled).abs()[0]
        assert spectrum[:400].max() > 10 and spectrum[samples // 2 + 1 :].max() < 1e-3


@pytest.mark.parametrize("samples", [1, 2, 7, 1000, 82160, 164080, 163840, 441001])
def test_fourier_transforms_are_of_a_length_without_large_prime_factors(samples: int) -> None:
    length = fast_length(samples)
    rest = length
    for factor in (2, 3, 5):
        while rest % factor == 0:
            rest //= factor
    assert rest == 1 and length % 2 == 0
    assert samples <= length <= max(1.05 * samples, samples + 3)


def test_labels_that_are_no_text_are_matched_as_text() -> None:
    assert label_order(ASTConfig(id2label={0: 3, 1: 4}), ["4", "3"]) == label_order(
        ASTConfig(id2label={0: "3", 1: "4"}), ["4", "3"]
    )


def test_labels_with_a_gap_are_refused() -> None:
    with pytest.raises(ValueError, match="id2label has 3 labels, but none for class 2: count from 0"):
        label_order(ASTConfig(id2label={0: "rain", 1: "bell", 3: "dog"}), NAMES)


def test_weights_that_are_left_over_or_not_finite_are_refused(tmp_path: Path) -> None:
    folder = Path(saved(tmp_path / "ast", "ast"))
    model = ASTForAudioClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.dense.bias[0] = torch.nan
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"are damaged: classifier\.dense\.bias is not finite"):
        Teacher.from_pretrained(str(folder), NAMES)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 0}))
    with pytest.raises(ValueError, match="num_hidden_layers is 0, which leaves 16 weights over"):
        Teacher.from_pretrained(str(folder), NAMES)
    (folder / "config.json").write_text(json.dumps(config | {"max_length": 128}))
    with pytest.raises(ValueError, match=r"do not fit its config\.json: .*position_embeddings has the shape"):
        Teacher.from_pretrained(str(folder), NAMES)


def test_a_running_mean_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "cnn", "cnn")
    model = CNNForAudioClassification.from_pretrained(folder)
    next(buffer for name, buffer in model.named_buffers() if "running_mean" in name).fill_(torch.inf)
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match="running_mean is not finite"):
        Teacher.from_pretrained(folder, NAMES)
