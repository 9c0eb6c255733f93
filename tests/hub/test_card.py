"""Cards: each number from a file, what a person wrote kept, and metadata that the Hub's own parser takes."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import markdown_it
import pytest
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from small_results import ROWS, TABLE, TRAINING

from fastast_hf.cli.main import main
from fastast_hf.hub.card import REQUIREMENTS, fill, render_card, write_card
from fastast_hf.hub.facts import CardFacts


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
        "a processor, cpu, sdpa, 2 threads, in batches of 16",
        "318 clips of ESC-50, all folds but 3; 2 clips were missing",
        "**Start:** `MIT/ast-base`",
        "| `num_train_epochs` | 10.0 |",
        "| `learning_rate` | 0.0002 |",
        "r drawn at random from 0, 4, 8 at each step",
        "**Teacher:** `me/teacher`. It heard the same augmented audio as the student.",
        "| `tau` | 2.0 |",
        'from_pretrained("me/tiny", tome_r=0)',
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
    ({"local": ["model"]}, "stage1", None, "**Start:** the local checkpoint `stage1`\n"),
    ({"local": []}, "me/base", "me/base", "**Start:** `me/base`\n"),
    ({"local": []}, "timm/deit", None, "**Start:** `timm/deit`\n"),
]


@pytest.mark.parametrize(("written", "start", "base", "said"), STARTS)
def test_a_base_model_is_one_of_the_hub_and_no_folder(
    written: dict[str, Any], start: str, base: str | None, said: str, measured: Path
) -> None:
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


def test_what_was_not_measured_is_said_to_be_so(checkpoint: Path) -> None:
    card = render_card(checkpoint)
    assert "<!-- generated: results -->\n## Results\n\nNot yet measured." in card
    assert data_of(card).eval_results is None


def test_a_persons_sections_and_fields_stay_and_the_generated_ones_are_renewed(measured: Path) -> None:
    path = write_card(measured, "me/tiny", "cc-by-4.0")
    text = path.read_text().replace("# tiny\n", "# My own title\n\nAbout 42 dogs.\n")
    text = text.replace("<!-- generated: training", "## Who made it\n\nMe.\n\n<!-- generated: training")
    text = text.replace("library_name:", "language: en\nlibrary_name:")
    path.write_text(text)
    (measured / "results" / "esc50-test.json").write_text(json.dumps(TABLE | {"rows": [ROWS[1] | {"score": 0.801}]}))
    renewed = write_card(measured, "me/tiny").read_text()
    for kept in ("# My own title\n\nAbout 42 dogs.", "## Who made it\n\nMe.", "language: en", "license: cc-by-4.0"):
        assert kept in renewed
    assert "| 80.1 |" in renewed and "| 79.0 |" not in renewed and renewed.count("## Results") == 1
    assert write_card(measured, "me/tiny").read_text() == renewed


def test_the_command_writes_it_and_says_where(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(measured), "--repo-id", "me/tiny"]) == 0
    assert capsys.readouterr().out == f"{measured / 'README.md'}\n"
    (measured / "results.json").write_text("{")
    assert main(["card", str(measured)]) == 2
    assert "results.json is not a JSON object" in capsys.readouterr().err


def test_a_front_matter_that_is_no_yaml_is_named(measured: Path) -> None:
    (measured / "README.md").write_text("---\ntags: [\n---\n# mine\n")
    with pytest.raises(ValueError, match=r"the front matter of the card can't be read \([^\n]*$"):
        write_card(measured)


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """With another value in place; None removes it."""
    first, dot, rest = path.partition(".")
    if dot:
        return content | {first: changed(content[first], rest, value)}
    return {k: v for k, v in content.items() if k != first} | ({} if value is None else {first: value})


MAP = {"test": {"last": {"mean_average_precision": 0.4}}, "metric": "mean_average_precision"}
TRAINED: list[tuple[dict[str, Any], str]] = [
    (TRAINING | MAP | {"teacher": {"mean_average_precision": 0.44}}, "`me/teacher`, mAP 44.0 % on the test split."),
    (TRAINING | {"teacher": {"backbone": "b2", "loss": 1.0}}, "`me/teacher` (`b2`). It heard"),
    (changed(TRAINING, "missing", None), "all folds but 3\n"),
    (TRAINING | {"earlier_stages": [{"clips": {"train": 7, "extra": 5}}]}, "7 clips and 5 clips of another folder"),
    (changed(TRAINING, "training.learning_rate", 5e-5), "| `learning_rate` | 5e-05 |"),
]  # fmt: skip


@pytest.mark.parametrize(("results", "said"), TRAINED, ids=[said[:20] for _, said in TRAINED])
def test_a_card_says_what_a_run_did_with_what_its_results_hold(
    results: dict[str, Any], said: str, measured: Path
) -> None:
    (measured / "results.json").write_text(json.dumps(results))
    assert said in render_card(measured)


R = [
    ([0], 4, "none"),
    (None, 4, "`tome_r=4`"),
    ([8, 4, 0], 4, "`tome_r=[8, 4, 0]`"),
]


@pytest.mark.parametrize(("of_the_run", "own", "said"), R)
def test_a_card_says_whether_a_run_merged_in_training(of_the_run: Any, own: int, said: str, measured: Path) -> None:
    config = json.loads((measured / "config.json").read_text())
    (measured / "config.json").write_text(json.dumps(config | {"tome_r": own}))
    settings = {key: value for key, value in TRAINING["settings"].items() if key != "train_r"}
    (measured / "results.json").write_text(json.dumps(TRAINING | {"settings": settings | {"tome_r": of_the_run}}))
    assert f"**Merging in training:** {said}\n" in render_card(measured)


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("results.json", changed(TRAINING, "settings.corpus", None), "has no 'corpus'"),
    ("results.json", TRAINING | {"test": {"last": {"loss": 0.1}}}, "has no 'accuracy'"),
    ("results.json", TRAINING | {"metric": "f1"}, "has the metric 'f1': one of accuracy, mean_average_precision"),
    ("results/esc50-test.json", TABLE | {"rows": [changed(ROWS[0], "score", None)]}, "has no 'score'"),
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
    assert "Inf merges in inference alone, Train+Inf was trained at each r" in card
    assert "| Inf | 4 | constant | 50 → 38 | 0.312 | 1.33× | accuracy | 79.0 | 75.0 to 83.0 | 123 |" in card
    assert "| Train+Inf | 4 | constant | 50 → 38 | 0.312 | 1.33× | mAP | 79.0 | 75.0 to 83.0 | – |" in card


def test_the_license_stands_in_the_card_beside_that_of_the_corpus(measured: Path) -> None:
    corpus = "| License of ESC-50 | cc-by-nc-3.0, not for commercial use |"
    assert f"| License | `mit` |\n{corpus}" in render_card(measured, license_id="mit")
    assert f"| License | not stated |\n{corpus}" in render_card(measured)


WRONG = [
    ("CC-BY-4.0", "the Hub knows no license 'CC-BY-4.0': did you mean cc-by-4.0?"),
    ("mine", "the Hub knows no license 'mine': give one of https://huggingface.co/docs/hub/repositories-licenses"),
    ("other", "license 'other' needs a license_name"),
]


@pytest.mark.parametrize(("license_id", "said"), WRONG)
@pytest.mark.parametrize("where", ["option", "card"])
def test_a_license_that_the_hub_does_not_know_is_refused(
    where: str, license_id: str, said: str, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if where == "card":
        (measured / "README.md").write_text(f"---\nlicense: {license_id}\n---\n# mine\n")
    before = (measured / "README.md").read_text() if where == "card" else None
    assert main(["card", str(measured), *(["--license", license_id] if where == "option" else [])]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
    assert before is None or (measured / "README.md").read_text() == before


def test_a_license_of_ones_own_has_a_name(measured: Path) -> None:
    (measured / "README.md").write_text("---\nlicense: other\nlicense_name: barks\n---\n# mine\n")
    assert "| License | `barks` |" in render_card(measured)
    assert "| License | `mit` |" in render_card(measured, license_id="mit")


# Each number once, so that one that stands in the card can be told to be a fact.
SENTINEL_ROWS = [
    {"method": method, "schedule": "constant", "metric": metric, "tome_r": 10 * k + 3, "tokens_in": 7001 + k}
    | {"tokens_out": 6001 + k, "gmacs": 4.01 + k, "mac_ratio": 3.03 + k, "score": 0.811 + k / 100}
    | {"low": 0.711 + k / 100, "high": 0.911 + k / 100, "clips": 5001, "samples_per_sec": 8101.0 + k}
    for k, (method, metric) in enumerate([("Inf", "accuracy"), ("Train+Inf", "mean_average_precision")])
]
SENTINELS = CardFacts(
    place="me/tiny",
    config={"num_hidden_layers": 1301, "hidden_size": 1302, "tome_r": 1303, "id2label": dict.fromkeys(range(77), "a")},
    extractor={"sampling_rate": 1304, "max_length": 1305, "num_mel_bins": 1306, "mean": -1.3071, "std": 1.3081},
    training={
        "training": {"learning_rate": 0.0131, "seed": 1309},
        "clips": {"train": 1310, "extra": 1311},
        "missing": {"train": 1312},
        "fold": 1313,
        "earlier_stages": [{"clips": {"train": 1314, "extra": 1315}}],
        "metric": "accuracy",
        "test": {"last": {"accuracy": 0.1316}},
        "teacher": {"accuracy": 0.1317},
    },
    tables={"a.json": {"corpus": "dogs", "classes": 1318, "split": "test", "dtype": "half", "level": 0.19}
    | {"batch_size": 1320, "device": "cpu", "threads": 1321, "rows": SENTINEL_ROWS}},
    parameters=132_200_000,
    settings={"corpus": "dogs", "mixup": 0.1323, "train_r": [1324, 1325], "teacher": "her", "lam": 0.1326},
)  # fmt: skip
RECIPE = CardFacts(
    place="me/tiny",
    recipe="dogs",
    settings={"corpus": "dogs", "frames": 1401, "mean": -14.02, "fold": "all", "lam": 0.1403},
)


def numbers(content: Any) -> list[float]:
    if isinstance(content, dict):
        return [number for value in content.values() for number in numbers(value)]
    if isinstance(content, (list, tuple)):
        return [number for value in content for number in numbers(value)]
    return [abs(content)] if isinstance(content, (int, float)) and not isinstance(content, bool) else []


@pytest.mark.parametrize("facts", [SENTINELS, RECIPE], ids=["checkpoint", "recipe"])
def test_every_figure_of_a_card_is_one_of_its_facts(facts: CardFacts) -> None:
    known = {str(facts.other_r), str(len(facts.labels)), *re.findall(r"\d+\.?\d*", REQUIREMENTS.split("\n")[0])}
    for number in numbers(vars(facts)):
        known |= {str(number), f"{100 * number:.1f}", f"{100 * number:.0f}", f"{number / 1e6:.1f}"}
        known |= {f"{number:{form}}" for form in (".4f", ".3g", ".2f", ".0f")} | {f"{number / 100:.2f}"}
    card = fill("card", facts, ModelCardData())
    shown = re.findall(r"\d+(?:\.\d+)?", re.sub(r"\]\([^)]*\)", "]", card))
    assert len(shown) > 5 and [number for number in shown if number not in known] == []
    if facts is SENTINELS:  # and those of its files are shown
        rows = [f"{100 * row['score']:.1f}" for row in SENTINEL_ROWS]
        assert {"1301", "132.2", "1304", "1310", "1313", "1315", "13.2", "1318", "1320", "0.1323", *rows} <= set(shown)


NASTY = 'a"b`c\n\n# Owned\n\n<img src=x onerror=alert(1)> | [x](http://y) ```\n<!-- end of model -->\n*d* \\'


def test_names_with_markdown_html_quotes_or_lines_are_shown_as_they_are(measured: Path) -> None:
    config = json.loads((measured / "config.json").read_text())
    names = {"id2label": {"0": NASTY, "1": "|"}, "label2id": {NASTY: 0, "|": 1}}
    (measured / "config.json").write_text(json.dumps(config | names))
    training = changed(changed(TRAINING, "settings.model", NASTY), "settings.teacher", NASTY)
    training = changed(changed(training, "settings.corpus", NASTY), f"settings.{'x|y`'}", [NASTY])
    training |= {"teacher": {"backbone": NASTY}, "test": {NASTY: {"accuracy": 0.8}}}
    (measured / "results.json").write_text(json.dumps(training))
    rows = [ROWS[0] | {"method": NASTY, "schedule": NASTY}, ROWS[1]]
    table = TABLE | {"corpus": NASTY, "split": NASTY, "dtype": NASTY, "processor": NASTY, "rows": rows}
    (measured / "results" / "esc50-test.json").write_text(json.dumps(table))
    folder = measured.rename(measured.parent / 'x"); import os #`<b>')
    plain = render_card(folder.parent / folder.name, None)
    text = plain.partition("\n---\n")[2]
    tokens = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == ["Use", "Results", "Training", "Citations"] and "import os" in headings[0]
    inline = [child for token in tokens for child in token.children or []]
    assert not [child for child in inline if child.type == "html_inline"]
    html = [token.content.strip() for token in tokens if token.type == "html_block"]
    assert all(re.fullmatch(r"<!-- (generated:|end of) \w+ -->", block) for block in html) and len(html) == 10
    links = {child.attrs["href"] for child in inline if child.type == "link_open"}
    assert links and all(str(link).startswith("https://arxiv.org/abs/") for link in links)
    line = " ".join(NASTY.split())
    assert [child.content for child in inline if child.type == "code_inline"].count(
        line
    ) == 2  # a label and a backbone
    cells = [token.content for token in tokens if token.type == "inline"]
    assert r"\|" in "".join(cells) and all(len(set(widths)) == 1 for widths in table_widths(tokens))
    (python,) = [t.content for t in tokens if t.type == "fence" and t.info == "python" and "Tagger" in t.content]
    called = ast.parse(python).body[1].value.func.args[0]  # type: ignore[attr-defined]
    assert called.value == folder.name
    assert write_card(folder).read_text() == plain and write_card(folder).read_text() == plain


def table_widths(tokens: list[Any]) -> list[list[int]]:
    """Cells in each row, table by table."""
    tables: list[list[int]] = []
    for token in tokens:
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append(0)
        elif token.type in ("th_open", "td_open"):
            tables[-1][-1] += 1
    return tables


@pytest.mark.parametrize("command", ["card", "push"])
def test_cards_and_pushes_need_no_extra(command: str, checkpoint: Path, tmp_path: Path) -> None:
    blocked = "accelerate", "datasets", "evaluate", "sklearn", "timm", "gradio", "matplotlib", "onnxruntime"
    argv = ["card", str(checkpoint)] if command == "card" else ["push", str(checkpoint), "no-owner"]
    code = f"import sys; sys.modules |= dict.fromkeys({blocked!r}); import fastast_hf.hub.publish; "
    code += f"from fastast_hf.cli.main import main; sys.exit(main({argv!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "has no owner" in done.stderr if command == "push" else done.returncode == 0, done.stderr


def test_a_card_without_a_license_says_so(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(["card", str(checkpoint)]) == 0
    assert "names no license" in caplog.text
    caplog.clear()
    assert main(["card", str(checkpoint), "--license", "mit"]) == 0
    assert not caplog.records
