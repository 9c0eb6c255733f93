"""`fastast evaluate` and `fastast train` on data of one's own: the same numbers as the official corpora have."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running_scripts import SMALL, load_script
from small_corpora import write_audioset, write_esc50, write_tone

from fastast_hf import FastASTFeatureExtractor
from fastast_hf.cli.main import main
from fastast_hf.corpora import label_names, load_corpus
from fastast_hf.training.results import write_split

Make = Callable[..., Any]


def save(make_fastast: Make, folder: Path, names: list[str], **fields: Any) -> Path:
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    make_fastast(num_labels=len(names), **labels, **fields).save_pretrained(folder)
    FastASTFeatureExtractor(max_length=128, num_mel_bins=48).save_pretrained(folder)
    return folder


def scores(argv: list[Any], output: Path) -> list[dict[str, Any]]:
    fixed = ["--r", 0, 4, "--rounds", 0, "--device", "cpu", "--output", output]
    assert main(["evaluate", *map(str, [*argv, *fixed])]) == 0
    (results,) = output.glob("*.json")
    told = ("metric", "score", "low", "high", "clips", "tome_r")
    return [{key: row[key] for key in told} for row in json.loads(results.read_text())["rows"]]


def test_esc50_through_its_csv_has_the_numbers_of_the_esc50_corpus(tmp_path: Path, make_fastast: Make) -> None:
    data = write_esc50(tmp_path / "esc50", per_fold=1)
    model = save(make_fastast, tmp_path / "model", ["dog", "rain"])
    expected, through = (
        scores([name, "--data", data, "--model", model], tmp_path / name) for name in ("esc50", "csv")
    )
    assert through == expected and expected[0]["clips"] == 10  # all folds, unless one is asked for


def test_a_table_with_nothing_to_train_on_is_refused_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("dog", "rain"):
        write_tone(tmp_path / "set" / f"{name}.wav", 300)
    (tmp_path / "set" / "labels.csv").write_text("file,label,split\ndog.wav,dog,test\nrain.wav,rain,test\n")
    argv = ["--data", tmp_path / "set", "--max_steps", 1, "--output_dir", tmp_path / "out", *SMALL]
    assert load_script("run_finetune").main(list(map(str, argv))) == 2
    assert "no clips to train on, only test: give some the split train" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_where_there_is_no_test_split_the_validation_split_is_scored(
    tmp_path: Path, make_fastast: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, hertz in (("dog", 300), ("rain", 2000)):
        write_tone(tmp_path / f"{name}.wav", hertz)
        write_tone(tmp_path / f"{name}_2.wav", hertz + 20)
    rows = [
        f"{name}{end}.wav,{name},{split}" for name in ("dog", "rain") for end, split in (("", "train"), ("_2", "val"))
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,split", *rows]))
    model = save(make_fastast, tmp_path / "model", ["dog", "rain"])
    assert scores(["--data", tmp_path, "--model", model], tmp_path / "out")[0]["clips"] == 2
    assert "There is no test split: the validation split is scored." in capsys.readouterr().out


def official_and_own(
    data: Path, folder: Path, make_fastast: Make
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Scores of a corpus in AudioSet's layout, and of the same clips through a csv."""
    corpus = load_corpus("audioset", data)
    names = label_names(corpus)
    with (data / "mine.csv").open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(("file", "labels", "split"))
        for split, rows in corpus.items():
            writer.writerows((row["id"], ";".join(names[label] for label in row["labels"]), split) for row in rows)
    model = save(make_fastast, folder / "model", names, problem_type="multi_label_classification")
    mine = ["--data", data / "mine.csv", "--label-separator", ";"]
    return (
        scores(["audioset", "--data", data, "--model", model], folder / "official"),
        scores([*mine, "--model", model], folder / "own"),
    )


def test_a_multi_label_csv_has_the_numbers_of_the_audioset_corpus(tmp_path: Path, make_fastast: Make) -> None:
    expected, through = official_and_own(write_audioset(tmp_path / "audioset"), tmp_path, make_fastast)
    assert through == expected and expected[0]["metric"] == "mean_average_precision"


@pytest.mark.real_audio
@pytest.mark.skipif("FASTAST_TEST_AUDIO" not in os.environ, reason="FASTAST_TEST_AUDIO names no folder of recordings")
def test_a_csv_of_mixtures_has_the_numbers_of_the_audioset_corpus(tmp_path: Path, make_fastast: Make) -> None:
    esc, scenes = Path(os.environ["FASTAST_TEST_AUDIO"]) / "ESC-10", tmp_path / "scenes"
    mixed = [str(esc), str(scenes), "--train", "20", "--eval", "20"]
    assert load_script("mix_scenes").main(mixed) == 0
    expected, through = official_and_own(scenes, tmp_path, make_fastast)
    assert through == expected and expected[0]["clips"] == 20


@pytest.mark.real_audio
@pytest.mark.skipif("FASTAST_TEST_AUDIO" not in os.environ, reason="FASTAST_TEST_AUDIO names no folder of recordings")
def test_esc10_through_its_csv_has_the_numbers_of_the_esc50_corpus(tmp_path: Path, make_fastast: Make) -> None:
    data = Path(os.environ["FASTAST_TEST_AUDIO"]) / "ESC-10"
    model = save(make_fastast, tmp_path / "model", label_names(load_corpus("esc50", data)))
    expected, through = (
        scores([name, "--data", data, "--fold", 1, "--model", model], tmp_path / name) for name in ("esc50", "csv")
    )
    assert through == expected and expected[0]["clips"] == 80


def test_training_on_a_csv_without_splits_writes_the_split_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(5):
        for name, hertz in (("dog", 300), ("rain", 2000)):
            write_tone(tmp_path / "set" / f"{name}{number}.wav", hertz + 20 * number)
    rows = "".join(f"{name}{number}.wav,{name}\n" for number in range(5) for name in ("dog", "rain"))
    (tmp_path / "set" / "labels.csv").write_text(f"file,label\n{rows}")
    argv = ["--data", tmp_path / "set", "--max_steps", 1, "--output_dir", tmp_path / "out", *SMALL]
    assert load_script("run_finetune").main(list(map(str, argv))) == 0
    with (tmp_path / "out" / "split.csv").open() as opened:
        split = {row["file"]: row["split"] for row in csv.DictReader(opened)}
    assert sorted(split.values()) == ["test"] * 2 + ["train"] * 8
    corpus = load_corpus("csv", tmp_path / "set")
    assert {clip: name for name, data in corpus.items() for clip in data["id"]} == split
    printed = capsys.readouterr().out
    assert "csv: 8 train clips, 2 test clips, 2 classes, 0 clips missing" in printed
    assert f"fastast evaluate csv --data {tmp_path / 'set'} --model {tmp_path / 'out'}" in printed
    assert json.loads((tmp_path / "out" / "results.json").read_text())["settings"]["corpus"] == "csv"

    for name in ("dog", "rain"):  # the table has grown: another draw would test on what was trained on
        write_tone(tmp_path / "set" / f"{name}5.wav", 700)
    with (tmp_path / "set" / "labels.csv").open("a") as opened:
        opened.write("dog5.wav,dog\nrain5.wav,rain\n")
    argv = ["--data", tmp_path / "set", "--model", tmp_path / "out"]
    assert scores(argv, tmp_path / "scored")[0]["clips"] == 4
    assert "4 of 12 clips are scored: training heard the others, says its split.csv." in capsys.readouterr().out


def test_results_of_one_table_are_not_overwritten_by_those_of_another(
    tmp_path: Path, make_fastast: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    model = save(make_fastast, tmp_path / "model", ["dog", "rain"])
    for folder in ("a", "b", "c/a"):
        for name in ("dog", "rain"):
            write_tone(tmp_path / folder / f"{name}.wav", 300)
        (tmp_path / folder / "labels.csv").write_text("file,label,split\ndog.wav,dog,test\nrain.wav,rain,test\n")
    argv = ["evaluate", "--model", model, "--r", 0, "--rounds", 0, "--device", "cpu", "--output", tmp_path / "out"]

    def evaluate(*data: Any) -> int:
        return main(list(map(str, [*argv, "--data", *data])))

    assert evaluate(tmp_path / "a") == evaluate(tmp_path / "b") == evaluate(tmp_path / "b" / "labels.csv") == 0
    names = {file.name for file in (tmp_path / "out").glob("*.json")}
    assert names == {"a-test.json", "b-test.json", "b-labels-test.json"}
    before = (tmp_path / "out" / "a-test.json").read_bytes()
    capsys.readouterr()
    assert evaluate(tmp_path / "c" / "a") == 2  # another folder of that name
    assert (
        "a-test.json holds the results of other data: give another --output, or a --title" in capsys.readouterr().err
    )
    assert (tmp_path / "out" / "a-test.json").read_bytes() == before
    assert evaluate(tmp_path / "c" / "a", "--title", "Ñandú") == 0
    assert (tmp_path / "out" / "ñandú-test.json").is_file()


def test_trained_clips_are_left_out_whatever_names_them(
    tmp_path: Path, make_fastast: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    data, table = tmp_path / "one" / "set", tmp_path / "one" / "set" / "labels.csv"
    rows = ["file,label,split,fold"]
    for number in range(5):
        for name, hertz in (("dog", 300), ("rain", 2000)):
            write_tone(data / f"{name}{number}.wav", hertz + 20 * number)
            rows.append(f"{name}{number}.wav,{name},{'test' if number == 4 else 'train'},{number + 1}")
    table.write_text("\n".join(rows))
    model = save(make_fastast, tmp_path / "model", ["dog", "rain"])
    write_split(model / "split.csv", load_corpus("csv", table))

    def clips(*argv: Any) -> int:
        return int(scores([*argv, "--model", model], tmp_path / f"out{len(list(tmp_path.iterdir()))}")[0]["clips"])

    assert clips("--data", data) == 2
    assert clips("--data", data, "--fold", 5) == 2
    capsys.readouterr()
    fixed = ["--rounds", 0, "--device", "cpu", "--output", tmp_path / "refused"]
    argv = ["evaluate", "--data", data, "--fold", 1, "--model", model, *fixed]
    assert main(list(map(str, argv))) == 2
    assert "all 2 clips were trained on" in capsys.readouterr().err

    table.write_text("\n".join(",".join(row.split(",")[:2]) for row in rows))  # without splits
    for place in (data, table):
        assert clips("--data", place) == 2
        assert "2 of 10 clips are scored: training heard the others" in capsys.readouterr().out
    seeded = next(seed for seed in range(99) if _tests(data, seed) == {"dog4.wav", "rain0.wav"})
    assert clips("--data", data, "--split", "test", "--split-seed", seeded) == 1

    other = tmp_path / "two" / "set"  # other sounds of the same names
    for number, file in enumerate(sorted(data.glob("*.wav"))):
        write_tone(other / file.name, 600 + 50 * number)
    (other / "labels.csv").write_text(table.read_text())
    assert clips("--data", other) == 10


def _tests(data: Path, seed: int) -> set[str]:
    return set(load_corpus("csv", data, split_seed=seed)["test"]["id"])
