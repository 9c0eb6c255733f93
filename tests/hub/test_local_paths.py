"""Paths of this machine in what is published: cut down, whatever their system; all else stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastast_hf.hub.local_paths import strip_folders, without_folders
from fastast_hf.hub.teacher import teacher_files

PATHS = [
    ("/home/me/x", "x"),
    ("file=/data/x", "file=x"),
    ("--data=/data//x/ --r 4", "--data=x --r 4"),
    ("file:/data/x and file:///data/y", "x and y"),
    ("file:///C:/Users/me/x", "x"),
    ("see ~/x, ~me/a/y and ./z", "see x, y and z"),
    ("../a/b/x", "x"),
    ("$HOME/x", "x"),
    ("at ${HOME}/a/x;$DATA/y", "at x;y"),
    (r"%USERPROFILE%\a\x", "x"),
    ("C:/Users/me/x", "x"),
    (r"at=C:\Users\me\x,D:\y", "at=x,y"),
    (r"..\a\x", "x"),
    (r"\\server\share\x", "x"),
    (r"from \\server\share\x (old)", "from x (old)"),
    ("'/home/me/x' (/home/me/y) [/home/me/z]", "'x' (y) [z]"),
    ("/a/x:/b/y", "y"),
    ("https://hf.co/a,/home/me/x", "https://hf.co/a,x"),
]
OTHERS = [
    "https://hf.co/MIT/ast?at=/a/b#/c/d",
    "(https://x.org/a(b)/c/d)",
    "s3://bucket/a/b",
    "hf://datasets/me/x",
    "MIT/ast-finetuned",
    "/m/0abc",
    "labels /m/09x0r, /t/dd00134 and /g/122z_qxw",
    "and/or, w/o, clips/s/core",
    "16/8 and 16/8/4",
    "2024/05/01, 8.0/9.0",
    "5 %/10 %, 5%/10%/15%",
    "~5/10 and $5/10/2",
    "... 3/4",
    "r{r}/fold-1/a",
    "(a)/b/c",
    "data/*/a/b",
    "results/esc50-test.json",
    "12:30, a: b, C: no path",
]


@pytest.mark.parametrize(("text", "left"), PATHS)
def test_of_a_path_the_last_part_is_left(text: str, left: str) -> None:
    assert strip_folders(text) == left
    assert without_folders([{"at": f"in {text}"}]) == [{"at": f"in {left}"}]


@pytest.mark.parametrize("text", OTHERS)
def test_what_is_no_path_stays_whole(text: str) -> None:
    assert strip_folders(text) == without_folders(text) == text


@pytest.mark.parametrize(
    "path", ["/home/my self/a b", r"C:\my self\a b", r"\\my server\my share\a b", "~/my self/a b"]
)
def test_a_path_alone_may_have_spaces(path: str) -> None:
    assert without_folders({path: path}) == {"a b": "a b"}


def test_a_configs_labels_are_no_paths(checkpoint: Path) -> None:
    config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text())
    config |= {"id2label": {"0": "/home/dog", "1": "~/rain"}, "label2id": {"/home/dog": 0, "~/rain": 1}}
    (checkpoint / "config.json").write_text(json.dumps(config | {"_name_or_path": "/home/me/x"}))
    content = teacher_files(checkpoint, "me/teacher")["config.json"]
    assert isinstance(content, bytes)
    assert json.loads(content) == config | {"_name_or_path": "x"}
