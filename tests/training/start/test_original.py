"""Files of AST's and SSAST's authors: logits as their architecture's, and one line for what is none of theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pickles_with_code import Touch
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from fastast_hf import FastASTForAudioClassification, FastASTModel, Tagger
from fastast_hf.cli.main import main
from fastast_hf.distillation.teachers.released import load_released
from fastast_hf.training.start.original import fastast_from_original

WIDTH, LABELS = 128, 3


class Original(nn.Module):
    """The authors' network, as their papers and names have it, around timm's distilled DeiT, with random weights."""

    def __init__(self, frames: int, stride: tuple[int, int], patch: tuple[int, int] = (16, 16)) -> None:
        super().__init__()
        self.v = VisionTransformerDistilled(
            img_size=32, patch_size=16, embed_dim=WIDTH, depth=2, num_heads=2, num_classes=10
        )
        self.v.patch_embed.proj = nn.Conv2d(1, WIDTH, patch, stride)
        grid = [(size - side) // step + 1 for size, side, step in zip((128, frames), patch, stride, strict=True)]
        self.v.pos_embed = nn.Parameter(torch.zeros(1, 2 + grid[0] * grid[1], WIDTH))
        self.mlp_head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, LABELS))
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)

    def forward(self, spectrogram: Tensor) -> Tensor:
        patches = self.v.patch_embed.proj(spectrogram.unsqueeze(1).transpose(2, 3)).flatten(2).transpose(1, 2)
        prefix = torch.cat([self.v.cls_token, self.v.dist_token], dim=1).expand(len(patches), -1, -1)
        tokens = torch.cat([prefix, patches], dim=1) + self.v.pos_embed
        for block in self.v.blocks:
            tokens = block(tokens)
        tokens = self.v.norm(tokens)
        return self.mlp_head((tokens[:, 0] + tokens[:, 1]) / 2)


def released(path: Path, original: nn.Module, prefix: str = "module.", **more: Tensor) -> Path:
    weights = {prefix + name: weight for name, weight in {**original.state_dict(), **more}.items()}
    torch.save(weights, path)
    return path


@pytest.mark.parametrize(("frames", "stride"), [(128, (10, 10)), (512, (16, 16)), (1024, (12, 12)), (128, (14, 14))])
@pytest.mark.parametrize("prefix", ["module.", ""])
@torch.no_grad()
def test_logits_equal_the_authors_network(frames: int, stride: tuple[int, int], prefix: str, tmp_path: Path) -> None:
    original = Original(frames, stride).eval()
    model, left_out = fastast_from_original(released(tmp_path / "ast.pth", original, prefix))
    clips = torch.randn(2, frames, 128, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(clips).logits, original(clips), rtol=0, atol=1e-5)
    assert (model.config.max_length, model.config.num_labels) == (frames, LABELS)
    assert left_out == ["v.head.weight", "v.head.bias", "v.head_dist.weight", "v.head_dist.bias"]


@torch.no_grad()
def test_strides_and_lengths_of_ones_own_are_given(tmp_path: Path) -> None:
    original = Original(300, (12, 8)).eval()
    file = released(tmp_path / "ast.pth", original)
    with pytest.raises(ValueError, match=r"ast\.pth has 360 patches, which no strides and lengths of the authors"):
        fastast_from_original(file)
    with pytest.raises(ValueError, match=r"360 patches, and strides \(9, 9\) make another number of 300 frames"):
        fastast_from_original(file, stride=9, frames=300)
    model, _ = fastast_from_original(file, stride=(12, 8), frames=300)
    clips = torch.randn(1, 300, 128, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(clips).logits, original(clips), rtol=0, atol=1e-5)


def of_pretraining(path: Path, patch: tuple[int, int] = (16, 16)) -> Path:
    """SSAST's: no classifier, but heads for its tasks and the size of its clips, which are integers."""
    original = Original(400, patch, patch)
    del original.mlp_head
    names = [f"{head}predlayer.{layer}.weight" for head in "cg" for layer in (0, 2)]
    heads = {name: torch.ones(4, WIDTH) for name in names}
    sizes = {"p_input_fdim": torch.tensor(128), "p_input_tdim": torch.tensor(400)}
    return released(path, original, **heads, **sizes, mask_embed=torch.zeros(1, 1, WIDTH))


def test_a_pretrained_ssast_is_an_encoder_and_its_heads_are_counted(tmp_path: Path) -> None:
    model, left_out = fastast_from_original(of_pretraining(tmp_path / "ssast.pth"))
    assert type(model) is FastASTModel and len(left_out) == 4 + 4 + 3
    assert (model.config.max_length, model.config.time_stride) == (400, 16)
    with pytest.raises(ValueError, match="has patches of 128 mel bins and 2 frames in 1 channels: FastAST"):
        fastast_from_original(of_pretraining(tmp_path / "frames.pth", (128, 2)))


def test_the_command_makes_a_checkpoint_that_the_tagger_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, labels = released(tmp_path / "ast.pth", Original(128, (10, 10))), tmp_path / "labels.csv"
    names = ["Speech", 'Dog, "Bark"', "Rain"]
    quoted = [name.replace('"', '""') for name in names]
    rows = "".join(f'{index},/m/{index},"{name}"\n' for index, name in enumerate(quoted))
    labels.write_text("index,mid,display_name\n" + rows)
    out = tmp_path / "new" / "ast"
    settings = ["--label-file", str(labels), "--mean", "-6.8", "--std", "5.5"]
    assert main(["convert", str(file), str(out), *settings]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out == (
        f"{out}: 2 layers of 128, 3 labels, strides 10 and 10, 128 frames; 4 weights of other heads left out\n"
    )
    tagger = Tagger(out, device="cpu")
    assert {label["label"] for label in tagger((np.ones(16000), 16000))} == set(names)
    assert (tagger.feature_extractor.mean, tagger.feature_extractor.std) == (-6.8, 5.5)
    assert main(["convert", str(file), str(out)]) == 2 and "exists: give a new folder" in capsys.readouterr().err


def test_what_the_file_does_not_tell_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = released(tmp_path / "ast.pth", Original(128, (10, 10)))
    assert main(["convert", str(file), str(tmp_path / "out")]) == 0
    statistics, labels = capsys.readouterr().err.splitlines()
    assert "AudioSet's mean -4.2677 and std 4.5690" in statistics and "LABEL_0, LABEL_1" in labels
    assert main(["convert", str(of_pretraining(tmp_path / "s.pth")), str(tmp_path / "encoder"), "--std", "4"]) == 0
    assert "the folder is an encoder, to train from" in capsys.readouterr().err
    _, info = FastASTForAudioClassification.from_pretrained(tmp_path / "encoder", output_loading_info=True)
    assert all(name.startswith("classifier.") for name in info["missing_keys"]) and not info["unexpected_keys"]


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda weights: weights.pop(f"module.{name}")


BROKEN: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (without("v.dist_token"), "has no weight 'dist_token': give a checkpoint of AST or SSAST"),
    (without("v.blocks.1.attn.qkv.bias"), "has no weight 'blocks.1.attn.qkv.bias'"),
    (lambda weights: weights.update({"module.v.fc_norm.weight": torch.ones(3)}), "has 1 weights that AST has no"),
    (lambda weights: weights.update({"module.mlp_head.0.bias": torch.ones(7)}), "is of another network than AST"),
    (lambda weights: weights["module.v.norm.bias"].fill_(torch.nan), "layernorm.bias is not finite"),
    (lambda weights: weights.update(code=Touch(Path("ran"))), "holds code"),
]


@pytest.mark.parametrize(("change", "said"), BROKEN, ids=[said for _, said in BROKEN])
def test_what_is_no_checkpoint_of_theirs_is_one_line(
    change: Callable[[dict[str, Any]], Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = {f"module.{name}": weight for name, weight in Original(128, (10, 10)).state_dict().items()}
    change(weights)
    torch.save(weights, "ast.pth")
    with pytest.raises(ValueError, match=said) as raised:
        fastast_from_original("ast.pth")
    assert "\n" not in str(raised.value) and not Path("ran").exists()
    with pytest.raises(ValueError, match="has 3 labels, and 2 names were given"):
        fastast_from_original(released(Path("good.pth"), Original(128, (10, 10))), labels=["a", "b"])


def test_commands_that_are_given_the_file_say_how_to_convert_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(released(tmp_path / "ast.pth", Original(128, (10, 10))))
    sound = str(Path(__file__).parents[2] / "data" / "speech" / "yes_slt.wav")
    for command in (["classify", sound, "--model", file], ["export", "onnx", file], ["benchmark", "--model", file]):
        assert main(command) == 2
        assert capsys.readouterr().err.count(f"run `fastast convert {file} FOLDER` and give that folder") == 1
    with pytest.raises(ValueError, match="of AST's or SSAST's authors: make a checkpoint of it by `fastast convert"):
        load_released(file)
