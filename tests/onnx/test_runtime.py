"""`Tagger("model.onnx")`: the torch model's labels from the file alone, and one line where that can't be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from fastast_hf import FastASTFeatureExtractor, Tagger
from fastast_hf.onnx.export import export_onnx
from fastast_hf.onnx.graph import build_graph
from fastast_hf.onnx.runtime import CONFIG_KEY, OnnxModel, is_onnx_file

Make = Callable[..., Any]
FILES = sorted((Path(__file__).parents[1] / "data" / "formats").iterdir())
PROBLEMS = ["single_label_classification", "multi_label_classification", "regression"]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tome_r": 4}, "merges tome_r=6.*export again with --r"),
    ({"tome_schedule": "decreasing"}, "export again with --r"),
    ({"preset": "fast"}, "was exported with its dtype and merging: leave it out"),
    ({"dtype": "bfloat16"}, "dtype is bfloat16.*leave dtype out"),
    ({"top_k": 0}, "top_k is 0"),
    ({"device": "toaster"}, "device toaster can't be used"),
]


def without_config(content: bytes) -> bytes:
    proto = onnx.load_from_string(content)
    del proto.metadata_props[:]
    return proto.SerializeToString()


def with_config(text: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        proto = onnx.load_from_string(content)
        (entry,) = (entry for entry in proto.metadata_props if entry.key == CONFIG_KEY)
        entry.value = text
        return proto.SerializeToString()

    return change


SPOILT: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda content: content[: len(content) // 2], "can't be read"),
    (lambda content: b"", "can't be read|does not say"),
    (lambda content: b"This is no model.\n" * 99, "can't be read"),
    (without_config, "does not say what its labels"),
    (with_config("{"), "does not say what its labels"),
    (with_config("[]"), "does not say what its labels"),
    (with_config('{"tome_r": -1}'), r"does not say what its labels and front end are \(tome_r is -1"),
    (with_config("{}"), r"the shape of input_values is \[128, 48\] in the graph and \[1024, 128\]"),
    (with_config('{"num_mel_bins": 48, "max_length": 128}'), r"the shape of logits is \[5\] in the graph and \[2\]"),
]


@pytest.fixture
def exported(make_fastast: Make, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    export_onnx(make_fastast(tome_r=6), path)
    return path


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("masked", [False, True])
def test_labels_are_the_torch_models(problem: str, masked: bool, make_fastast: Make, tmp_path: Path) -> None:
    names = {index: f"sound {index}" for index in range(5)}
    model = make_fastast(tome_r=6, problem_type=problem, id2label=names, label2id={v: k for k, v in names.items()})
    extractor = FastASTFeatureExtractor(num_mel_bins=48, max_length=128, mean=-3.0, return_attention_mask=masked)
    export_onnx(model, tmp_path / "model.onnx", feature_extractor=extractor)
    expected = Tagger(model, feature_extractor=extractor, device="cpu", batch_size=3)(FILES)
    tagger = Tagger(tmp_path / "model.onnx", batch_size=3)
    assert tagger.device.type == "cpu"
    for got, wanted in zip(tagger(FILES), expected, strict=True):
        assert [label["label"] for label in got] == [label["label"] for label in wanted]
        assert [label["score"] for label in got] == pytest.approx([label["score"] for label in wanted], abs=1e-4)


def test_it_is_called_as_the_model_is(exported: Path, make_fastast: Make, spectrogram: Make) -> None:
    model, other = make_fastast(tome_r=6), OnnxModel(exported)
    clips = spectrogram(batch=3)
    with torch.no_grad():
        torch.testing.assert_close(other(input_values=clips).logits, model(clips).logits, rtol=0, atol=1e-4)
    assert other.token_schedule() == model.token_schedule()
    assert other.config.id2label == model.config.id2label
    # Views and other dtypes, as front ends make them.
    strided = clips.transpose(1, 2).contiguous().transpose(1, 2).double()
    assert torch.equal(other(strided).logits, other(clips).logits)


def test_long_and_short_recordings_are_windows_of_its_length(exported: Path, make_fastast: Make) -> None:
    generator = np.random.default_rng(0)
    clips = [(generator.normal(size=n).astype(np.float32) / 9, 16000) for n in (400, 9000, 50000)]
    expected = Tagger(make_fastast(tome_r=6), device="cpu")(clips)
    for got, wanted in zip(Tagger(exported)(clips), expected, strict=True):
        assert [label["score"] for label in got] == pytest.approx([label["score"] for label in wanted], abs=1e-4)


def test_it_computes_with_torchs_threads(exported: Path) -> None:
    assert OnnxModel(exported).session.get_session_options().intra_op_num_threads == torch.get_num_threads()


@pytest.mark.parametrize(("settings", "said"), REFUSED)
def test_what_is_fixed_at_export_is_refused(settings: dict[str, Any], said: str, exported: Path) -> None:
    with pytest.raises(ValueError, match=said):
        Tagger(exported, **settings)


def test_another_device_is_refused(exported: Path) -> None:
    with pytest.raises(ValueError, match=r"device is cuda.*leave device out"):
        OnnxModel(exported).to(torch.device("cuda"), torch.float32)


def test_another_length_or_input_is_refused(exported: Path, spectrogram: Make) -> None:
    model = OnnxModel(exported)
    with pytest.raises(ValueError, match=r"takes \(batch, 128 frames, 48 mel bins\)"):
        model(spectrogram(frames=64))
    with pytest.raises(ValueError, match="takes input_values; it was given input_values and attention_mask"):
        model(spectrogram(), torch.ones(2, 128))
    with pytest.raises(ValueError, match="native_length was asked for"):
        Tagger(exported, native_length=True)((np.sin(np.arange(4000) / 9), 16000))


@pytest.mark.parametrize(("spoil", "said"), SPOILT)
def test_a_file_that_is_no_export_is_one_line(
    spoil: Callable[[bytes], bytes], said: str, exported: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    exported.write_bytes(spoil(exported.read_bytes()))
    with pytest.raises(ValueError, match=said) as caught:
        Tagger(exported)
    assert "\n" not in str(caught.value) and str(exported) in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_graph_of_someone_elses_is_refused(make_fastast: Make, tmp_path: Path) -> None:
    onnx.save(build_graph(make_fastast()), tmp_path / "other.onnx")
    with pytest.raises(ValueError, match="does not say what its labels and front end are"):
        Tagger(tmp_path / "other.onnx")


def test_no_file_is_an_os_error_and_a_folder_is_a_checkpoint(make_fastast: Make, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="does not exist"):
        Tagger(tmp_path / "gone.onnx")
    folder = tmp_path / "folder.onnx"
    make_fastast().save_pretrained(folder)
    FastASTFeatureExtractor(num_mel_bins=48, max_length=128).save_pretrained(folder)
    assert not is_onnx_file(folder)
    assert not isinstance(Tagger(folder, device="cpu").model, OnnxModel)


def test_without_onnxruntime_it_says_what_to_install(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"need onnxruntime: in a clone .* pip install '.\[onnx\]'"):
        Tagger(exported)
