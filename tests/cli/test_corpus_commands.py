"""`fastast stats`, `fastast evaluate` and `fastast train` on a corpus of tones."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from small_corpora import write_audioset, write_esc50, write_speech_commands, write_tone

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.cli import train
from fastast_hf.cli.main import main
from fastast_hf.corpora import load_corpus
from fastast_hf.corpora.statistics import corpus_statistics
from fastast_hf.errors import PROGRAM
from fastast_hf.training.results import write_split

Make = Callable[..., Any]


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    return write_esc50(tmp_path / "esc50")


@pytest.fixture
def checkpoint(make_fastast: Make, tmp_path: Path) -> Path:
    model = make_fastast(num_labels=2)
    model.config.id2label, model.config.label2id = {0: "dog", 1: "rain"}, {"dog": 0, "rain": 1}
    model.save_pretrained(tmp_path / "model")
    FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_stats_prints_and_writes_what_is_measured(
    esc50: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stats", "esc50", "--data", str(esc50), "--output", str(checkpoint)]) == 0
    measured = corpus_statistics(load_corpus("esc50", esc50)["train"], num_mel_bins=48)
    assert f"mean {measured.mean:.6f}, std {measured.std:.6f} (20 clips)" in capsys.readouterr().out
    extractor = FastASTFeatureExtractor.from_pretrained(checkpoint)
    assert (extractor.mean, extractor.std, extractor.num_mel_bins) == (measured.mean, measured.std, 48)


def test_evaluate_prints_the_table_and_writes_the_results(
    esc50: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (esc50 / "audio" / "1-0-A-0.wav").write_bytes(b"broken")
    (esc50 / "audio" / "2-0-A-0.wav").unlink()
    argv = ["evaluate", "esc50", "--data", str(esc50), "--model", str(checkpoint), "--r", "0", "4", "--rounds", "1"]
    assert main([*argv, "--output", str(tmp_path / "out"), "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert re.search(r"^0 +1\.00× ", printed.out, re.MULTILINE) and re.search(
        r"^4 +1\.\d\d× ", printed.out, re.MULTILINE
    )
    assert "18 clips of esc50 (2 classes), split test, folds 1, 2, 3, 4, 5, without 1 unreadable and 1" in printed.out
    assert "Inf" not in printed.out  # of one checkpoint there is no method to name
    results = json.loads((tmp_path / "out" / "esc50-test.json").read_text())
    assert results["missing"] == 1 and results["rows"][0]["unreadable"] == 1
    assert results["rows"][1]["samples_per_sec"] > 0
    assert (results["attention"], results["level"]) == ("sdpa", 0.95) and results["processor"]
    assert "Traceback" not in printed.err


def test_evaluate_writes_checkpoints_down_without_their_folders(
    esc50: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "r0").mkdir(parents=True)
    checkpoint.rename(tmp_path / "runs" / "r0" / "model")
    monkeypatch.chdir(tmp_path)
    argv = ["evaluate", "esc50", "--data", "esc50", "--r", "0", "--rounds", "0", "--device", "cpu", "--output", "out"]
    assert main([*argv, "--model", "runs/r0/model", "--trained", "runs/r{r}/model"]) == 0
    results = json.loads((tmp_path / "out" / "esc50-test.json").read_text())
    assert results["checkpoints"] == {"Inf": "model", "Train+Inf": "r{r}/model"}


def test_evaluate_scores_all_clips_of_a_plain_folder_and_says_what_it_left_out(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(6):
        write_tone(tmp_path / "heldout" / "dog" / f"{number}.wav", 300 + number)
        write_tone(tmp_path / "heldout" / "rain" / f"{number}.wav", 2000 + number)
    write_tone(tmp_path / "heldout" / "loose.wav", 500)
    (tmp_path / "heldout" / "dog" / "notes.m4a").touch()
    (tmp_path / "heldout" / "rain" / "0.wav").write_bytes(b"broken")
    argv = ["evaluate", "audiofolder", "--data", str(tmp_path / "heldout"), "--model", str(checkpoint), "--r", "0"]
    argv += ["--rounds", "0", "--device", "cpu", "--output"]
    assert main([*argv, str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "11 clips of heldout (2 classes), split all, without 1 unreadable." in printed
    assert "There are no splits, and 12 clips: all are scored. --split test scores the 2 that" in printed
    assert "left out 1 recording in no class folder, such as loose.wav" in caplog.text
    assert "left out 1 file of kinds that libsndfile does not read: 1 .m4a" in caplog.text

    # Clips that a checkpoint was trained on tell nothing, whatever else is there by now.
    (checkpoint / "results.json").write_text(json.dumps({"settings": {"corpus": "audiofolder", "data": "heldout"}}))
    split = load_corpus("audiofolder", tmp_path / "heldout")
    write_split(checkpoint / "split.csv", {"train": split["train"].select(range(9)), "test": split["test"]})
    assert main([*argv, str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "3 of 12 clips are scored: training heard the others, says its split.csv." in printed
    assert ", split test" in printed
    assert main([*argv, str(tmp_path / "out"), "--split", "all"]) == 0
    assert "11 clips of heldout" in capsys.readouterr().out


def test_evaluate_reports_on_an_exported_file_as_on_a_checkpoint(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    for number in range(3):
        write_tone(tmp_path / "sounds" / "dog" / f"{number}.wav", 300 + number)
        write_tone(tmp_path / "sounds" / "rain" / f"{number}.wav", 2000 + number)
    exported = tmp_path / "model.onnx"
    assert main(["export", "onnx", "--model", str(checkpoint), "--output", str(exported), "--r", "4"]) == 0
    argv = [
        "evaluate",
        "audiofolder",
        "--data",
        str(tmp_path / "sounds"),
        "--rounds",
        "1",
        "--report",
        "--title",
        "Tones",
    ]
    argv += ["--output", str(tmp_path / "out")]
    capsys.readouterr()
    assert main([*argv, "--model", str(exported)]) == 0
    printed = capsys.readouterr().out
    page = tmp_path / "out" / "tones-all-onnx-report" / "report.html"
    assert f"report: {page}" in printed and "clips/s" not in printed
    shown = page.read_text()
    assert "<title>model.onnx on Tones</title>" in shown and "computed in: what it was exported in" in shown
    assert re.search(r"r: 4 \(constant\)", shown)
    wrong = (page.parent / "wrong.csv").read_text().splitlines()
    assert shown.count("<audio ") == len(wrong) - 1
    assert main([*argv, "--model", str(checkpoint), "--r", "0", "4", "--dtype", "bfloat16", "--device", "cpu"]) == 0
    assert {place.name for place in (tmp_path / "out").glob("*-report*")} == {
        "tones-all-onnx-report", "tones-all-bfloat16-report-r0", "tones-all-bfloat16-report-r4-constant",
    }  # fmt: skip
    assert main([*argv, "--model", str(exported), "--r", "4"]) == 2
    assert "merges as it was exported: leave --r and --compare out" in capsys.readouterr().err


def test_evaluate_tunes_thresholds_which_classify_takes(
    make_fastast: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_audioset(tmp_path / "audioset")
    names = {0: "Dog", 1: "Rain", 2: "Bell, small"}
    model = make_fastast(num_labels=3, id2label=names, problem_type="multi_label_classification")
    model.save_pretrained(tmp_path / "model")
    FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(tmp_path / "model")
    before = json.loads((tmp_path / "model" / "config.json").read_text())
    argv = ["evaluate", "audioset", "--data", str(data), "--split", "train", "--rounds", "0", "--device", "cpu"]
    argv += ["--output", str(tmp_path / "out"), "--model", str(tmp_path / "model")]
    assert main([*argv, "--tune-thresholds"]) == 0
    assert "thresholds of 3 labels, tuned on these 8 clips of the split train, are in " in capsys.readouterr().out
    after = json.loads((tmp_path / "model" / "config.json").read_text())
    thresholds = after["thresholds"]
    assert after == before | {"thresholds": thresholds, "thresholds_split": "train"} and len(thresholds) == 3
    kept = len(list((tmp_path / "out" / "predictions").iterdir()))
    assert main([*argv, "--pool", "mean"]) == 0  # logits do not depend on them
    assert len(list((tmp_path / "out" / "predictions").iterdir())) == kept
    assert main([*argv, "--split", "test", "--report"]) == 0
    page = (tmp_path / "out" / "audioset-test-report" / "report.html").read_text()
    assert "the checkpoint&#39;s own" in page and f"{thresholds[0]:.3g}" in page
    assert "tuned on the train split" in page
    unnamed = [one for one in argv if one not in ("--split", "train")]
    assert main([*unnamed, "--tune-thresholds"]) == 2
    assert "there is no validation split to tune on: name another with --split" in capsys.readouterr().err
    assert json.loads((tmp_path / "model" / "config.json").read_text()) == after
    (tmp_path / "model" / "config.json").write_text(json.dumps(after | {"thresholds": [0.987] * 3}))
    assert main([*argv, "--split", "test", "--report", "--tune-thresholds"]) == 0
    page = (tmp_path / "out" / "audioset-test-report" / "report.html").read_text()
    tuned = json.loads((tmp_path / "model" / "config.json").read_text())
    assert tuned["thresholds_split"] == "test"
    assert "0.987" not in page and f"{tuned['thresholds'][0]:.3g}</td>" in page
    assert "tuned on the test split, which is scored here: precision, recall and F1 are too good" in page
    assert json.loads((tmp_path / "out" / "audioset-test.json").read_text())["thresholds_split"] == "test"
    assert main([*argv, "--tune-thresholds", "--random-r", str(tmp_path / "model")]) == 2
    assert "--tune-thresholds is for one checkpoint" in capsys.readouterr().err


def test_evaluate_compares_checkpoints_as_table_2_does(
    esc50: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["evaluate", "esc50", "--data", str(esc50), "--r", "0", "4", "--rounds", "1", "--device", "cpu"]
    compared = [f"FastAST={checkpoint}", f"FastAST + KD (CNN)={checkpoint}"]
    named = ["--title", "Two sounds", "--output", str(tmp_path / "out")]
    assert main([*argv, *named, "--compare", *compared]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^FastAST \+ KD \(CNN\) +4 +1\.\d\d× .* \+0.0 ", printed, re.MULTILINE)
    assert "Gains are over FastAST at the same r" in printed
    results = json.loads((tmp_path / "out" / "two-sounds-test-compared.json").read_text())
    rows = [(row["method"], row["tome_r"], row["metric"], row["gain"]) for row in results["rows"]]
    assert rows[:2] == [("FastAST", 0, "accuracy", None), ("FastAST", 0, "mean_average_precision", None)]
    assert rows[-1] == ("FastAST + KD (CNN)", 4, "mean_average_precision", 0.0)
    assert results["rows"][-1]["samples_per_sec"] > 0
    assert (tmp_path / "out" / "two-sounds-test-compared.png").stat().st_size > 10_000
    assert " clips of Two sounds (2 classes)" in (tmp_path / "out" / "two-sounds-test-compared.md").read_text()


def test_every_compared_checkpoint_has_its_own_report_whatever_its_name(
    esc50: Path, checkpoint: Path, tmp_path: Path
) -> None:
    argv = ["evaluate", "esc50", "--data", str(esc50), "--fold", "1", "--r", "0", "--rounds", "0", "--device", "cpu"]
    argv += ["--output", str(tmp_path / "out"), "--report", "--compare"]
    assert main([*argv, *(f"{name}={checkpoint}" for name in ("犬", "鳥", "a+", "a-", r"\frac{$$"))]) == 0
    pages = {page.parent.name for page in (tmp_path / "out").glob("*-report*/report.html")}
    start = "esc50-test-fold-1-compared-report-r0"
    assert pages == {f"{start}-犬", f"{start}-鳥", f"{start}-a", f"{start}-a-4", f"{start}-frac"}


def test_by_default_a_checkpoint_is_scored_at_0_and_its_own_r(esc50: Path, make_fastast: Make, tmp_path: Path) -> None:
    labels: dict[str, Any] = {"id2label": {0: "dog", 1: "rain"}, "label2id": {"dog": 0, "rain": 1}}
    for name, r in (("plain", 0), ("merging", 3)):
        make_fastast(num_labels=2, tome_r=r, **labels).save_pretrained(tmp_path / name)
        FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(tmp_path / name)
    argv = ["evaluate", "esc50", "--data", str(esc50), "--fold", "1", "--rounds", "0", "--device", "cpu"]
    for name, expected in (("plain", [0]), ("merging", [0, 3])):
        assert main([*argv, "--model", str(tmp_path / name), "--output", str(tmp_path / "out" / name)]) == 0
        rows = json.loads((tmp_path / "out" / name / "esc50-test-fold-1.json").read_text())["rows"]
        assert [row["tome_r"] for row in rows] == expected


COMPARE = ["evaluate", "esc50", "--data", "{esc50}", "--output", "{out}", "--compare"]
MISTAKES = [
    ([*COMPARE, "FastAST"], "--compare has 'FastAST': write NAME=ID"),
    ([*COMPARE, "a=x", "a=y"], "--compare names two checkpoints 'a'"),
    ([*COMPARE, "a={model}", "--r", "4"], "--r has no 0"),
    ([*COMPARE, "a=x", "--model", "{model}"], "leave --model, --trained, --trained-r and --random-r out"),
    ([*COMPARE, "a={model}", "b=gone/gone"], "evaluate: b: gone/gone is no folder here, and the Hub can't be reached"),
    ([*COMPARE, "a={model}", "--batch-size", "0"], "batch-size is 0: give 1 or more"),
    ([*COMPARE, "a={model}", "--rounds", "-1"], "rounds is -1: give 0 or more"),
    ([*COMPARE, "a={model}", "--title", "…"], "--title is '…': give a name with a letter or digit"),
    (
        ["evaluate", "esc50", "--data", "gone", "--output", "{out}", "--compare", "a={model}", "b=./gone"],
        "evaluate: b: gone does not exist",  # found before the corpus is looked for
    ),
    (
        ["evaluate", "esc50", "--data", "gone", "--output", "{esc50}/README", "--compare", "a={model}"],
        "README is a file; give another --output",
    ),
    (
        ["evaluate", "speech_commands", "--data", "{words}", "--output", "{out}", "--compare", "a b={model}"],
        " knows 2 labels, the corpus has ",
    ),
    (["evaluate", "esc50", "--data", "{esc50}", "--output", "{out}"], "no checkpoint to score: give --model"),
    (["evaluate", "esc50", "--data", "{esc50}", "--trained", "x", "--output", "{out}"], "write {r} where"),
    (["evaluate", "esc50", "--data", "{esc50}", "--model", "{model}", "--r", "-1", "--output", "{out}"], "r is -1"),
    (["evaluate", "esc50", "--data", "{esc50}", "--model", "gone/gone", "--output", "{out}"], "gone/gone"),
    (["evaluate", "esc50", "--data", "{words}", "--model", "{model}", "--output", "{out}"], "esc50.csv"),
    (
        ["evaluate", "speech_commands", "--data", "{words}", "--model", "{model}", "--output", "{out}"],
        " knows 2 labels, the corpus has ",
    ),
    (
        [
            "evaluate",
            "esc50",
            "--data",
            "{esc50}",
            "--output",
            "{out}",
            "--trained",
            "r{r}",
            "--schedule",
            "constant",
            "increasing",
        ],
        "write {schedule} where",
    ),
    (["evaluate", "esc51", "--data", "{esc50}"], "invalid choice: 'esc51'"),
    (
        ["evaluate", "esc50", "--data", "{esc50}", "--model", "{model}", "--split", "all", "--output", "{out}"],
        "--split is all",
    ),
    (["stats", "esc50"], "one of the arguments --data --hub-id is required"),
    (["stats", "esc50", "--data", "{esc50}", "--split", "valid"], "there is no split 'valid'"),
    (["stats", "esc50", "--data", "{esc50}", "--output", "{out}"], "out holds no checkpoint (config.json or preproc"),
    (["stats", "esc50", "--data", "{esc50}", "--fold", "9"], "fold"),
    (["stats", "esc50", "--data", "{esc50}", "--bogus"], "there is no option --bogus"),
]


@pytest.mark.parametrize(("argv", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_a_mistake_is_one_line_and_exit_code_2(
    argv: list[str],
    said: str,
    esc50: Path,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"esc50": esc50, "model": checkpoint, "out": tmp_path / "out", "words": tmp_path / "words"}
    if "{words}" in argv:
        write_speech_commands(places["words"])
    (esc50 / "README").touch()
    filled = [re.sub(r"\{(esc50|model|out|words)\}", lambda m: str(places[m[1]]), part) for part in argv]
    try:
        code = main(filled)
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    assert code == 2
    assert said in printed.err and printed.err.count("\n") == 1


def test_train_launches_the_script_and_hands_on_its_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv(PROGRAM, "")  # and take back what is set
    places = ["--data", str(tmp_path / "gone"), "--output", str(tmp_path / "out")]
    assert main(["train", "--corpus", "esc50", "--fold", "1", *places, "--use_cpu", "--model", "none"]) == 2
    printed = capfd.readouterr()
    assert printed.err.strip().splitlines()[-1].startswith("fastast train: ")
    assert "gone: no such folder" in printed.err and "Traceback" not in printed.err


def test_accelerates_options_are_told_from_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = []
    monkeypatch.setattr("accelerate.commands.launch.launch_command", launched.append)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert train.launch("run_finetune.py", ["--recipe", "esc50", "--num_processes", "2", "--bf16"]) == 0
    (args,) = launched
    assert args.num_processes == 2 and args.mixed_precision == "no"
    assert args.training_script.endswith("run_finetune.py")
    assert args.training_script_args == ["--recipe", "esc50", "--bf16"]


def test_several_processes_on_a_cpu_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []

    def run(command: list[str], check: bool) -> Any:
        ran.append(command)
        return subprocess.CompletedProcess(command, 3)

    monkeypatch.setattr(train.subprocess, "run", run)
    assert train.launch("run_finetune.py", ["--num-processes", "2", "--fold", "1", "--use-cpu"]) == 3
    machines = ["--num_machines", "2", "--machine_rank", "1", "--main_process_ip", "10.0.0.1"]
    machines += ["--main_process_port", "29501"]
    assert train.launch("run_finetune.py", ["--num_processes", "4", *machines, "--use_cpu"]) == 3
    torchs = ["--nnodes", "2", "--node-rank", "1", "--master-addr", "10.0.0.1", "--master-port", "29501"]
    for command, options, own in ((ran[0], [], ["--fold", "1", "--use-cpu"]), (ran[1], torchs, ["--use-cpu"])):
        assert command[1:5] == ["-m", "torch.distributed.run", "--nproc-per-node", "2"]
        assert command[5 : 5 + len(options)] == options
        assert Path(command[5 + len(options)]).name == "run_finetune.py" and command[6 + len(options) :] == own


def test_the_exit_code_of_a_failed_launch_is_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(args: Any) -> None:
        raise subprocess.CalledProcessError(7, "script")

    monkeypatch.setattr("accelerate.commands.launch.launch_command", fail)
    assert train.launch("run_finetune.py", []) == 7


CONFIGS = sorted((Path(__file__).parents[2] / "training" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("file", CONFIGS, ids=[file.stem for file in CONFIGS])
def test_accelerate_takes_its_configurations(file: Path) -> None:
    config = load_config_from_file(str(file))
    assert config.mixed_precision == "no" and config.num_processes >= config.num_machines
