"""Paths of this machine, found in what is published and cut down to their last part."""

from __future__ import annotations

import re
from pathlib import Path, PureWindowsPath
from typing import Any

LABELS = ("id2label", "label2id")  # of a config: whatever they look like, they are no paths

_PART = r"[^\s/\\\"'`,;|()<>\[\]]+"
_FROM = r"(?:~(?:[A-Za-z_][\w.-]*)?|\.\.?|\$[A-Za-z_]\w*|\$\{\w+\}|%\w+%)(?=[/\\])"  # home, here, and variables
_DRIVE = r"[A-Za-z]:(?=[/\\])"
# What only looks like one: addresses but for those of files, and the classes of AudioSet, such as /m/09x0r.
_KEPT = r"(?!file:)[A-Za-z][\w+.-]+://[^\s\"'`,;|<>\[\]]+|/[mtg]/\w+(?![\w./\\-])"
# A slash after one of these stands between two things: and/or, 16/8, 5 %/10 %, {r}/fold.
_BEFORE = r"(?<![\w.~/\\$%*)}])"
_PATH = re.compile(
    rf"{_BEFORE}(?P<kept>{_KEPT})"
    rf"|{_BEFORE}(?:file:/{{2,3}}(?=[A-Za-z]:)|file:(?://)?)?"
    rf"(?:(?:{_FROM}|{_DRIVE})(?:[/\\]+{_PART})+|(?:/+{_PART}){{2,}}|\\\\{_PART}(?:\\+{_PART})+)[/\\]*"
)
_STARTS = re.compile(_FROM)


def without_folders(content: Any) -> Any:
    """Paths of this machine as their last part: who looks at a model need not know where its data lay.

    Example:
        >>> without_folders({"data": "/home/me/ESC-50", "model": "MIT/ast"})
        {'data': 'ESC-50', 'model': 'MIT/ast'}
    """
    if isinstance(content, dict):
        return {
            without_folders(key): value if key in LABELS else without_folders(value) for key, value in content.items()
        }
    if isinstance(content, list):
        return [without_folders(value) for value in content]
    if not isinstance(content, str) or re.fullmatch(_KEPT, content):
        return content
    # A path alone may have spaces in it.
    if Path(content).is_absolute() or PureWindowsPath(content).is_absolute() or _STARTS.match(content):
        return last_part(content)
    return strip_folders(content)


def strip_folders(text: str) -> str:
    """A text with each path of this machine in it as its last part; addresses and names of the Hub stay.

    Example:
        >>> strip_folders("FastAST=/home/me/out/a, from ../b/c and MIT/ast (https://hf.co/MIT/ast)")
        'FastAST=a, from c and MIT/ast (https://hf.co/MIT/ast)'
    """
    return _PATH.sub(lambda found: found["kept"] or last_part(found[0]), text)


def last_part(path: str) -> str:
    r"""The last part of a path of any system.

    Example:
        >>> last_part("/home/me/out/"), last_part(r"C:\\out"), last_part("out")
        ('out', 'out', 'out')
    """
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
