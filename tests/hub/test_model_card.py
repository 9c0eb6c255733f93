"""Cards: each number from a file, what a person wrote kept, and metadata that the Hub's own parser takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard
from small_results import ROWS, TABLE, TRAINING

from fastast_hf.cli.main import main
from fastast_hf.hub.model_card import render_card, write_card


@pytest.fixture
def measured(checkpoint: Path) -> Path:
    (checkpoint / "results").mkdir()
    (checkpoint / "results" / "esc50-test.json").write_text(json.dumps(TABLE))
    (checkpoint / "results.json").write_text(json.dumps(TRAINING))
    return checkpoint


def data_of(card: str) -> Any:
    return ModelCard(card).data


def test_a_card_tells_what_the_files_say(measured: Path) -> None:
    card = render_card(measured, "me/tiny", "cc-by-4.0")
    for said in (
        "| 4 | constant | 50 → 38 | 0.312 | 1.33× | 79.0 | 75.0 to 83.0 | 123 |",
        "a processor, cpu, float32, sdpa, 2 threads, 16 at once",
        "318 clips of ESC-50, all folds but 3. 2 clips were missing.",
        "10 epochs from `MIT/ast-base`, batches of 16, learning rate 0.0002",
        "r drawn at each step from 0, 4, 8",
        "`me/teacher`, which heard each clip on the same augmented audio as the student; λ = 0.1, τ = 2",
        'from_pretrained("me/tiny", tome_r=0)  # at another r',
        "accuracy 80.0 %",
    ):
        assert said in card
    assert "/home" not in card


def test_its_metadata_is_what_the_hub_reads(measured: Path) -> None:
    data = data_of(render_card(measured, "me/tiny", "cc-by-4.0"))
    assert (data.license, data.base_model, data.datasets) == ("cc-by-4.0", "MIT/ast-base", ["ashraq/esc50"])
    assert data.metrics == ["accuracy"] and data.library_name == "transformers"
    result = data.eval_results[0]
    assert isinstance(result, EvalResult)
    # the score at the checkpoint's own r, 4
    assert (result.metric_value, result.dataset_type, result.task_type) == (
        0.79,
        "ashraq/esc50",
        "audio-classification",
    )


STARTS = [
    ({"local": ["model"]}, "stage1", None, "10 epochs from the local checkpoint `stage1`, batches"),
    ({"local": ["model"]}, "runs/stage1", None, "from the local checkpoint `runs/stage1`"),
    ({"local": []}, "me/here", "me/here", "10 epochs from `me/here`, batches"),  # a folder that came later
    ({}, "me/here", None, "from `me/here`"),  # of a run that did not write it down
    ({}, "me/gone", "me/gone", "from `me/gone`"),
    ({"local": []}, "timm/deit", None, "from `timm/deit`"),
]


@pytest.mark.parametrize(("written", "start", "base", "said"), STARTS)
def test_a_base_model_is_one_of_the_hub_and_no_folder(
    written: dict[str, Any], start: str, base: str | None, said: str, measured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(measured)
    (measured / "me" / "here").mkdir(parents=True)
    (measured / "results.json").write_text(json.dumps(changed(TRAINING, "settings.model", start) | written))
    card = render_card(measured)
    assert data_of(card).base_model == base and said in card


def test_clips_beside_it_can_be_tried_on_its_page(measured: Path) -> None:
    (measured / "samples").mkdir()
    (measured / "samples" / "a_dog.wav").write_bytes(b"RIFF")
    widget = data_of(render_card(measured, "me/tiny")).widget
    assert widget == [
        {"example_title": "a dog", "src": "https://huggingface.co/me/tiny/resolve/main/samples/a_dog.wav"}
    ]


def test_a_number_of_no_file_makes_no_card(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastast_hf.hub.card_text.CITATIONS", "accuracy 99.7 %")
    with pytest.raises(ValueError, match=r"'citations' has numbers of no file: 99\.7"):
        render_card(measured)


def test_what_was_not_measured_is_said_to_be_so(checkpoint: Path) -> None:
    card = render_card(checkpoint)
    assert "## Results\n\n<!-- generated: results -->\nNot yet measured." in card
    assert data_of(card).eval_results is None


def test_limits_speak_of_results_only_where_something_was_measured(measured: Path) -> None:
    assert "may be labelled worse than the results below say." in render_card(measured)
    (measured / "results" / "esc50-test.json").unlink()
    card = render_card(measured)
    assert "may be labelled worse. Not for" in card and "results below" not in card


def test_a_cell_that_nothing_stands_in_has_a_dash(measured: Path) -> None:
    untimed = [ROWS[0] | {"samples_per_sec": None}, ROWS[1]]
    (measured / "results" / "esc50-test.json").write_text(json.dumps(TABLE | {"rows": untimed}))
    card = render_card(measured)
    assert "| 0 | – | 50 → 50 | 0.415 | 1.00× | 81.2 | 77.0 to 85.0 | – |" in card and "|  |" not in card


def test_a_card_says_which_way_of_loading_needs_another_program_and_what_to_do_without(measured: Path) -> None:
    (line,) = re.findall(r"^pipeline\(.*$", render_card(measured, "me/tiny"), re.MULTILINE)
    assert line.endswith("  # opens files with the program ffmpeg; without it, use Tagger")


def test_a_persons_sections_and_fields_stay_and_the_generated_ones_are_renewed(measured: Path) -> None:
    path = write_card(measured, "me/tiny", "cc-by-4.0")
    text = path.read_text().replace("# tiny\n", "# My own title\n\nAbout 42 dogs.\n")
    text = text.replace("## Training\n", "## Who made it\n\nMe.\n\n## Training\n")
    text = text.replace("library_name:", "language: en\nlibrary_name:")
    path.write_text(text)
    (measured / "results" / "esc50-test.json").write_text(json.dumps(TABLE | {"rows": [ROWS[1] | {"score": 0.801}]}))
    renewed = write_card(measured, "me/tiny").read_text()
    for kept in ("# My own title\n\nAbout 42 dogs.", "## Who made it\n\nMe.", "language: en", "license: cc-by-4.0"):
        assert kept in renewed
    assert "| 80.1 |" in renewed and "| 79.0 |" not in renewed and renewed.count("## Results") == 1
    assert write_card(measured, "me/tiny").read_text() == renewed


def test_a_card_is_renewed_with_its_name_and_without_results_too(checkpoint: Path) -> None:
    write_card(checkpoint)
    assert write_card(checkpoint).read_text().count("\n# ") == 1
    renamed = write_card(checkpoint, "me/other").read_text()
    assert "\n# other\n" in renamed and f"# {checkpoint.name}\n" not in renamed
    (checkpoint / "README.md").write_text(renamed.replace("# other", "# My dogs\n\nThey bark."))
    assert "\n# My dogs\n\nThey bark." in write_card(checkpoint, "me/third").read_text()


def test_the_command_writes_it_and_says_where(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(measured), "--repo-id", "me/tiny"]) == 0
    assert capsys.readouterr().out == f"{measured / 'README.md'}\n"
    (measured / "results.json").write_text("{")
    assert main(["card", str(measured)]) == 2
    assert "results.json is not JSON" in capsys.readouterr().err


def test_a_persons_fields_are_joined_with_the_generated_ones(measured: Path) -> None:
    mine = {"type": "audio-classification"}, {"type": "me/dogs", "name": "Dogs"}, [{"type": "f1", "value": 0.6}]
    old = {"task": mine[0], "dataset": {"type": "ashraq/esc50", "name": "ESC-50, old", "split": "validation"}}
    old |= {"metrics": [{"type": "accuracy", "value": 0.1, "name": "accuracy, tome_r = 4"}]}
    results = [dict(zip(("task", "dataset", "metrics"), mine, strict=True)), old]
    own = {"datasets": ["me/dogs"], "metrics": ["f1"], "tags": ["dogs"], "language": "en", "license": "mit"}
    own |= {"model-index": [{"name": "mine", "results": results}], "widget": [{"src": "https://x.org/a.wav"}]}
    (measured / "README.md").write_text(f"---\n{json.dumps(own)}\n---\n# mine\n")
    for _ in range(2):  # the second time, of its own card
        data = data_of(write_card(measured, "me/tiny").read_text())
        assert (data.datasets, data.metrics) == (["ashraq/esc50", "me/dogs"], ["accuracy", "f1"])
        assert {"dogs", "fastast"} < set(data.tags) and (data.language, data.license) == ("en", "mit")
        assert [(one.dataset_type, one.metric_value) for one in data.eval_results] == [
            ("ashraq/esc50", 0.79),
            ("me/dogs", 0.6),
        ]
        assert data.widget == own["widget"]


BEGIN, END = "<!-- generated: results -->", "<!-- end of results -->"
MARKERS = {
    "swapped": (f"{END}\n1\n{BEGIN}", "results"),
    "half gone": (f"{BEGIN}\n1\n", "results"),
    "the other half": (f"1\n{END}\n", "results"),
    "doubled": (f"{BEGIN}\n1\n{END}\n{BEGIN}\n1\n{END}", "results"),
    "within another": (f"<!-- generated: use -->\n{BEGIN}\n{END}\n<!-- end of use -->", "results"),
}


@pytest.mark.parametrize("case", MARKERS)
def test_markers_that_are_no_pairs_are_refused_in_a_line(case: str, measured: Path) -> None:
    text, section = MARKERS[case]
    (measured / "README.md").write_text(f"# mine\n\n{text}\n")
    with pytest.raises(ValueError, match=rf"markers of its section '{section}' are not one pair: [^\n]*$"):
        write_card(measured)
    assert (measured / "README.md").read_text() == f"# mine\n\n{text}\n"


def test_a_front_matter_that_is_no_yaml_is_named(measured: Path) -> None:
    (measured / "README.md").write_text("---\ntags: [\n---\n# mine\n")
    with pytest.raises(ValueError, match=r"front matter can't be read \([^\n]*$"):
        write_card(measured)


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """With another value in place; None removes it."""
    first, dot, rest = path.partition(".")
    if dot:
        return content | {first: changed(content[first], rest, value)}
    return {k: v for k, v in content.items() if k != first} | ({} if value is None else {first: value})


MAP = {"test": {"last": {"mean_average_precision": 0.4}}, "metric": "mean_average_precision"}
TRAINED: list[tuple[dict[str, Any], str]] = [
    (TRAINING | MAP | {"teacher": {"mean_average_precision": 0.44}}, "`me/teacher` (mAP (macro) 44.0 % on the test"),
    (TRAINING | {"teacher": {"backbone": "b2", "loss": 1.0}}, "`me/teacher` (`b2`), which heard"),
    (changed(TRAINING, "settings.lam", None), "as the student; τ = 2."),
    (changed(changed(TRAINING, "settings.lam", None), "settings.tau", None), "as the student."),
    (TRAINING | {"missing": None}, "all folds but 3.\n"),
    (changed(TRAINING, "missing", None), "all folds but 3.\n"),
    (TRAINING | {"earlier_stages": [{"clips": {"train": 7, "extra": 5}}, {"clips": {"train": 9}}]},
     "in stages of their own: 7 clips and 5 of another folder; 9 clips."),
    (changed(TRAINING, "training.learning_rate", 5e-5), "learning rate 5e-05, weight decay 0.05"),
]  # fmt: skip


@pytest.mark.parametrize(("results", "said"), TRAINED, ids=[said[:20] for _, said in TRAINED])
def test_a_card_says_what_a_run_did_with_what_its_results_hold(
    results: dict[str, Any], said: str, measured: Path
) -> None:
    (measured / "results.json").write_text(json.dumps(results))
    assert said in render_card(measured)


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("results.json", changed(TRAINING, "settings.corpus", None), "has no 'settings.corpus'"),
    ("results.json", changed(TRAINING, "training.seed", "one"), "'training.seed' is 'one': a whole number is wanted"),
    ("results.json", TRAINING | {"test": {"last": {"loss": 0.1}}}, "has no 'test.last.accuracy'"),
    ("results.json", TRAINING | {"settings": []}, "settings is no object"),
    ("results.json", TRAINING | {"metric": "f1"}, "'metric' is 'f1': one of accuracy, mean_average_precision"),
    ("results/esc50-test.json", TABLE | {"rows": []}, "has no rows"),
    ("results/esc50-test.json", TABLE | {"rows": [changed(ROWS[0], "score", None)]}, "has no 'rows.0.score'"),
    ("preprocessor_config.json", {"mean": 0.0}, "has no 'max_length'"),
]


@pytest.mark.parametrize(("name", "content", "said"), BROKEN, ids=[said for *_, said in BROKEN])
def test_a_broken_file_is_named_with_what_it_lacks(
    name: str, content: dict[str, Any], said: str, measured: Path
) -> None:
    (measured / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        render_card(measured)
    assert str(measured / name) in str(caught.value) and "\n" not in str(caught.value)


def test_several_methods_and_metrics_are_told_apart_and_explained(measured: Path) -> None:
    trained = {"method": "Train+Inf", "metric": "mean_average_precision", "samples_per_sec": None}
    (measured / "results" / "esc50-test.json").write_text(json.dumps(TABLE | {"rows": [*ROWS, ROWS[1] | trained]}))
    card = render_card(measured)
    assert "Inf: one checkpoint, merging only when it is used; Train+Inf: a checkpoint trained at each r." in card
    assert "| Inf | 4 | constant | 50 → 38 | 0.312 | 1.33× | accuracy | 79.0 | 75.0 to 83.0 | 123 |" in card
    assert "| Train+Inf | 4 | constant | 50 → 38 | 0.312 | 1.33× | mAP (macro) | 79.0 | 75.0 to 83.0 | – |" in card


def test_the_licence_stands_in_the_text_beside_the_corpus_own(measured: Path) -> None:
    assert "**Licence.** `mit`. ESC-50 is [cc-by-nc-3.0](https:" in render_card(measured, license_id="mit")
    assert "**Licence.** None is stated for this checkpoint. ESC-50 is" in render_card(measured)
