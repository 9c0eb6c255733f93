"""`fastast export`: what it writes and says, and `fastast classify` on that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.cli.main import main

Make = Callable[..., Any]
GOOD = str(Path(__file__).parents[1] / "data" / "speech" / "yes_rms.wav")
MADE = [
    # arguments, file, what is said of it
    (["onnx"], "model.onnx", "128 frames, tome_r=8: 50 tokens enter the first layer, 34 the last"),
    (["int8"], "model-int8.onnx", "128 frames, tome_r=8: 50 tokens enter the first layer, 34 the last"),
    (["onnx", "-o", "a b.onnx", "--r", "0"], "a b.onnx", "tome_r=0: 50 tokens enter the first layer, 50 the last"),
    (["int8", "--r", "9", "2", "1"], "model-int8.onnx", "tome_r=[9, 2, 1]: 50 tokens enter the first layer, 39"),
    (["onnx", "--schedule", "decreasing"], "model.onnx", "tome_r=8: 50 tokens enter the first layer, 26 the last"),
    (["onnx", "-o", "new/folder/UPPER.ONNX"], "new/folder/UPPER.ONNX", "50 tokens enter the first layer, 34 the last"),
    (["onnx", "--frames", "64"], "model.onnx", "64 frames, tome_r=8: 22 tokens enter the first layer, 8 the last"),
]
MISTAKES = [
    (["tflite", "MODEL"], "invalid choice: 'tflite'"),
    (["onnx"], "give MODEL"),
    (["onnx", "MODEL", "--r", "-1"], "--r is -1"),
    (["onnx", "MODEL", "--r", "1", "2"], "2 numbers for 3 layers"),
    (["onnx", "MODEL", "--frames", "5"], "shorter than one patch"),
    (["onnx", "MODEL", "-o", "model.bin"], "does not end in .onnx"),
    (["onnx", "MODEL", "-o", "MODEL/config.json/model.onnx"], "config.json is a file; give another --output"),
    (["onnx", GOOD], "yes_rms.wav is a file: give a checkpoint's folder"),
    (["onnx", "no/such/folder"], "does not exist"),
]


@pytest.fixture
def checkpoint(make_fastast: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "checkpoint"
    make_fastast(tome_r=8).save_pretrained(folder)
    FastASTFeatureExtractor(num_mel_bins=48, max_length=128).save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    return str(folder)


@pytest.mark.parametrize(("arguments", "file", "said"), MADE)
def test_the_file_is_written_and_classifies(
    arguments: list[str], file: str, said: str, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", arguments[0], checkpoint, *arguments[1:]]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out.count("\n") == 1
    assert out.startswith(f"{file}: 0.") and said in out
    assert main(["classify", GOOD, "--model", file]) == 0
    out, err = capsys.readouterr()
    assert err == "" and said.split("frames, ")[-1] in out.splitlines()[-1]
    assert main(["classify", GOOD, "--model", file, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["labels"]) == 3


@pytest.mark.parametrize(("arguments", "said"), MISTAKES)
def test_a_mistake_is_one_line(
    arguments: list[str], said: str, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [argument.replace("MODEL", checkpoint) for argument in arguments]
    try:
        code = main(["export", *arguments])
    except SystemExit as exit:  # the parser's
        code = exit.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and err.startswith("fastast export: ") and said in err
    assert not list(Path.cwd().glob("*.onnx"))


CLASSIFIED = [
    (["--r", "4"], "export again with --r"),
    (["--speedup", "1.2"], "export again with --r"),
    (["--dtype", "bfloat16"], "leave dtype out"),
    (["--native-length"], "--native-length was asked for, but model.onnx takes clips of one length alone"),
    (["--model", "gone.onnx"], "gone.onnx does not exist"),
]


@pytest.mark.parametrize(("options", "said"), CLASSIFIED)
def test_a_setting_that_is_fixed_is_one_line(
    options: list[str], said: str, checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "onnx", checkpoint, "--frames", "160"]) == 0
    capsys.readouterr()
    assert main(["classify", GOOD, "--model", "model.onnx", *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("fastast classify: ") and said in err


# Commands that need what only a checkpoint has.
NOT_EXPORTED = [
    ["visualize", GOOD, "-o", "merged.png"],
    ["export", "onnx", "-o", "again.onnx"],
    ["schedule"],
    ["benchmark", "--frames", "64", "--rounds", "1"],
]


@pytest.mark.parametrize("command", NOT_EXPORTED, ids=[command[0] for command in NOT_EXPORTED])
def test_an_exported_file_where_a_checkpoint_is_needed_is_one_line(
    command: list[str], checkpoint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "onnx", checkpoint]) == 0
    capsys.readouterr()
    assert main([*command, "--model", "model.onnx"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "give the checkpoint that it was exported from" in err


def test_a_damaged_file_is_one_line(checkpoint: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "onnx", checkpoint]) == 0
    capfd.readouterr()
    Path("model.onnx").write_bytes(Path("model.onnx").read_bytes()[:9999])
    assert main(["classify", GOOD, "--model", "model.onnx"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "model.onnx can't be read" in err
