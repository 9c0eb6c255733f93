"""Draws the site's pictures from what the repository holds: its results files, and the floors in pyproject.toml.

`merging.webp` is drawn by `fastast visualize`; docs/understand/merging.md has the line.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastast_hf.plotting import BLUE, styled

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ACCURACIES = {
    "small AST, ESC-10": RESULTS / "esc10" / "esc50-test.json",
    "small AST, commands": RESULTS / "speech-commands-12" / "speech_commands-test.json",
    "speech-commands": ROOT / "fastast_hf/checkpoints/speech-commands-tiny/results/speech_commands-test.json",
}
WAYS = ("constant", "decreasing", "increasing", "hill climbing")
MARKERS = "os^D"
PALE = "#cfe6f5"  # the same on a light and on a dark page


@styled()
def draw_cost(path: Path) -> None:
    """Accuracy, and how far scores move, against the arithmetic saved."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, (name, file) in enumerate(ACCURACIES.items()):
        _draw_accuracy(left, name, json.loads(file.read_text())["rows"], place)
    left.set_ylabel("accuracy, % (bars: 95 % intervals)")
    moved: dict[str, dict[float, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in json.loads((RESULTS / "tuning-search" / "speech-commands.json").read_text())["rows"]:
        moved[row["way"]][row["ratio"]].append(row)
    for way, marker in zip(WAYS, MARKERS, strict=True):
        draws = [rows for _, rows in sorted(moved[way].items())]
        reached = [sum(row["reached"] for row in rows) / len(rows) for rows in draws]
        mean = [sum(row["kl"] for row in rows) / len(rows) for rows in draws]
        right.plot(reached, mean, marker=marker, label=way)
    right.set_yscale("log")
    right.set_ylabel("KL divergence from r = 0, nats")
    for axes in (left, right):
        axes.set_xlabel("MAC ratio: arithmetic without merging over that with it")
        axes.grid()
    left.legend(loc="lower right")
    right.legend()
    left.set_title("how many clips are right: models measured here")
    right.set_title("how far scores move: speech-commands, 24 clips")
    figure.savefig(path)


def _draw_accuracy(axes: Axes, name: str, rows: list[dict[str, Any]], place: int) -> None:
    """A model's curve, merging at inference only; curves stand a little apart, and so do their bars."""
    shown = [row for row in rows if row["metric"] == "accuracy" and row["schedule"] == "constant"]
    shown = sorted((row for row in shown if row["method"] == "Inf"), key=lambda row: row["tome_r"])
    x = [row["mac_ratio"] + 0.03 * place for row in shown]
    y = [100 * row["score"] for row in shown]
    low = [100 * (row["score"] - row["low"]) for row in shown]
    high = [100 * (row["high"] - row["score"]) for row in shown]
    axes.errorbar(x, y, [low, high], marker=MARKERS[place], label=name, elinewidth=0.8, errorevery=max(1, len(x) - 1))


@styled()
def draw_floors(path: Path) -> None:
    """The rooms as import-linter knows them, the lowest floor at the bottom."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"^layers = \[\n(.*?)^\]", settings, re.MULTILINE | re.DOTALL)
    assert listed, "pyproject.toml lists no layers"
    floors = [re.split(r" \| ", floor) for floor in re.findall(r'"([^"]+)"', listed[1])]
    figure = Figure(figsize=(6.4, 0.42 * len(floors) + 0.3))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    for height, rooms in enumerate(reversed(floors)):
        width = 1 / len(rooms)
        for place, room in enumerate(rooms):
            colour = BLUE if room == "model" else PALE
            axes.barh(height, width - 0.01, 0.82, place * width, color=colour)
            ink = "white" if room == "model" else "0.1"
            axes.text((place + 0.5) * width, height, room, ha="center", va="center", color=ink)
    axes.set_axis_off()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "floors"}):  # text as text, the same each time
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Draw all."""
    draw_cost(HERE / "speed_and_faithfulness.png")
    draw_floors(HERE / "floors.svg")


if __name__ == "__main__":
    main()
