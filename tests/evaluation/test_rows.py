"""Rows of the paper's tables from predictions, against scikit-learn and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from transformers import ASTConfig

from fastast_hf import FastASTConfig
from fastast_hf.evaluation.paper import PAPER_TABLE_1, PAPER_TABLE_2, R_VALUES
from fastast_hf.evaluation.predictions import Predictions
from fastast_hf.evaluation.results import with_speed
from fastast_hf.evaluation.rows import (
    ACCURACY,
    INFERENCE,
    MEAN_AVERAGE_PRECISION,
    TRAINED,
    comparison_rows,
    merging_rows,
    resampled_score,
)
from fastast_hf.evaluation.sweep import Cell, Method
from fastast_hf.merging.complexity import complexity

CONFIG = FastASTConfig(
    **ASTConfig(num_hidden_layers=2, hidden_size=24, num_attention_heads=2, max_length=64, num_labels=4).to_dict()
)
CLIPS, CLASSES = 60, 4


def cell(method: str, r: int, skill: float = 1.0, *, multi_label: bool = False, schedule: str = "constant") -> Cell:
    """Predictions that are right as often as `skill` makes them."""
    generator = np.random.default_rng([r, int(100 * skill), multi_label])
    targets = np.eye(CLASSES, dtype=np.float32)[np.arange(CLIPS) % CLASSES]
    if multi_label:
        targets = np.maximum(targets, np.roll(targets, 1, axis=1) * (np.arange(CLIPS) % 3 == 0)[:, None])
    logits = (skill * targets + generator.normal(size=targets.shape)).astype(np.float32)
    cost = complexity(CONFIG, r, schedule)
    predictions = Predictions(logits, targets, np.arange(CLIPS), 0)
    return Cell(Method(method, method), schedule, r, predictions, cost, softmax=not multi_label, config=CONFIG)


def share_right(part: Cell) -> float:
    logits, targets = part.predictions.logits, part.predictions.targets
    return float(np.mean([targets[n, logits[n].argmax()] for n in range(CLIPS)]))


def mean_average_precision(part: Cell) -> float:
    scores = torch.from_numpy(part.predictions.logits).double()
    scores = scores.softmax(dim=1) if part.softmax else scores.sigmoid()
    return float(average_precision_score(part.predictions.targets, scores.numpy(), average="macro"))


BY_HAND = {ACCURACY: share_right, MEAN_AVERAGE_PRECISION: mean_average_precision}


@pytest.mark.parametrize("multi_label", [False, True])
def test_table_2_holds_both_metrics_their_change_from_r_0_and_their_gain_on_the_first(multi_label: bool) -> None:
    skills = {"FastAST": 1.0, "FastAST + KD (CNN)": 2.5}
    cells = [cell(name, r, skill, multi_label=multi_label) for name, skill in skills.items() for r in (0, 4)]
    by_place = {(part.method.name, part.tome_r): part for part in cells}
    rows = comparison_rows(cells)
    assert [(row.method, row.tome_r, row.metric) for row in rows] == [
        (name, r, metric) for name in skills for r in (0, 4) for metric in BY_HAND
    ]
    for row in rows:
        own, start, first = (
            by_place[place] for place in ((row.method, row.tome_r), (row.method, 0), ("FastAST", row.tome_r))
        )
        score = BY_HAND[row.metric]
        assert row.score == pytest.approx(score(own))
        assert 0 <= row.low < row.score < row.high <= 1
        if own is start:
            assert row.change is row.change_low is row.change_high is None
        else:
            assert row.change == pytest.approx(score(own) - score(start), abs=1e-6)
            assert row.change_low <= row.change <= row.change_high
        if row.method == "FastAST":
            assert row.gain is row.gain_low is row.gain_high is None
        else:
            assert row.gain == pytest.approx(score(own) - score(first), abs=1e-6)
            assert row.gain_low is not None and row.gain_high is not None
            assert 0 < row.gain_low < row.gain < row.gain_high


def test_a_score_of_softmax_is_ranked_as_a_probability() -> None:
    """Two clips whose logits for class 0 are the other way round than their probabilities."""
    logits, targets = np.array([[5.0, 9.0], [2.0, 0.0]]), np.array([[0, 1], [1, 0]], dtype=np.float32)
    cost = complexity(CONFIG, 0, "constant")
    scores = {
        softmax: float(
            resampled_score(
                Cell(
                    Method("a", "a"),
                    "constant",
                    0,
                    Predictions(logits, targets, np.arange(len(logits)), 0),
                    cost,
                    softmax,
                    CONFIG,
                ),
                MEAN_AVERAGE_PRECISION,
            )(np.ones((1, 2), dtype=np.float32))[0]
        )
        for softmax in (True, False)
    }
    assert scores == {True: 1.0, False: 0.75}


def test_each_schedule_is_told_from_its_own_and_from_the_one_r_0() -> None:
    cells = [
        cell(name, r, skill, schedule=schedule)
        for name, skill in (("a", 1.0), ("b", 2.0))
        for r, schedule in ((0, "constant"), (4, "constant"), (4, "decreasing"))
    ]
    rows = [row for row in comparison_rows(cells) if row.metric == ACCURACY]
    assert rows[5].schedule == "decreasing" and rows[5].change == pytest.approx(rows[5].score - rows[3].score)
    assert rows[5].gain == pytest.approx(rows[5].score - rows[2].score)


def test_a_change_without_r_0_is_refused() -> None:
    with pytest.raises(ValueError, match="put 0 among the values of r"):
        comparison_rows([cell("a", 4)])


@pytest.mark.parametrize("multi_label", [False, True])
def test_table_1_tells_changes_from_inf_at_r_0_in_the_corpus_metric(multi_label: bool) -> None:
    cells = [cell(TRAINED, 4, 2.0, multi_label=multi_label), cell(INFERENCE, 0, multi_label=multi_label)]
    score = mean_average_precision if multi_label else share_right
    row = merging_rows(cells, multi_label)[0]
    assert row.metric == (MEAN_AVERAGE_PRECISION if multi_label else ACCURACY)
    assert row.score == pytest.approx(score(cells[0]))
    assert row.change == pytest.approx(score(cells[0]) - score(cells[1]))


def test_speed_is_told_of_models_of_the_size_that_was_timed_alone(make_fastast: type) -> None:
    model = make_fastast(num_labels=CLASSES)
    own = complexity(model.config, 0, "constant")
    rows = comparison_rows([cell("other size", 0)])
    same = [replace(row, gmacs=own.macs / 1e9) for row in rows]
    timed = with_speed([*rows, *same], model, batch_size=1, rounds=1)
    assert [row.samples_per_sec is None for row in timed] == [True, True, False, False]


def test_the_papers_tables_are_whole() -> None:
    columns = [numbers for table in PAPER_TABLE_1.values() for numbers in table[1:]]
    columns += [numbers for table in PAPER_TABLE_2 for numbers in table[1:]]
    assert {len(numbers) for numbers in columns} == {len(R_VALUES)}
    assert PAPER_TABLE_1["esc50"].inference[R_VALUES.index(20)] == 94.2
    assert PAPER_TABLE_1["speech_commands"].training_and_inference[-1] == 96.4
    assert PAPER_TABLE_1["audioset"].samples_per_sec[R_VALUES.index(20)] == 65
    assert [table.mean_average_precision[R_VALUES.index(40)] for table in PAPER_TABLE_2] == [37.1, 37.4, 39.4]
    assert PAPER_TABLE_2[2].accuracy[0] == 41.4
