"""`fastast classify`: the table, the JSON lines, and one line for whatever can't be used."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from pickles_with_code import Touch
from transformers import BertConfig, BertForSequenceClassification

from fastast_hf import FastASTConfig, FastASTFeatureExtractor, FastASTForAudioClassification, Tagger
from fastast_hf.cli import classify as classify_command
from fastast_hf.cli.main import main
from fastast_hf.tagging.presets import PRESETS, fast_dtype

DATA = Path(__file__).parents[1] / "data"
GOOD = str(DATA / "speech" / "yes_rms.wav")
MP3 = (DATA / "formats" / "mp3_44k1.mp3").read_bytes()
SOUND = np.sin(np.arange(16000) / 9).astype(np.float32)
FIELDS = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "max_length": 128,
    "num_labels": 5,
    "tome_r": 8,
}
BAD_FILES: list[tuple[str, Any, str]] = [
    # name, bytes or (samples, rate), what is said
    ("gone.wav", None, "no such file"),
    ("empty.wav", b"", "empty file"),
    ("text.wav", b"This is not audio.\n" * 99, "no audio that can be decoded"),
    ("cut.mp3", MP3[: len(MP3) // 4], "can be decoded"),
    ("zero.wav", (SOUND[:0], 16000), "zero samples"),
    ("short.wav", (SOUND[:399], 16000), "too short, 399 samples"),
    ("nan.wav", (np.where(SOUND > 0.9, np.nan, SOUND), 16000), "a sample is nan"),
    ("inf.wav", (np.where(SOUND > 0.9, np.inf, SOUND), 16000), "a sample is inf"),
    ("slow.wav", (SOUND, 1), "1 Hz"),
    ("two\nlines.wav", b"", "two lines.wav: empty file"),
]
BAD_OPTIONS = [
    (["--r", "-3"], "--r is -3"),
    (["--r", "few"], "invalid int value: 'few'"),
    (["--r", "8", "--speedup", "2"], "not allowed with"),
    (["--speedup", "50"], "no r reaches a speed-up of 50"),
    (["--speedup", "0.5"], "give 1 or more"),
    (["--schedule", "steep"], "invalid choice: 'steep'"),
    (["--top-k", "0"], "--top-k is 0: give 1 or more"),
    (["--batch-size", "0"], "--batch-size is 0"),
    (["--workers", "-1"], "--workers is -1"),
    (["--device", "toaster"], "--device toaster can't be used here (there is none of that name): give cpu"),
    (["-o", str(Path(__file__) / "out.csv")], "out.csv can't be written: "),
    (["--dtype", "int4"], "invalid choice: 'int4'"),
    (["--preset", "faster"], "invalid choice: 'faster'"),
    (["--model", "no-such-owner/no-such-model"], "no-such-owner/no-such-model"),
]


def edit_config(folder: Path, **fields: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def relabel(folder: Path) -> None:
    labels = {str(index): f"sound {index}" for index in range(7)}
    edit_config(folder, id2label=labels, label2id={label: int(index) for index, label in labels.items()})


def make_bert(folder: Path) -> None:
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=9)
    BertForSequenceClassification(config).save_pretrained(folder)


def keep_encoder(folder: Path) -> None:
    FastASTForAudioClassification.from_pretrained(folder).audio_spectrogram_transformer.save_pretrained(folder)


def pickle_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.dense.weight": Touch(folder / "ran")}, folder / "pytorch_model.bin")


def cut_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])


BAD_MODELS: list[tuple[Callable[[Path], Any], str]] = [
    (lambda folder: folder.rename(folder.with_name("elsewhere")), "does not exist"),
    (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    (lambda folder: shutil.rmtree(folder) or folder.write_bytes(b"RIFF"), "is a file: give a checkpoint's folder"),
    (make_bert, "is a 'bert' checkpoint"),
    (lambda folder: (folder / "config.json").write_text('{"model_type": '), "config.json"),
    (lambda folder: edit_config(folder, tome_r=-1), "tome_r is -1"),
    (lambda folder: edit_config(folder, hidden_size="wide"), "hidden_size"),
    (relabel, "do not fit its config.json: classifier.dense.bias has the shape"),
    (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "can't be loaded (there is none): fetch or save its preprocessor_config.json anew",
    ),
    (lambda folder: (folder / "preprocessor_config.json").write_text("{"), "the front end of"),
    (keep_encoder, "lacks 4 weights"),
    (pickle_code, "can't be read"),
    (cut_weights, "can't be read"),
]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "model"
    FastASTForAudioClassification(FastASTConfig(**FIELDS)).save_pretrained(folder)
    FastASTFeatureExtractor(max_length=128).save_pretrained(folder)
    return folder


@pytest.fixture
def classify(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], list[str]]]:
    """Runs the command on the tiny checkpoint: exit code, lines on stdout, lines on stderr."""

    def run(*arguments: str) -> tuple[int, list[str], list[str]]:
        try:
            code = main(["classify", "--device", "cpu", "--model", str(checkpoint), *arguments])
        except SystemExit as exit:  # the parser's
            code = exit.code
        printed = capsys.readouterr()
        return code, printed.out.splitlines(), printed.err.splitlines()

    return run


def test_table_has_a_row_per_file_and_what_was_merged(classify) -> None:  # noqa: ANN001
    code, out, err = classify(str(DATA / "computed"), GOOD)
    assert code == 0 and err == []
    assert out[0].split() == ["file", "1st", "2nd", "3rd"]
    assert set(out[1]) == {"-", " "}
    *files, last = sorted((DATA / "computed").iterdir()), Path(GOOD)
    rows = out[2:-2]
    assert [row.split()[0] for row in rows] == [str(file) for file in [*files[0], last]]
    for row in rows:
        _, *cells = row.split()
        assert [label[:6] for label in cells[::2]] == ["LABEL_"] * 3
        assert sorted(map(float, cells[1::2]), reverse=True) == list(map(float, cells[1::2]))
        assert row.index(cells[0]) == out[0].index("1st")
    assert out[-2:] == ["", "6 labelled; tome_r=8: 146 tokens enter the first layer, 130 the last"]


@pytest.mark.parametrize(
    ("top_k", "headers"), [("1", "1st"), ("5", "1st 2nd 3rd 4th 5th"), ("99", "1st 2nd 3rd 4th 5th")]
)
def test_headers_count_the_labels(top_k: str, headers: str, classify) -> None:  # noqa: ANN001
    code, out, _ = classify(GOOD, "--top-k", top_k)
    assert code == 0
    assert out[0].split() == ["file", *headers.split()]
    assert out[-1].startswith("1 labelled; ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--r", "20"], "tome_r=20: 146 tokens enter the first layer, 106 the last"),
        (["--r", "20", "--schedule", "decreasing"], "tome_r=20: 146 tokens enter the first layer, 86 the last"),
        (["--r", "16,8,4"], "tome_r=[16, 8, 4]: 146 tokens enter the first layer, 122 the last"),
        (["--r", "0", "--dtype", "bfloat16"], "tome_r=0: 146 tokens enter the first layer, 146 the last, in bfloat16"),
        (["--native-length"], "130 the last (of clips that fill the model's input)"),
        (["--preset", "fast", "--no-native-length"], "tome_r=8: 146 tokens enter the first layer, 130 the last"),
        (["--preset", "fast", "--r", "20"], "106 the last (of clips that fill the model's input)"),
        (["--preset", "balanced", "--speedup", "1"], "tome_r=0: 146 tokens enter the first layer, 146 the last"),
    ],
)
def test_what_was_merged_follows_the_options(options: list[str], said: str, classify) -> None:  # noqa: ANN001
    code, out, err = classify(GOOD, *options)
    assert (code, err) == (0, [])
    assert out[-1].removesuffix(f", in {preset_dtype(options)}").endswith(said)


def preset_dtype(options: list[str]) -> str:
    """What this machine computes in by a preset."""
    name = options[options.index("--preset") + 1] if "--preset" in options else "exact"
    return str(fast_dtype(PRESETS[name], torch.device("cpu"))).removeprefix("torch.")


def test_what_a_preset_merges_is_told(classify, checkpoint: Path) -> None:  # noqa: ANN001
    edit_config(checkpoint, tome_r=0)
    code, out, err = classify(GOOD, "--preset", "balanced")
    assert (code, err) == (0, [])
    assert (
        out[-1]
        .removesuffix(f", in {preset_dtype(['--preset', 'balanced'])}")
        .endswith("tome_r=[48, 24, 0] by the preset: 146 tokens enter the first layer, 74 the last")
    )


def test_the_presets_offered_are_those_that_there_are() -> None:
    assert tuple(PRESETS) == classify_command.PRESETS


def test_speedup_is_solved_for_r(classify) -> None:  # noqa: ANN001
    def r_for(speedup: str) -> int:
        code, out, _ = classify(GOOD, "--speedup", speedup)
        assert code == 0
        return int(out[-1].split("tome_r=")[1].split(":")[0])

    assert r_for("1") == 0 < r_for("1.2") < r_for("1.5")


def test_json_has_an_object_per_file_with_the_taggers_labels(classify, checkpoint: Path) -> None:  # noqa: ANN001
    files = sorted((DATA / "computed").iterdir())
    code, out, err = classify(str(DATA / "computed"), "--json", "--top-k", "2", "--r", "4")
    assert code == 0 and err == []
    expected = Tagger(checkpoint, tome_r=4, top_k=2, device="cpu")(files)
    assert [json.loads(line) for line in out] == [
        {"file": str(file), "labels": labels} for file, labels in zip(files, expected, strict=True)
    ]


@pytest.mark.parametrize("name", ["été 雨.wav", "two\nlines.wav", 'quo"te\\.wav', "byte\udcff.wav"])
def test_any_file_name_makes_one_line(name: str, classify, tmp_path: Path) -> None:  # noqa: ANN001
    file = tmp_path / name
    try:
        file.write_bytes(Path(GOOD).read_bytes())
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system has no such names")
    code, out, err = classify(str(file), "--json")
    assert code == 0 and err == []
    (line,) = out
    assert line.isascii() and json.loads(line)["file"] == str(file)
    code, out, err = classify(str(file))
    assert code == 0 and err == [] and len(out) == 5


@pytest.mark.parametrize(("name", "content", "said"), BAD_FILES)
def test_a_bad_file_is_one_line_and_the_good_one_is_labelled(
    name: str,
    content: Any,
    said: str,
    classify,  # noqa: ANN001
    tmp_path: Path,
) -> None:
    file = tmp_path / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        soundfile.write(file, *content, subtype="FLOAT")
    code, out, err = classify(str(file), GOOD, "--json")
    assert code == 2
    failed, labelled = map(json.loads, out)
    assert failed["file"] == str(file) and said in failed["error"]
    assert labelled["file"] == GOOD and len(labelled["labels"]) == 3
    line, counts = err
    assert (
        line.startswith("fastast classify: ") and said in line and counts == "fastast classify: 1 labelled, 1 failed"
    )
    code, out, err = classify(str(file))  # nothing good beside it
    assert code == 2 and out == ["0 labelled, 1 failed"] and err == [line]


def test_a_folder_without_audio_is_one_line_and_the_rest_is_labelled(classify, tmp_path: Path) -> None:  # noqa: ANN001
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "notes.txt").write_text("no audio")
    code, out, err = classify(str(folder), str(DATA / "computed"), "--json")
    assert code == 2 and len(out) == 5
    assert len(err) == 2 and "no audio in this folder" in err[0] and err[1] == "fastast classify: 5 labelled, 1 failed"
    code, out, err = classify(str(folder))
    assert code == 2 and out == [] and len(err) == 1


@pytest.mark.parametrize(("options", "said"), BAD_OPTIONS)
def test_a_bad_option_is_one_line(options: list[str], said: str, classify) -> None:  # noqa: ANN001
    code, out, err = classify(GOOD, *options)
    assert (code, out) == (2, [])
    assert len(err) == 1 and err[0].startswith("fastast classify: ") and said in err[0]


@pytest.mark.parametrize(("spoil", "said"), BAD_MODELS)
def test_a_bad_model_is_one_line(spoil: Callable[[Path], Any], said: str, classify, checkpoint: Path) -> None:  # noqa: ANN001
    spoil(checkpoint)
    code, out, err = classify(GOOD)
    assert (code, out) == (2, [])
    assert len(err) == 1 and err[0].startswith("fastast classify: ") and said in err[0]
    assert not (checkpoint / "ran").exists()


@pytest.mark.parametrize("options", [["--json"], []])
def test_a_stop_keeps_what_is_labelled(
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(self: Tagger, sources: Any, **_: Any) -> Iterator[Any]:
        yield [{"label": "yes", "score": 0.5}]
        raise KeyboardInterrupt

    monkeypatch.setattr(Tagger, "stream", stopped)
    assert main(["classify", GOOD, GOOD, *options]) == 130
    printed = capsys.readouterr()
    assert "yes" in printed.out and "stopped" in printed.err


def test_nothing_but_results_is_printed(tmp_path: Path) -> None:
    """In a process of its own, with the bundled checkpoint, as a user runs it."""
    command = [sys.executable, "-m", "fastast_hf.cli.main", "classify", GOOD, str(tmp_path / "gone.wav"), "--json"]
    done = subprocess.run([*command, "--device", "cpu"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    gone = f"{tmp_path / 'gone.wav'}: no such file; check the path"
    assert done.stderr == f"fastast classify: {gone}\nfastast classify: 1 labelled, 1 failed\n"
    labelled, failed = map(json.loads, done.stdout.splitlines())
    assert len(labelled["labels"]) == 3 and failed["error"] == gone


def test_files_of_other_kinds_are_counted_and_an_empty_name_is_refused(
    classify,  # noqa: ANN001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    shutil.copy(GOOD, "a.wav")
    for name in ("memo.m4a", "notes.txt", "more.txt"):
        Path(name).write_text("x")
    code, out, err = classify(".")
    assert code == 0 and out[-1].startswith("1 labelled; ")
    assert err == ["fastast classify: left out 3 files of kinds that libsndfile does not read: 2 .txt, 1 .m4a"]
    assert classify("") == (2, [], ["fastast classify: '': an empty name; give a file or folder"])


def test_silence_is_labelled_with_a_warning(tmp_path: Path, checkpoint: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", 0 * SOUND, 16000)
    command = [sys.executable, "-m", "fastast_hf", "classify", str(tmp_path / "silent.wav"), "--device", "cpu"]
    done = subprocess.run([*command, "--model", checkpoint], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "1 labelled; " in done.stdout
    assert "silent.wav: the clip is silent (all samples are 0); it is used all the same\n" in done.stderr


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_sound_on_stdin_is_labelled(name: str, classify, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001
    with Path(GOOD).open("rb") as sound:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(sound))
        code, out, err = classify(name, "--json")
    expected = json.loads(classify(GOOD, "--json")[1][0])["labels"]
    assert (code, err) == (0, []) and json.loads(out[0])["labels"] == expected


def test_a_pattern_in_quotes_is_filled_in(classify, tmp_path: Path) -> None:  # noqa: ANN001
    for name in ("a[1].wav", "b.wav", "c.flac"):
        shutil.copy(GOOD, tmp_path / name)
    code, out, err = classify(str(tmp_path / "*.wav"), str(tmp_path / "a[1].wav"))
    assert (code, err) == (0, []) and out[-1].startswith("3 labelled; ")
    code, _, err = classify(str(tmp_path / "*.mp3"))
    assert code == 2 and "*.mp3: no such file" in err[0]


def test_a_threshold_leaves_blanks_in_the_table_and_an_empty_list_in_json(classify) -> None:  # noqa: ANN001
    files = [str(DATA / "computed"), "--activation", "sigmoid"]
    scores = [label["score"] for line in classify(*files, "--json")[1] for label in json.loads(line)["labels"]]
    middle = str(sorted(scores)[len(scores) // 2])
    code, out, err = classify(*files, "--threshold", middle)
    assert (code, err) == (0, []) and out[-1].startswith("5 labelled; ")
    shown = sum(len(line.split("LABEL")) - 1 for line in out[2:-2])
    assert shown == sum(score >= float(middle) for score in scores)
    assert [json.loads(line)["labels"] for line in classify(*files, "--threshold", "1", "--json")[1]] == [[]] * 5
    out = classify(*files, "--threshold", "1")[1]
    assert out[0] == "file" and out[-1].startswith("5 labelled, 5 of them without a label; ")
    assert "invalid score value: 'high'" in classify(*files, "--threshold", "high")[2][0]
    assert "has no thresholds in its config" in classify(*files, "--threshold", "auto")[2][0]


def test_nothing_is_said_of_merging_where_nothing_was_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    assert main(["classify", str(tmp_path / "empty.wav")]) == 2
    assert capsys.readouterr().out == "0 labelled, 1 failed\n"
    assert main(["classify", str(tmp_path / "empty.wav"), "-o", str(tmp_path / "a.csv")]) == 2
    assert capsys.readouterr().out == f"{tmp_path / 'a.csv'}: 0 labelled, 1 failed\n"
