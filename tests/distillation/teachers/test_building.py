"""The teacher that is to be trained: from nothing, ImageNet, a released file or a checkpoint, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from huggingface_hub.errors import StrictDataclassError
from released_efficientat import write_released
from released_passt import WIDTH, official_weights, written
from safetensors.torch import save_file
from small_corpora import write_audioset, write_esc50
from torch import Tensor
from transformers import ASTConfig, ASTForAudioClassification

from fastast_hf import FastASTFeatureExtractor, PasstConfig, PasstFeatureExtractor, PasstForAudioClassification
from fastast_hf.corpora import is_multi_label, label_names, load_corpus
from fastast_hf.corpora.statistics import corpus_statistics
from fastast_hf.distillation.teachers import building
from fastast_hf.distillation.teachers.building import TeacherModelArguments, build_teacher
from fastast_hf.distillation.teachers.cnn import CNNConfig, CNNForAudioClassification
from fastast_hf.distillation.teachers.psla import psla_feature_extractor
from fastast_hf.errors import what_to_do

NET = "mobilenetv3_small_050"
TINY = {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 1, "intermediate_size": 48}
CNN = {"backbone": NET, "frames": 64, "mean": -5.0, "std": 4.0}
PASST = {"architecture": "passt", "hidden_size": 24, "layers": 2, "heads": 3, "stride": 16, "frames": 64}
FROM_NOTHING: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # settings, fields of the model's config, fields of the front end
    (
        CNN,
        {"model_type": "fastast_cnn", "backbone": NET, "head": "mean", "drop_path_rate": 0.0, "max_length": 64},
        {"feature_extractor_type": "FastASTFeatureExtractor", "max_length": 64, "mean": -5.0, "std": 4.0},
    ),
    (
        {**CNN, "frames": None, "head": "psla", "drop_path_rate": 0.1},
        {"head": "psla", "attention_heads": 4, "drop_path_rate": 0.1, "max_length": 1024},
        {"max_length": 1024, "sampling_rate": 16000},
    ),
    (
        PASST,
        {
            "model_type": "fastast_passt", "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3,
            "intermediate_size": 96, "frequency_stride": 16, "time_stride": 16, "max_length": 64, "time_patchout": 0,
        },
        {
            "feature_extractor_type": "PasstFeatureExtractor", "max_length": 64, "sampling_rate": 32000,
            "mean": -4.5, "std": 2.5,
        },
    ),
    (
        {**PASST, "frames": None, "rate": 16000, "time_patchout": 9, "frequency_patchout": 2,
         "unstructured_patchout": 5},
        {"max_length": 998, "time_patchout": 9, "frequency_patchout": 2, "unstructured_patchout": 5},
        {"max_length": 1000, "sampling_rate": 16000},
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def esc50(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_corpus("esc50", write_esc50(tmp_path_factory.mktemp("esc50") / "esc50"), fold=1)


@pytest.fixture(scope="module")
def audioset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_corpus("audioset", write_audioset(tmp_path_factory.mktemp("audioset") / "audioset"))


def build(corpus: Any, **settings: Any) -> Any:
    torch.manual_seed(0)
    return build_teacher(TeacherModelArguments(**settings), corpus)


def saved(folder: Path, architecture: str, names: list[str], **fields: Any) -> Any:
    """A tiny checkpoint and its front end, whose statistics are its own."""
    torch.manual_seed(1)
    labels: dict[str, Any] = {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    if architecture == "cnn":
        model: Any = CNNForAudioClassification(CNNConfig(backbone=NET, max_length=96, **labels, **fields))
        FastASTFeatureExtractor(max_length=96, mean=-1.0, std=2.0).save_pretrained(folder)
    else:
        model = PasstForAudioClassification(
            PasstConfig(**TINY, max_length=96, frequency_stride=16, time_stride=16, **labels, **fields)
        )
        PasstFeatureExtractor(max_length=96, sampling_rate=16000).save_pretrained(folder)
    model.save_pretrained(folder)
    return model


def body(model: Any) -> dict[str, Tensor]:
    """All weights but the head's."""
    return {n: w for n, w in model.state_dict().items() if not n.startswith(("head.", "classifier."))}


def assert_fields(made: Any, expected: dict[str, Any]) -> None:
    fields = made.to_dict()
    assert {name: fields[name] for name in expected} == expected


@pytest.mark.parametrize(("settings", "config", "front_end"), FROM_NOTHING)
@pytest.mark.parametrize("corpus", ["esc50", "audioset"])
def test_from_nothing(
    corpus: str,
    settings: dict[str, Any],
    config: dict[str, Any],
    front_end: dict[str, Any],
    request: pytest.FixtureRequest,
) -> None:
    given = request.getfixturevalue(corpus)
    model, extractor, own = build(given, **settings)
    assert own is given
    assert_fields(model.config, config)
    assert_fields(extractor, front_end)
    names = label_names(given)
    assert model.config.id2label == dict(enumerate(names))
    wanted = "multi_label_classification" if is_multi_label(given) else "single_label_classification"
    assert model.config.problem_type == wanted
    features = torch.zeros(1, extractor.max_length, 128)
    assert model.eval()(features).logits.shape == (1, len(names))


@pytest.mark.parametrize("given", [{}, {"mean": -5.0}, {"std": 4.0}])
def test_a_new_cnns_statistics_are_measured_where_they_are_not_given(given: dict[str, float], esc50: Any) -> None:
    _, extractor, _ = build(esc50, backbone=NET, frames=64, **given)
    measured = corpus_statistics(esc50["train"])
    expected = {"mean": measured.mean, "std": measured.std} | given
    assert (extractor.mean, extractor.std) == (expected["mean"], expected["std"])


def test_a_cnn_from_imagenet_has_its_weights(esc50: Any, tmp_path: Path) -> None:
    torch.manual_seed(2)
    imagenet = timm.create_model(NET, num_classes=0)
    save_file(imagenet.state_dict(), tmp_path / "imagenet.safetensors")
    start = {"model": f"timm/{NET}", "imagenet_weights": str(tmp_path / "imagenet.safetensors")}
    model, extractor, _ = build(esc50, **CNN | start | {"head": "psla", "drop_path_rate": 0.2})
    assert_fields(model.config, {"backbone": NET, "head": "psla", "drop_path_rate": 0.2, "max_length": 64})
    assert (extractor.max_length, extractor.mean, extractor.std) == (64, -5.0, 4.0)
    for name, weight in imagenet.state_dict().items():
        expected = weight.mean(dim=1, keepdim=True) if name == "conv_stem.weight" else weight
        assert torch.equal(model.backbone.state_dict()[name], expected), name


def test_a_passt_from_imagenet_has_its_weights(esc50: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    create, made = timm.create_model, []

    def without_download(name: str, pretrained: bool = False, **kwargs: Any) -> Any:
        assert pretrained
        made.append(create(name, pretrained=False, depth=1, **kwargs))
        return made[0]

    monkeypatch.setattr(timm, "create_model", without_download)
    settings = {"architecture": "passt", "model": "timm/deit_tiny_distilled_patch16_224", "stride": 16, "frames": 64,
                "time_patchout": 2, "rate": 16000, "mean": -6.0}  # fmt: skip
    model, extractor, _ = build(esc50, **settings)
    sizes = {"hidden_size": 192, "num_hidden_layers": 1, "max_length": 64, "time_stride": 16, "time_patchout": 2}
    assert_fields(model.config, sizes)
    assert (extractor.max_length, extractor.sampling_rate, extractor.mean) == (64, 16000, -6.0)
    assert torch.equal(model.layers[0].mlp.fc1.weight, made[0].blocks[0].mlp.fc1.weight)


@pytest.mark.parametrize(
    ("settings", "frames"),
    [({}, 1000), ({"frames": 500, "time_patchout": 10, "frequency_patchout": 3}, 500), ({"stride": 10}, 1000)],
    ids=str,
)
def test_a_released_passt_keeps_its_sizes_and_gets_a_new_head(
    settings: dict[str, Any], frames: int, esc50: Any, tmp_path: Path
) -> None:
    file = written(tmp_path, official_weights(stride=10, frames=998, depth=2))
    model, extractor, corpus = build(esc50, architecture="passt", model=str(file), **settings)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "time_stride": 10, "max_length": 998}
    patchout = {name: settings.get(name, 0) for name in ("time_patchout", "frequency_patchout")}
    assert_fields(model.config, sizes | patchout | {"problem_type": "single_label_classification"})
    assert_fields(extractor, {"feature_extractor_type": "PasstFeatureExtractor", "max_length": frames})
    released = torch.load(file, weights_only=True)
    assert torch.equal(model.layers[1].mlp.fc1.weight, released["blocks.1.mlp.fc1.weight"])
    assert torch.equal(model.embeddings.time_positions[0, 0].T, released["time_new_pos_embed"][0, :, 0])
    assert model.config.id2label == dict(enumerate(label_names(corpus)))
    assert model.train()(torch.randn(2, frames, 128)).logits.shape == (2, 2)


def test_a_released_cnn_keeps_its_weights_and_gets_a_new_head(esc50: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    released = CNNForAudioClassification(CNNConfig(backbone=NET, head="psla", batch_norm_eps=1e-3, num_labels=5))
    asked = []
    monkeypatch.setattr(
        building, "load_teacher", lambda file: asked.append(file) or (released, psla_feature_extractor())
    )
    model, extractor, _ = build(esc50, model="as_mdl_0_wa.pth", frames=512, drop_path_rate=0.1)
    assert asked == ["as_mdl_0_wa.pth"]
    assert_fields(model.config, {"head": "psla", "batch_norm_eps": 1e-3, "drop_path_rate": 0.1, "max_length": 512})
    assert (extractor.max_length, extractor.mean) == (512, -4.6476)
    assert all(torch.equal(weight, body(released)[name]) for name, weight in body(model).items())
    assert model.head.scores.weight.shape[0] == 2 * 4


def test_a_released_efficientat_keeps_its_weights_and_gets_a_new_head(esc50: Any, tmp_path: Path) -> None:
    file = write_released(tmp_path / "mn01_as.pt")
    model, extractor, corpus = build(esc50, architecture="efficientat", model=str(file), frames=500)
    assert_fields(model.config, {"width": 0.1, "problem_type": "single_label_classification"})
    assert model.config.id2label == dict(enumerate(label_names(corpus)))
    assert (extractor.max_length, extractor.sampling_rate) == (500, 32000)
    released = torch.load(file, weights_only=True)
    assert torch.equal(model.network.features[16][0].weight, released["features.16.0.weight"])
    assert torch.equal(model.network.classifier[0].weight, released["classifier.2.weight"])
    assert model.eval()(torch.randn(2, 500, 128)).logits.shape == (2, 2)


@pytest.mark.parametrize("architecture", ["cnn", "passt"])
def test_a_checkpoint_that_knows_the_labels_keeps_its_head_and_its_order(
    architecture: str, esc50: Any, tmp_path: Path
) -> None:
    before = saved(tmp_path / "teacher", architecture, ["rain", "dog"])
    training = {"drop_path_rate": 0.1} if architecture == "cnn" else {"time_patchout": 1, "unstructured_patchout": 2}
    model, extractor, corpus = build(esc50, architecture=architecture, model=str(tmp_path / "teacher"), **training)
    assert label_names(corpus) == ["rain", "dog"] and label_names(esc50) == ["dog", "rain"]
    assert corpus["train"]["label"] == [1 - label for label in esc50["train"]["label"]]
    assert_fields(model.config, training | {"problem_type": "single_label_classification", "max_length": 96})
    assert extractor.max_length == 96 and extractor.sampling_rate == 16000
    assert (extractor.mean, extractor.std) == ((-1.0, 2.0) if architecture == "cnn" else (-4.5, 2.5))
    assert all(torch.equal(weight, before.state_dict()[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("architecture", ["cnn", "passt"])
@pytest.mark.parametrize("names", [["cat", "cow"], ["a", "b", "c"]])
def test_a_checkpoint_of_other_labels_gets_a_new_head(
    architecture: str, names: list[str], esc50: Any, tmp_path: Path
) -> None:
    before = saved(tmp_path / "teacher", architecture, names)
    settings = {"architecture": architecture, "model": str(tmp_path / "teacher"), "frames": 64, "mean": -6.0}
    model, extractor, corpus = build(esc50, **settings)
    assert corpus is esc50 and model.config.id2label == {0: "dog", 1: "rain"} and model.config.num_labels == 2
    assert (extractor.max_length, extractor.mean) == (64, -6.0)
    assert body(model).keys() == body(before).keys()
    assert all(torch.equal(weight, body(before)[name]) for name, weight in body(model).items())
    head = "head.linear.weight" if architecture == "cnn" else "classifier.dense.weight"
    assert not torch.equal(model.state_dict()[head], before.state_dict()[head][:2])
    assert model.eval()(torch.zeros(1, 64, 128)).logits.shape == (1, 2)


WRONG: list[tuple[dict[str, Any], str]] = [
    # settings (with {} for the folder of checkpoints), what is said
    ({"architecture": "rnn"}, "architecture is 'rnn': choose one of cnn, passt"),
    ({"architecture": "efficientat"}, "an efficientat can't start from nothing: give --model mn10_as"),
    ({"architecture": "efficientat", "model": "timm/mobilenetv3_large_100"}, "can't start from timm/"),
    (
        {"architecture": "efficientat", "model": "{}/passt"},
        "is a 'fastast_passt' checkpoint: give one of a efficientat",
    ),
    ({"architecture": "efficientat", "model": "x.pt", "stride": 16}, "stride is 16, which a efficientat has none of"),
    ({"head": "max", **CNN}, "head is 'max': choose one of mean, psla"),
    ({**CNN, "backbone": "no_such_net"}, "timm can't make 'no_such_net'"),
    ({**CNN, "backbone": "vit_tiny_patch16_224"}, "'vit_tiny_patch16_224' makes no feature map"),
    ({**PASST, "stride": 9}, "128 mel bins at stride 9 make 13 rows"),
    ({**PASST, "time_patchout": -1}, "time_patchout is -1"),
    ({"model": "timm/no_such_net"}, "no_such_net"),
    ({"model": f"timm/{NET}", "imagenet_weights": "{}/gone.safetensors", **CNN}, "gone.safetensors: no such file"),
    ({"model": "{}/gone.pth"}, "gone.pth: no such file"),
    ({"architecture": "passt", "model": "{}/gone.pt"}, "gone.pt: no such file"),
    ({"architecture": "passt", "model": "{}/code.pt"}, "holds code"),
    ({"model": "{}/code.pth"}, "holds code"),
    ({"model": "{}/gone"}, "gone does not exist"),
    ({"model": "{}/passt"}, "is a 'fastast_passt' checkpoint: give one of a cnn"),
    ({"architecture": "passt", "model": "{}/cnn"}, "is a 'fastast_cnn' checkpoint: give one of a passt"),
    ({"model": "{}/ast"}, "is a 'audio-spectrogram-transformer' checkpoint: give one of a cnn"),
    ({"architecture": "passt", "model": "{}/encoder"}, "encoder lacks"),
]


BESIDE: list[tuple[dict[str, Any], str]] = [
    # settings that the start leaves no room for (with {} for the folder of checkpoints), what is said
    (
        {"model": "{}/cnn", "backbone": "resnet18"},
        f"backbone is 'resnet18', and {{}}/cnn has '{NET}': leave it out, or start from nothing, by --model none",
    ),
    ({"model": "{}/cnn", "head": "psla"}, "head is 'psla', and {}/cnn has 'mean'"),
    (
        {"model": "timm/efficientnet_b2.ra_in1k", "backbone": NET},
        f"backbone is '{NET}', and timm/efficientnet_b2.ra_in1k has 'efficientnet_b2'",
    ),
    ({"architecture": "passt", "model": "{}/passt", "rate": 32000}, "rate is 32000, and {}/passt has 16000"),
    ({"architecture": "passt", "model": "{}/passt", "stride": 10}, "stride is 10, and {}/passt has 16"),
    ({"architecture": "passt", "model": "{}/passt", "hidden_size": 96}, "hidden_size is 96, and {}/passt has 24"),
    ({"architecture": "passt", "model": "{}/passt", "layers": 2}, "layers is 2, and {}/passt has 1"),
    ({"architecture": "passt", "model": "{}/passt", "heads": 4}, "heads is 4, and {}/passt has 3"),
    (
        {"model": "{}/cnn", "imagenet_weights": "b2"},
        "imagenet_weights is 'b2', and the teacher starts from {}/cnn: leave it out, or give --model timm/NAME",
    ),
    ({**CNN, "imagenet_weights": "b2"}, "imagenet_weights is 'b2', and the teacher starts from nothing"),
    (
        {**CNN, "time_patchout": 4},
        "time_patchout is 4, which a cnn has none of: leave it out, or give --architecture passt",
    ),
    ({**CNN, "rate": 16000}, "rate is 16000, which a cnn has none of"),
    ({**PASST, "backbone": NET}, f"backbone is '{NET}', which a passt has none of"),
    ({**PASST, "drop_path_rate": 0.2}, "drop_path_rate is 0.2, which a passt has none of"),
]


@pytest.mark.parametrize(("settings", "said"), BESIDE, ids=[said for _, said in BESIDE])
def test_a_setting_that_would_have_no_effect_is_refused(
    settings: dict[str, Any], said: str, esc50: Any, checkpoints: Path
) -> None:
    filled = {n: value.format(checkpoints) if isinstance(value, str) else value for n, value in settings.items()}
    with pytest.raises(ValueError, match=re.escape(said.format(checkpoints))):
        build(esc50, **filled)


def test_what_a_checkpoint_has_may_be_given_again(esc50: Any, checkpoints: Path) -> None:
    model, *_ = build(esc50, model=str(checkpoints / "cnn"), backbone=NET, head="mean")
    assert model.config.backbone == NET
    sizes = {"hidden_size": 24, "layers": 1, "heads": 3, "stride": 16, "rate": 16000}
    model, *_ = build(esc50, architecture="passt", model=str(checkpoints / "passt"), **sizes)
    assert model.config.hidden_size == 24


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkpoints")
    for name in ("code.pt", "code.pth"):
        torch.save({"cls_token": Path("code")}, root / name)
    for architecture in ("cnn", "passt"):
        saved(root / architecture, architecture, ["dog", "rain"])
    ASTForAudioClassification(ASTConfig(**TINY, max_length=64)).save_pretrained(root / "ast")
    FastASTFeatureExtractor(max_length=64).save_pretrained(root / "ast")
    encoder = saved(root / "encoder", "passt", ["dog", "rain"])
    encoder.save_pretrained(root / "encoder", state_dict=body(encoder))
    return root


@pytest.mark.parametrize(("settings", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_is_said_in_one_line(settings: dict[str, Any], said: str, esc50: Any, checkpoints: Path) -> None:
    filled = {n: value.format(checkpoints) if isinstance(value, str) else value for n, value in settings.items()}
    with pytest.raises((ValueError, OSError, StrictDataclassError)) as caught:
        build(esc50, **filled)
    message = what_to_do(caught.value)
    assert said in message and "\n" not in message
