"""Tables of files and labels: what is recognised, what is refused, and what is told of what is left out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import soundfile
from small_corpora import write_audioset, write_esc50

from fastast_hf.corpora import Corpus, CorpusError, is_multi_label, label_names, load_corpus

Write = Callable[[Path, Iterable[str]], None]

CLIPS = ("dog0.wav", "dog1.wav", "rain0.wav", "rain1.wav")
LABELS = ("dog", "dog", "rain", "rain")
GIVEN = ("train", "val", "train", "val")
ROWS = list(zip(CLIPS, LABELS, GIVEN, strict=True))
TABLES = {
    "labels.csv": "filename,label,split\n" + "".join(f"{f},{name},{split}\n" for f, name, split in ROWS),
    "from_excel.csv": "\ufefffile;category;split\r\n" + "".join(f"{f};{name};{split}\r\n" for f, name, split in ROWS),
    "labels.tsv": "path\tclass\tsubset\n" + "".join(f"{f}\t{name}\t{split}\n" for f, name, split in ROWS),
    "labels.jsonl": "".join(json.dumps({"file_name": f, "label": n, "split": s}) + "\n" for f, n, s in ROWS),
}


@pytest.fixture(autouse=True)
def _told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="fastast_hf")


@pytest.fixture
def clips(tmp_path: Path, write_clips: Write) -> Path:
    write_clips(tmp_path, CLIPS)
    return tmp_path


def table(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def told(corpus: Corpus) -> dict[str, list[tuple[str, Any]]]:
    """Clips and names of labels, by split."""
    names = label_names(corpus)
    column = "labels" if is_multi_label(corpus) else "label"

    def name(label: Any) -> Any:
        return [names[one] for one in label] if isinstance(label, list) else names[label]

    return {split: [(row["id"], name(row[column])) for row in rows] for split, rows in corpus.items()}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_every_kind_say_the_same(name: str, clips: Path) -> None:
    corpus = load_corpus("csv", table(clips, TABLES[name], name))
    assert told(corpus) == {
        "train": [("dog0.wav", "dog"), ("rain0.wav", "rain")],
        "validation": [("dog1.wav", "dog"), ("rain1.wav", "rain")],
    }
    assert corpus["train"][0]["audio"] == {"bytes": None, "path": str(clips / "dog0.wav")} and corpus.own_splits


def test_a_parquet_table_may_hold_lists_of_labels(clips: Path) -> None:
    rows = {"file": list(CLIPS), "labels": [["dog"], ["dog", "wind, strong"], [], ["rain"]], "split": list(GIVEN)}
    pyarrow.parquet.write_table(pyarrow.table(rows), clips / "labels.parquet")
    corpus = load_corpus("csv", clips)
    assert told(corpus)["validation"] == [("dog1.wav", ["dog", "wind, strong"]), ("rain1.wav", ["rain"])]
    assert told(corpus)["train"] == [("dog0.wav", ["dog"]), ("rain0.wav", [])]


def test_several_labels_in_a_cell_and_columns_of_0_and_1_say_the_same(clips: Path) -> None:
    cells = (
        'filename,labels,split\ndog0.wav,"dog,out",train\ndog1.wav,dog;out,val\nrain0.wav,,train\nrain1.wav,rain,val\n'
    )
    bits = "filename, dog,out ,rain,split\ndog0.wav,1,1,0,train\ndog1.wav,1,1,0,val\n"
    bits += "rain0.wav,0,0,0,train\nrain1.wav,0,0,1,val\n"
    of_r = bits.replace("0,0,1", "FALSE,FALSE,TRUE")
    one, other, third = (load_corpus("csv", table(clips, text)) for text in (cells, bits, of_r))
    assert told(one) == told(other) == told(third)
    assert told(one)["train"] == [("dog0.wav", ["dog", "out"]), ("rain0.wav", [])]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label\ndog0.wav,dog\ndog1.wav,cat\n", "label in label, split in split; one label per clip"),
        (
            "label\ndog0.wav,dog\ndog1.wav,dog|rain\n",
            "; any number of labels per clip, because 1 clips have several and 0 none (line 3: dog, rain)",
        ),
        ("label\ndog0.wav,dog\ndog1.wav,\n", "because 0 clips have several and 1 none (line 3: none)"),
        (
            "dog,verified\ndog0.wav,1,1\ndog1.wav,0,1\n",
            "label in 2 columns of 0 and 1 (dog, verified); any number of labels per clip, because 1",
        ),
    ],
)
def test_the_kind_of_labels_and_why_is_said(
    text: str, said: str, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    header, *rows = text.splitlines()
    rows = [f"{row},{split}" for row, split in zip(rows, ("train", "test"), strict=True)]
    load_corpus("csv", table(clips, "\n".join([f"file,{header},split", *rows])))
    assert said in caplog.text


def test_columns_are_given_by_name(clips: Path, write_clips: Write) -> None:
    write_clips(clips / "there", ["a.wav", "b.wav"])
    text = "nr,clip,species,part,label\n1,a.wav,wren,test,x\n2,b.wav,owl,train,x\n"
    columns = {"file": "clip", "label": "species", "split": "part"}
    corpus = load_corpus("csv", table(clips, text), columns=columns, audio_folder=clips / "there")
    assert told(corpus) == {"train": [("b.wav", "owl")], "test": [("a.wav", "wren")]}
    for what, name in columns.items():
        with pytest.raises(CorpusError, match=f"no column 'gone' among nr, clip.*give one of them as --{what}-column"):
            load_corpus("csv", clips / "labels.csv", columns=columns | {what: "gone"})
        assert name


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_lies_beside_the_recordings_as_in_datasets_audiofolder(
    kind: str, tmp_path: Path, write_clips: Write
) -> None:
    for split, numbers in (("train", (0, 1)), ("test", (2,))):
        rows = [(f"in/{name}{number}.wav", name) for name in ("dog", "rain") for number in numbers]
        write_clips(tmp_path / split, [file for file, _ in rows])
        if kind == "csv":
            text = "file_name,label\n" + "".join(f"{file},{name}\n" for file, name in rows)
        else:
            text = "".join(json.dumps({"file_name": file, "label": name}) + "\n" for file, name in rows)
        table(tmp_path / split, text, f"metadata.{kind}")
    corpus = load_corpus("csv", tmp_path)
    assert told(corpus) == {
        "train": [(f"in/{name}{number}.wav", name) for name in ("dog", "rain") for number in (0, 1)],
        "test": [("in/dog2.wav", "dog"), ("in/rain2.wav", "rain")],
    }
    assert corpus["test"][0]["audio"]["path"] == str(tmp_path / "test" / "in" / "dog2.wav")


def test_tables_named_after_splits_are_the_splits(clips: Path) -> None:
    table(clips, "file,label\ndog0.wav,dog\nrain0.wav,rain\n", "train.csv")
    table(clips, "file,label\ndog1.wav,dog\n", "dev.csv")
    assert told(load_corpus("csv", clips))["validation"] == [("dog1.wav", "dog")]


def test_one_of_several_tables_is_asked_for(clips: Path) -> None:
    table(clips, TABLES["labels.csv"])
    table(clips, TABLES["labels.csv"], "other.csv")
    table(clips, "name,sense\na,b\n", "no_files.csv")
    with pytest.raises(CorpusError, match=r"holds 2 tables \(labels.csv, other.csv\); give one of them as --data"):
        load_corpus("csv", clips)
    for folder in ("one", "two"):
        (clips / "deep" / folder).mkdir(parents=True)
        table(clips / "deep" / folder, TABLES["labels.csv"])
    with pytest.raises(CorpusError, match=r"holds 2 tables \(one/labels.csv, two/labels.csv\)"):
        load_corpus("csv", clips / "deep")


@pytest.mark.parametrize("fold", [1, 4])
def test_esc50_through_its_csv_is_the_esc50_corpus(fold: int, tmp_path: Path) -> None:
    root = write_esc50(tmp_path / "esc50")
    expected, corpus = (load_corpus(name, root, fold=fold) for name in ("esc50", "csv"))
    assert label_names(corpus) == label_names(expected)
    for split, rows in expected.items():
        assert [Path(clip).stem for clip in corpus[split]["id"]] == rows["id"][:]
        assert corpus[split]["label"][:] == rows["label"][:] and corpus[split]["audio"][:] == rows["audio"][:]


def test_a_multi_label_csv_is_the_audioset_corpus(tmp_path: Path) -> None:
    expected = load_corpus("audioset", write_audioset(tmp_path / "audioset"))
    names = label_names(expected)
    rows = [
        {"file": f"{row['id']}.wav", "labels": [names[i] for i in row["labels"]], "split": split}
        for split, data in expected.items()
        for row in data
    ]
    text = "file|labels|split\n".replace("|", ",") + "".join(
        f'{row["file"]},"{";".join(row["labels"])}",{row["split"]}\n' for row in rows
    )
    corpus = load_corpus("csv", table(tmp_path / "audioset", text), label_separator=";")
    assert sorted(label_names(corpus)) == sorted(names)
    for split, data in told(corpus).items():
        assert [(Path(clip).stem, set(labels)) for clip, labels in data] == [
            (clip, set(labels)) for clip, labels in told(expected)[split]
        ]


def test_urbansound8k_through_its_csv(tmp_path: Path, write_clips: Write) -> None:
    rows = [("7-0-0.wav", 1, 3, "dog_bark"), ("8-0-0.wav", 2, 0, "siren"), ("9-0-0.wav", 2, 3, "dog_bark")]
    text = "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
    text += "".join(f"{file},7,58.5,62.5,1,{fold},{number},{name}\n" for file, fold, number, name in rows)
    write_clips(tmp_path, [f"audio/fold{fold}/{file}" for file, fold, _, _ in rows])
    (tmp_path / "metadata").mkdir()
    table(tmp_path / "metadata", text, "UrbanSound8K.csv")
    corpus = load_corpus("csv", tmp_path, fold=2)
    assert label_names(corpus) == ["siren", "dog_bark"]  # in the order of classID
    assert told(corpus) == {
        "train": [("7-0-0.wav", "dog_bark")],
        "test": [("8-0-0.wav", "siren"), ("9-0-0.wav", "dog_bark")],
    }
    assert "start" not in corpus["test"].column_names  # which are of the recordings that it was cut from
    with pytest.raises(CorpusError, match="fold 3 to test on and folds 1, 2 listed"):
        load_corpus("csv", tmp_path, fold=3)


def test_start_and_end_are_parts_of_recordings(clips: Path) -> None:
    text = "file,start,end,label,split\ndog0.wav,0,0.04,a,train\ndog0.wav,0.04,,b,train\ndog1.wav,,,a,test\n"
    corpus = load_corpus("csv", table(clips, text))
    assert corpus["train"]["id"][:] == ["dog0.wav@0-0.04", "dog0.wav@0.04"] and corpus["test"]["id"][:] == ["dog1.wav"]
    assert [(row["start"], row["end"]) for row in corpus["train"]] == [(0.0, 0.04), (0.04, None)]
    for wrong, said in (("2,1", "line 2: from 2 s to 1.0 s"), ("x,1", "'x' in column start; give a number")):
        with pytest.raises(CorpusError, match=said):
            load_corpus("csv", table(clips, f"file,start,end,label\ndog0.wav,{wrong},a\n"))


def test_parts_that_start_alike_have_names_of_their_own(clips: Path) -> None:
    text = "file,start,end,label,split\ndog0.wav,0,0.04,a,train\ndog0.wav,0,0.06,b,train\nrain0.wav,,,a,test\n"
    assert load_corpus("csv", table(clips, text))["train"]["id"][:] == ["dog0.wav@0-0.04", "dog0.wav@0-0.06"]


@pytest.mark.parametrize(
    ("columns", "row", "part"),
    [
        ("offset,duration", "0.02,0.06", (0.02, 0.08)),
        ("onset,offset", "0.02,0.06", (0.02, 0.06)),
        ("onset,offset,duration", "0.02,0.06,0.04", (0.02, 0.06)),
        ("start,duration", "0.02,0.06", (0.02, 0.08)),
        ("duration", "0.1", None),
        ("offset", "0.02", None),
    ],
)
def test_an_offset_is_an_end_beside_an_onset_and_a_start_beside_a_duration(
    columns: str, row: str, part: tuple[float, float] | None, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"audio_filepath,label,split,{columns}\ndog0.wav,a,train,{row}\nrain0.wav,b,test,{row}\n"
    first = load_corpus("csv", table(clips, text))["train"][0]
    assert (None if part is None else (first["start"], first["end"])) == part and ("start" in first) == bool(part)
    assert ("column offset is left out: give it as --start-column" in caplog.text) == (columns == "offset")


BROKEN = [
    # table, what is said
    ("a,label\ndog0.wav,dog\n", r"no column of files \(file_name, filename, file, path, file_path …\) among a, label"),
    ("file,what\ndog0.wav,dog\n", r"no column of labels \(label, labels, .*among file, what; give --label-column"),
    ("file,label\ndog0.wav\n", "line 2: not the 2 values that the header names"),
    ("file,label,label\ndog0.wav,a,b\n", "column 'label' is there twice"),
    ("file,label\n", "no rows; give a row for each clip"),
    ("", "no rows; give a row for each clip"),
    ('file,label\ndog0.wav,"dog\nrain0.wav,rain\n', "no csv .unexpected end of data.; write it again"),
    ("file,label,start\ndog0.wav,dog,nan\n", "line 2: 'nan' in column start; give a number"),
    ("file,label,split\n.,dog,train\n/,rain,test\n", "none of its 2 files is in"),
    (f"file,label,split\n{300 * 'x'}.wav,dog,train\ny.wav,rain,test\n", "none of its 2 files is in"),
    (
        "file,label\ndog0.wav,dog\ndog0.wav,rain\n",
        r"1 rows list a clip again with .*dog0.wav \(.*line 2, and line 3\)",
    ),
    (
        "file,label\n../x.wav,dog\na/../../y.wav,rain\n",
        r"2 paths lead out of .*: \.\./x.wav, a/\.\./\.\./y.wav; give as",
    ),
    ("file,label,fold\ndog0.wav,dog,x\n", "line 2: 'x' in column fold; give a number"),
    ("file,label,split\ndog0.wav,dog,extra\n", "no row has a known split"),
    (
        "file,label,split\nx.wav,dog,train\ny.wav,rain,test\n",
        "none of its 2 files is in .*, such as x.wav; give the folder that holds them, as --audio-folder",
    ),
]


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_what_is_wrong_with_a_table_is_said_in_one_line(text: str, said: str, clips: Path) -> None:
    with pytest.raises(CorpusError, match=said) as caught:
        load_corpus("csv", table(clips, text))
    assert "\n" not in str(caught.value)


def test_where_the_files_may_be_is_said(tmp_path: Path) -> None:
    root = write_esc50(tmp_path / "esc50", per_fold=1)
    with pytest.raises(CorpusError, match=r"none of its 10 files is in .*meta, .*as --audio-folder .*esc50/audio$"):
        load_corpus("csv", root / "meta" / "esc50.csv", fold=1)
    corpus = load_corpus("csv", root / "meta" / "esc50.csv", fold=1, audio_folder=root / "audio")
    assert {split: len(rows) for split, rows in corpus.items()} == {"train": 8, "test": 2}


def test_lines_of_json_may_say_less_and_tables_may_not_lack_labels(clips: Path) -> None:
    lines = [{"file": "dog0.wav", "label": "a"}, {"file": "dog1.wav", "label": "b", "start": 0.02}]
    table(clips, "".join(json.dumps(line) + "\n" for line in lines), "train.jsonl")
    table(clips, json.dumps({"file": "rain0.wav", "label": "a"}), "test.jsonl")
    assert load_corpus("csv", clips)["train"]["start"][:] == [None, 0.02]
    table(clips, json.dumps({"file": "rain0.wav"}), "test.jsonl")
    with pytest.raises(CorpusError, match=r"test.jsonl: no column 'label', which other tables have"):
        load_corpus("csv", clips)


def test_the_first_folders_of_files_may_be_the_splits(tmp_path: Path, write_clips: Write) -> None:
    files = [f"{split}/{name}.wav" for split in ("train", "test") for name in ("dog", "rain")]
    write_clips(tmp_path, files)
    rows = "".join(f"{file},{Path(file).stem}\n" for file in files)
    table(tmp_path, f"file_name,label\n{rows}", "metadata.csv")
    assert told(load_corpus("csv", tmp_path)) == {
        "train": [("train/dog.wav", "dog"), ("train/rain.wav", "rain")],
        "test": [("test/dog.wav", "dog"), ("test/rain.wav", "rain")],
    }


def test_odd_labels_are_kept_whole(clips: Path) -> None:
    text = (
        'file,label,split\ndog0.wav,"Bell, small",train\ndog1.wav,"say ""hi""",train\nrain0.wav,"two\nlines",train\n'
    )
    corpus = load_corpus("csv", table(clips, text + "rain1.wav, NA ,test\n"))
    assert label_names(corpus) == ["Bell, small", "NA", 'say "hi"', "two lines"]


def test_what_is_left_out_or_odd_is_counted_and_named(
    clips: Path, write_clips: Write, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(clips / "slow.wav", [0.1] * 8000, 8000)
    rows = ["dog0.wav,dog,train", "dog0.wav,dog,train", ",dog,train", "dog1.wav,dog,test", "rain0.wav,rain,unused"]
    rows += ["rain1.wav,rain,train", "slow.wav,,test"]
    corpus = load_corpus("csv", table(clips, "\n".join(["file,label,split", *rows]) + "\n"))
    assert {split: len(data) for split, data in corpus.items()} == {"train": 2, "test": 2}
    assert is_multi_label(corpus)
    for said in (
        "1 rows say again what another does, and are left out: ",
        "1 rows name no file and are left out: ",
        "1 rows have the split 'unused', which is none of train, validation, test, and are left out: ",
        "1 clips have no label: they count as negatives, so clips may have any number of labels. Remove these rows to",
        "split test has no clip of 1 of 2 classes: rain (2 in all)",
        "sampling rates differ (4 at 16000 Hz, 1 at 8000 Hz)",
    ):
        assert said in caplog.text, said
    with pytest.raises(
        CorpusError, match="0 clips have several labels and 1 have none; leave out --multi-label false"
    ):
        load_corpus("csv", clips / "labels.csv", multi_label=False)


def test_10000_missing_files_are_counted_and_five_named(clips: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "".join(f"gone{number}.wav,dog,train\n" for number in range(10_000))
    corpus = load_corpus("csv", table(clips, f"file,label,split\n{rows}dog0.wav,dog,train\nrain0.wav,rain,test\n"))
    assert corpus.missing == {"train": 10_000, "test": 0} and len(corpus["train"]) == 1
    said = (
        "10000 clips of split train are missing: gone0.wav, gone1.wav, gone2.wav, gone3.wav, gone4.wav and 9,995 more"
    )
    assert said in caplog.text


def test_files_are_found_by_name_where_that_is_clear(clips: Path, write_clips: Write) -> None:
    write_clips(clips / "deep", ["er/one.flac", "here/two.wav"])
    text = "file,label,split\none.wav,a,train\ndeep\\here\\two.wav,b,train\n" + f"{clips / 'dog0.wav'},a,test\n"
    corpus = load_corpus("csv", table(clips, text))
    assert [row["audio"]["path"] for rows in corpus.values() for row in rows] == [
        str(clips / name) for name in ("deep/er/one.flac", "deep/here/two.wav", "dog0.wav")
    ]
    write_clips(clips / "also", ["one.flac"])
    with pytest.raises(CorpusError, match=r"line 2: one.wav may be .*one.flac or .*one.flac; give paths"):
        load_corpus("csv", clips / "labels.csv")


def test_a_file_of_the_same_name_in_another_folder_is_not_taken(
    clips: Path, write_clips: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write_clips(clips, ["siteB/rec1.wav", "moved/siteA/rec2.wav", "siteB/rec2.wav"])
    text = "file,label,split\nsiteA/rec1.wav,a,train\nsiteA/rec2.wav,b,train\ndog0.wav,a,test\n"
    corpus = load_corpus("csv", table(clips, text))
    assert [row["audio"]["path"] for row in corpus["train"]] == [str(clips / "moved" / "siteA" / "rec2.wav")]
    assert "1 clips of split train are missing: siteA/rec1.wav" in caplog.text
    assert "1 files were looked for by name: siteA/rec2.wav (" in caplog.text


def test_a_seed_where_nothing_is_drawn_is_refused(clips: Path) -> None:
    with pytest.raises(CorpusError, match="--split-seed has no effect where the splits or the folds are given"):
        load_corpus("csv", table(clips, TABLES["labels.csv"]), split_seed=1)
