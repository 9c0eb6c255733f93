"""Objects show themselves: one line on a terminal, a table in a notebook, a DataFrame in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers import ASTConfig

from fastast_hf import Tagger
from fastast_hf.merging.complexity import complexity
from fastast_hf.tagging.timelines.events import Moment
from fastast_hf.tagging.timelines.timeline import Timeline
from fastast_hf.tuning.faithfulness import Faithfulness
from fastast_hf.tuning.runs import Candidate
from fastast_hf.tuning.tune import Tuned


def moments() -> list[Moment]:
    return [Moment(n + 0.5, n, n + 1.0, np.float32([0.1 * n, 0.5])) for n in range(3)]


def test_complexity() -> None:
    cost = complexity(ASTConfig(max_length=512), tome_r=40)
    assert repr(cost) == "Complexity(602 tokens in, 122 left, 33.34 of 57.93 GMACs, MAC ratio 1.74)"
    assert cost._repr_html_().count("<tr>") == 1 + 12
    long = complexity(ASTConfig(), seconds=500, tome_r=40)
    assert "e+" not in repr(long) and " of 71" in repr(long)
    cells = [row.split("</td>")[3].removeprefix("<td>") for row in long._repr_html_().split("<tr>")[2:]]
    assert {len(cell.split(".")[1]) for cell in cells} == {2}
    table = cost.to_pandas()
    assert table.tokens_in.tolist()[:3] == [602, 562, 522] and table.macs.sum() < cost.macs


def test_a_timeline_is_not_computed_by_being_shown() -> None:
    def asked() -> Any:
        raise AssertionError("the recording was read")
        yield

    timeline = Timeline(["<dog>", "rain"], asked())
    assert repr(timeline) == "Timeline(2 labels; windows are scored when they are asked for)"
    assert "<table>" not in timeline._repr_html_()


def test_a_timeline_that_is_kept_shows_its_likeliest_labels() -> None:
    timeline = Timeline(["<dog>", "rain"], moments())
    assert timeline.scores.shape == (3, 2)
    assert repr(timeline) == "Timeline(3 windows over 0:00:03.0, 2 labels)"
    shown = timeline._repr_html_()
    assert shown.index("rain") < shown.index("&lt;dog&gt;") and "0:00:02.5" in shown


def test_a_tagger(make_fastast: Any) -> None:
    pd = pytest.importorskip("pandas")
    tagger = Tagger(make_fastast(id2label={n: f"label <{n}>" for n in range(5)}, tome_r=4), top_k=2, device="cpu")
    shown = tagger._repr_html_()
    assert "5: label &lt;0&gt;" in shown and "<td>4</td>" in shown and "cpu" in shown
    table = tagger.to_pandas([(np.sin(np.arange(8000)), 16000), "gone.wav"])
    assert isinstance(table, pd.DataFrame) and table.file.tolist()[-1] == "gone.wav"
    assert table.score.notna().tolist() == [True, True, False] and "no such file" in table.error[2]


def test_a_bundled_checkpoint_is_shown_by_its_short_name() -> None:
    tagger = Tagger("speech-commands", device="cpu")
    assert repr(tagger).startswith("Tagger('speech-commands', ")
    assert "Tagger: speech-commands<" in tagger._repr_html_()


def test_what_was_tuned() -> None:
    pytest.importorskip("pandas")
    kept = Faithfulness(
        clips=4, kept=0.75, kept_interval=(0.3, 0.95), kl=0.01, kl_interval=(0, 0.02), moved=0.1,
        moved_interval=(0, 0.2), score=None, score_interval=None,
    )  # fmt: skip
    both = [
        Candidate(merges=[r] * 2, found_by="constant", dtype="int8", native_length=True, mac_ratio=1 + r / 10,
                  speedup=1 + r, speedup_range=(1, 2), searched_kept=1, searched_kl=0, held_out=kept)
        for r in (0, 8)
    ]  # fmt: skip
    found = Tuned(None, None, both, both[1], 4, {}, False)  # type: ignore[arg-type]
    assert repr(found).startswith(
        "Tuned(9.00 times as fast, 75 % of first labels kept on 4 clips; merges=[8, 8], int8"
    )
    assert found._repr_html_().count("<tr>") == 3
    table = found.to_pandas()
    assert table["held_out.kl"].tolist() == [0.01, 0.01] and table.chosen.tolist() == [False, True]
