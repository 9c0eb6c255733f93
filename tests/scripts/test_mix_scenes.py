"""Mixtures of ESC clips in AudioSet's layout, through the code that reads AudioSet."""

from __future__ import annotations

import csv
import importlib.util
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
from small_corpora import write_tone

from fastast_hf.audio import load_audio
from fastast_hf.corpora import is_multi_label, label_names, load_corpus

SCRIPT = Path(__file__).parents[2] / "training" / "mix_scenes.py"
# ESC's target and name, and what AudioSet calls it, in AudioSet's order.
CLASSES = [
    (20, "crying_baby", "Baby cry, infant cry"),
    (0, "dog", "Dog"),
    (10, "rain", "Rain"),
    (11, "sea_waves", "Waves, surf"),
]
MIDS = ["/t/dd00002", "/m/0bt9lr", "/m/06mb1", "/m/034srq"]
CATEGORY = {name: category for _, category, name in CLASSES}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mix_scenes", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_esc(root: Path, classes: list[tuple[int, str]], per_fold: int = 2, seconds: float = 0.5) -> Path:
    """ESC's layout with a tone for each clip."""
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for number in range(per_fold):
            for target, category in classes:
                clip = f"{fold}-{number}-A-{target}"
                lines.append(f"{clip}.wav,{fold},{target},{category},True,{number},A")
                write_tone(root / "audio" / f"{clip}.wav", 200 + 100 * target + 10 * number + fold, seconds)
    (root / "meta").mkdir()
    (root / "meta" / "esc50.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def esc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_esc(tmp_path_factory.mktemp("esc"), [(target, category) for target, category, _ in CLASSES])


@pytest.fixture(scope="module")
def scenes(esc: Path, script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mixtures") / "deep" / "scenes"
    assert script.main([str(esc), str(out), "--train", "20", "--eval", "10", "--seed", "3"]) == 0
    return out


def manifest(out: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of each scene."""
    rows = defaultdict(list)
    for row in csv.DictReader((out / "manifest.csv").read_text().splitlines()):
        rows[row["scene"]].append(row)
    return rows


def test_scenes_load_as_audioset_with_none_missing(scenes: Path) -> None:
    corpus = load_corpus("audioset", root=scenes)
    assert corpus.missing == {"train": 0, "test": 0} and is_multi_label(corpus)
    assert {split: len(data) for split, data in corpus.items()} == {"train": 20, "test": 10}
    names, parts = label_names(corpus), manifest(scenes)
    assert names == [name for *_, name in CLASSES]
    for split, word in (("train", "train"), ("test", "eval")):
        assert corpus[split]["id"][:] == [f"mixture_{word}_{index:05d}" for index in range(len(corpus[split]))]
        for row in corpus[split]:
            made_of = {part["category"] for part in parts[row["id"]]}
            assert {CATEGORY[names[index]] for index in row["labels"]} == made_of


def test_labels_have_their_official_mids(scenes: Path) -> None:
    rows = list(csv.DictReader((scenes / "class_labels_indices.csv").read_text().splitlines()))
    assert [row["mid"] for row in rows] == MIDS and [row["index"] for row in rows] == ["0", "1", "2", "3"]


def test_scenes_are_ten_seconds_of_16_bit_mono_that_nothing_clips(scenes: Path) -> None:
    files = sorted((scenes / "clips").iterdir())
    assert len(files) == 30
    for file in files:
        info = soundfile.info(file)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (16000, 1, 160000, "PCM_16")
        assert np.abs(soundfile.read(file)[0]).max() == pytest.approx(0.9, abs=1e-4)


def test_a_scene_is_the_sum_of_its_clips_at_their_onsets_and_levels(scenes: Path, esc: Path) -> None:
    for scene, parts in manifest(scenes).items():
        expected = np.zeros(160000)
        for part in parts:
            wave = load_audio(esc / "audio" / f"{part['clip']}.wav", 16000)
            first = round(float(part["onset_s"]) * 16000)
            assert 0 <= first <= 160000 - len(wave) and -10 <= float(part["gain_db"]) <= 0
            expected[first : first + len(wave)] += wave / np.abs(wave).max() * 10 ** (float(part["gain_db"]) / 20)
        expected *= 0.9 / np.abs(expected).max()
        assert np.abs(soundfile.read(scenes / "clips" / f"{scene}.flac")[0] - expected).max() < 2e-4


def test_onsets_and_levels_are_spread(scenes: Path) -> None:
    parts = [part for listed in manifest(scenes).values() for part in listed]
    onsets, gains = ([float(part[name]) for part in parts] for name in ("onset_s", "gain_db"))
    assert min(onsets) < 1.5 and max(onsets) > 8 and min(gains) < -8.5 and max(gains) > -1.5


def test_scenes_have_two_or_three_classes_and_each_comes_up_as_often(scenes: Path) -> None:
    for split in ("train", "eval"):
        listed = [[part["category"] for part in p] for name, p in manifest(scenes).items() if split in name]
        assert {len(categories) for categories in listed} == {2, 3}
        assert all(len(set(categories)) == len(categories) for categories in listed)
        counts = Counter(category for categories in listed for category in categories)
        assert len(counts) == 4 and max(counts.values()) - min(counts.values()) <= 1
        clips = Counter(part["clip"] for name, p in manifest(scenes).items() if split in name for part in p)
        for _, category, _ in CLASSES:
            target = next(str(number) for number, name, _ in CLASSES if name == category)
            used = [count for clip, count in clips.items() if clip.split("-")[-1] == target]
            assert max(used) - min(used) <= 1


@pytest.mark.parametrize("fold", [5, 2])
def test_evaluation_scenes_are_of_their_fold_alone(esc: Path, script: ModuleType, tmp_path: Path, fold: int) -> None:
    out = tmp_path / "out"
    assert script.main([str(esc), str(out), "--train", "12", "--eval", "6", "--eval-fold", str(fold)]) == 0
    folds: dict[str, set[int]] = {"train": set(), "eval": set()}
    for name, parts in manifest(out).items():
        folds[name.split("_")[1]] |= {int(part["clip"][0]) for part in parts}
    assert folds == {"train": {1, 2, 3, 4, 5} - {fold}, "eval": {fold}}


def contents(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_the_same_seed_gives_the_same_bytes(esc: Path, script: ModuleType, tmp_path: Path) -> None:
    made = {}
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        script.read_clip.cache_clear()
        assert script.main([str(esc), str(tmp_path / name), "--train", "4", "--eval", "2", "--seed", str(seed)]) == 0
        made[name] = contents(tmp_path / name)
    assert made["one"] == made["again"]
    assert len(made["one"]) == 6 + 5
    assert all(made["one"][file] != made["other"][file] for file in made["one"] if file.endswith(".flac"))


def test_only_classes_that_occur_are_labels(esc: Path, script: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "out"
    occurring = set()
    for seed in range(20):  # two scenes of two to three of the four classes
        assert script.main([str(esc), str(out / str(seed)), "--train", "1", "--eval", "1", "--seed", str(seed)]) == 0
        found = {part["category"] for parts in manifest(out / str(seed)).values() for part in parts}
        names = label_names(load_corpus("audioset", root=out / str(seed)))
        assert names == [name for _, category, name in CLASSES if category in found]
        occurring.add(len(names))
        if occurring >= {3, 4}:
            return
    pytest.fail(f"only {occurring} classes occurred")


def test_readme_says_mixtures_licence_and_settings(scenes: Path) -> None:
    readme = (scenes / "README.txt").read_text()
    for said in (
        "Mixtures of ESC clips, not recordings of AudioSet",
        "can't be compared",
        "CC BY 3.0",
        "CC BY-NC 3.0",
    ):
        assert said in readme
    assert "--train 20 --eval 10 --eval-fold 5 --seed 3" in readme


def test_classes_that_audioset_has_not_are_left_out(script: ModuleType, tmp_path: Path) -> None:
    esc = write_esc(tmp_path / "esc", [(0, "dog"), (10, "rain"), (26, "mouse_click")], per_fold=1)
    assert script.main([str(esc), str(tmp_path / "out"), "--train", "4", "--eval", "2"]) == 0
    assert label_names(load_corpus("audioset", root=tmp_path / "out")) == ["Dog", "Rain"]


def no_corpus(folder: Path) -> list[str]:
    return [str(folder / "nowhere"), str(folder / "out")]


def no_label(folder: Path) -> list[str]:
    return [str(write_esc(folder / "esc", [(0, "dog"), (1, "unicorn")], 1)), str(folder / "out")]


def one_class(folder: Path) -> list[str]:
    return [str(write_esc(folder / "esc", [(0, "dog"), (26, "mouse_click")], 1)), str(folder / "out")]


def lost_clip(folder: Path) -> list[str]:
    esc = write_esc(folder / "esc", [(0, "dog"), (10, "rain")], 1)
    (esc / "audio" / "1-0-A-0.wav").unlink()
    return [str(esc), str(folder / "out")]


def silent_clip(folder: Path) -> list[str]:
    esc = write_esc(folder / "esc", [(0, "dog"), (10, "rain")], 1)
    soundfile.write(esc / "audio" / "1-0-A-0.wav", np.zeros(8000), 16000)
    return [str(esc), str(folder / "out")]


def no_fold(folder: Path) -> list[str]:
    return [*one_corpus(folder), "--eval-fold", "6"]


def no_scenes(folder: Path) -> list[str]:
    return [*one_corpus(folder), "--eval", "0"]


def full_folder(folder: Path) -> list[str]:
    (folder / "out").mkdir()
    (folder / "out" / "notes.txt").write_text("mine")
    return one_corpus(folder)


def file_for_folder(folder: Path) -> list[str]:
    (folder / "out").write_text("mine")
    return one_corpus(folder)


def one_corpus(folder: Path) -> list[str]:
    return [str(write_esc(folder / "esc", [(0, "dog"), (10, "rain")], 1)), str(folder / "out")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (no_corpus, "nowhere: no such folder; give the folder that holds audio/"),
        (no_label, "no label of AudioSet is known for unicorn; give ESC-10 or ESC-50"),
        (one_class, "1 class to mix for train; give a corpus of two classes at least"),
        (lost_clip, "1 listed clips are not there; fetch the corpus again"),
        (silent_clip, "1-0-A-0.wav: the clip is silent"),
        (no_fold, "--eval-fold 6; give one of 1, 2, 3, 4, 5\n"),
        (no_scenes, "--eval 0; give at least one scene of each"),
        (full_folder, "out: is not empty; give a new folder"),
        (file_for_folder, "out: is not empty; give a new folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    script: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: Callable[[Path], list[str]],
    message: str,
) -> None:
    given = arguments(tmp_path)
    assert script.main(given) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("mix_scenes.py: ") and printed.err.count("\n") == 1
    assert message in printed.err
    assert not list((tmp_path / "out").glob("*.csv")) or arguments is silent_clip


@pytest.mark.real_audio
@pytest.mark.skipif("FASTAST_TEST_AUDIO" not in os.environ, reason="FASTAST_TEST_AUDIO names no folder of recordings")
def test_labels_are_those_of_the_official_list_in_its_order(script: ModuleType) -> None:
    labels = Path(os.environ["FASTAST_TEST_AUDIO"]) / "AudioSet" / "class_labels_indices.csv"
    official = [(row["mid"], row["display_name"]) for row in csv.DictReader(labels.read_text().splitlines())]
    places = [official.index(label) for label in script.LABELS.values()]
    assert places == sorted(places) and len(set(places)) + len(script.LEFT_OUT) == 50
