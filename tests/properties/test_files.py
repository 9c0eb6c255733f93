"""Names and labels of any characters, written and read back: results, events, tables and cards."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from properties_settings import PROPERTY
from pyarrow import parquet

from fastast_hf.corpora import is_multi_label, label_names, load_corpus
from fastast_hf.hub.merge import merged_card
from fastast_hf.tagging.results_file import Appender, Output, read_file
from fastast_hf.tagging.timelines.files import write_csv, write_jsonl, write_parquet, write_raven

KINDS = (".csv", ".jsonl")
# As the system gives them: any bytes but the null byte, those that are no UTF-8 as surrogates.
file_names = st.binary(min_size=1, max_size=12).map(lambda name: os.fsdecode(name.replace(b"\0", b"_")))
any_text = st.text(max_size=8)
scores = st.floats(0, 1, width=32)


@contextmanager
def folder() -> Iterator[Path]:
    """One for each example."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


@PROPERTY
@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(file_names, st.lists(st.tuples(any_text, scores), min_size=2, max_size=2)), max_size=5),
)
def test_results_of_any_name_and_label_are_read_back(
    kind: str, given: list[tuple[str, list[tuple[str, float]]]]
) -> None:
    with folder() as place:
        path = place / f"out{kind}"
        with Appender(path, kind, 2) as appender:
            for name, labels in given:
                appender.add(name, [{"label": label, "score": score} for label, score in labels])
        _, records = read_file(path)
        assert [record.name for record in records] == [name for name, _ in given]
        if kind == ".jsonl":
            read = [
                [(own["label"], own["score"]) for own in json.loads(line)["labels"]]
                for line in path.read_text(encoding="ascii").splitlines()
            ]
            assert read == [labels for _, labels in given]
        else:
            with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                _, *rows = csv.reader(file, strict=True)
            assert [row[1::2][:2] for row in rows] == [[label for label, _ in labels] for _, labels in given]


@PROPERTY
@given(st.sampled_from(KINDS), st.lists(file_names, min_size=1, max_size=6, unique=True), st.data())
def test_parts_of_any_split_become_one_file_in_order(kind: str, names: list[str], data: st.DataObject) -> None:
    owner = data.draw(st.lists(st.integers(0, 2), min_size=len(names), max_size=len(names)))
    with folder() as place, Output(place / f"out{kind}") as output:
        output.begin({}, resume=False)
        for index in set(owner):
            with Appender(output.part(index), kind, 1) as appender:
                for name, own in zip(names, owner, strict=True):
                    if own == index:
                        appender.add(name, [{"label": "a", "score": 0.5}])
        assert output.merge(names) == (len(names), 0)
        assert [record.name for record in read_file(output.path)[1]] == names


events = st.fixed_dictionaries(
    {"start": st.floats(0, 1e6), "end": st.floats(0, 1e6), "label": any_text, "score": scores, "mean": scores}
)


@PROPERTY
@given(st.lists(st.tuples(file_names, st.lists(events, max_size=3)), max_size=3))
def test_events_of_any_name_and_label_are_read_back(given: list[tuple[str, list[dict[str, Any]]]]) -> None:
    results = [{"file": name, "events": own, "seconds": 2.0, "hertz": 8000.0} for name, own in given]
    pairs = [(name, event["label"]) for name, own in given for event in own]
    with folder() as place:
        write_csv(place / "e.csv", results)
        with (place / "e.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            assert [(row["file"], row["label"]) for row in csv.DictReader(file, strict=True)] == pairs
        write_jsonl(place / "e.jsonl", results)
        lines = [json.loads(line) for line in (place / "e.jsonl").read_text(encoding="ascii").splitlines()]
        assert [(line["file"], event["label"]) for line in lines for event in line["events"]] == pairs
        write_parquet(place / "e.parquet", results)
        table = parquet.read_table(place / "e.parquet").to_pylist()
        assert [row["label"] for row in table] == [label for _, label in pairs]
        assert [row["file"] for row in table] == [
            name.encode("utf-8", "backslashreplace").decode() for name, _ in pairs
        ]
        write_raven(place / "e.txt", results)
        rows = (place / "e.txt").read_bytes().decode("utf-8", "surrogateescape").split("\n")[:-1]
        assert {row.count("\t") for row in rows} == {10} and len(rows) == 1 + len(pairs)


words = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters=";|,"), min_size=1, max_size=6)


@settings(PROPERTY, max_examples=15)
@given(st.lists(words, min_size=1, max_size=4, unique=True), st.sampled_from(",;\t"), st.data())
def test_a_table_of_any_labels_is_the_corpus_that_it_says(
    classes: list[str], delimiter: str, data: st.DataObject
) -> None:
    labels = [*classes, *data.draw(st.lists(st.sampled_from(classes), max_size=4))]
    clip = [f"clip, {index} {{0}}.wav" for index in range(len(labels))]
    with folder() as place:
        for name in (*clip, "held out.wav"):
            soundfile.write(place / name, [0.0, 0.1], 16000)
        with (place / "table.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, delimiter=delimiter)
            rows.writerow(["filename", "label", "split"])
            rows.writerows((name, label, "train") for name, label in zip(clip, labels, strict=True))
            rows.writerow(["held out.wav", labels[0], "test"])
        corpus = load_corpus("csv", place)
        assert not is_multi_label(corpus)
        names = label_names(corpus)
        assert sorted(names) == sorted(classes)
        assert {row["id"]: names[row["label"]] for row in corpus["train"]} == dict(zip(clip, labels, strict=True))


pieces = st.sampled_from(
    ["Mine.", "Two\nlines.", "# tiny", "# My title", "## Part", "```\ncode\n\nmore\n```", "<b>", "- a\n- b", "---"]
)
sections = st.tuples(st.sampled_from(["use", "table"]), st.sampled_from(["1", "2\n\n3"])).map(
    lambda own: f"<!-- generated: {own[0]} -->\n{own[1]}\n<!-- end of {own[0]} -->"
)


@PROPERTY
@given(st.lists(sections, max_size=2, unique_by=lambda text: text.split()[2]), st.lists(pieces | sections, max_size=5))
def test_a_card_that_was_merged_once_stays_as_it_is(new: list[str], old: list[str]) -> None:
    made, theirs = ("\n\n".join(["# tiny", *parts]) + "\n" for parts in (new, old))
    merged = merged_card(made, theirs, "tiny")
    assert merged_card(made, merged, "tiny") == merged
    for section in new:
        assert section in merged
    for piece in old:
        if not piece.startswith(("<!--", "# ")):
            assert piece in merged


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_of_results_that_names_no_file_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{kind}"
    for content in ('{"file": ["a"]}\n', '{"file": {}}\n', "[" * 100_000 + "\n", "5\n", '"file"\n', "null\n"):
        path.write_text(content, encoding="utf-8")
        if kind == ".jsonl":
            with pytest.raises(ValueError, match="holds something else than fastast's results"):
                read_file(path)
