"""Tuning a tiny model: what is chosen, what is written, and that it says what it was measured to say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sounds import tone

from fastast_hf.loading.checkpoint import load_classifier
from fastast_hf.onnx.export import export_onnx
from fastast_hf.tagging.int8 import int8_works
from fastast_hf.tagging.tagger import Tagger
from fastast_hf.tuning import runs
from fastast_hf.tuning.clips import gathered
from fastast_hf.tuning.faithfulness import Faithfulness, divergences, faithfulness
from fastast_hf.tuning.records import TRIALS_FILE
from fastast_hf.tuning.runs import Candidate
from fastast_hf.tuning.tune import Tuned, choice, tune

DTYPES = ["float32", "int8"] if int8_works() else ["float32"]
QUICK: dict[str, Any] = {"trials": 4, "rounds": 1, "device": "cpu", "progress": False}


def sounds(seconds: float = 1.28) -> list[Any]:
    noise = np.random.default_rng(0).normal(scale=0.05, size=(12, round(16000 * seconds)))
    return [(noise[number] + tone(200 + 90 * number, seconds=seconds), 16000) for number in range(12)]


@pytest.fixture
def few_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUNGS", (1.2, 1.4))


def candidate(speedup: float, kept: float, kl: float, **fields: Any) -> Candidate:
    cost = Faithfulness(
        clips=1, kept=1, kept_interval=(0, 1), kl=0, kl_interval=(0, 0), moved=0, moved_interval=(0, 0)
    )
    told: dict[str, Any] = {"merges": [0], "found_by": "search", "dtype": "float32", "native_length": False}
    told |= {"mac_ratio": 1.0, "speedup_range": (speedup, speedup), "held_out": cost, **fields}
    return Candidate(speedup=speedup, searched_kept=kept, searched_kl=kl, **told)


def test_a_speedup_is_reached_by_the_most_faithful_and_faithfulness_by_the_fastest() -> None:
    plain, close, fast = candidate(1, 1, 0), candidate(2.1, 0.99, 0.1), candidate(3, 0.9, 0.2)
    assert choice([plain, close, fast], 2, None) is close
    assert choice([plain, close, fast], 2.5, None) is fast
    assert choice([plain, close, fast], 4, None) is fast  # nothing was faster
    assert choice([plain, close, fast], None, 0.02) is close
    assert choice([plain, close, fast], None, 0) is plain
    assert choice([plain, close, fast], None, 0.5) is fast


@pytest.fixture
def tuned(checkpoint: Path, few_rungs: None, tmp_path: Path) -> Tuned:
    found = tune(checkpoint, sounds(), max_change=0.9, dtypes=DTYPES, folder=tmp_path / "out", **QUICK)
    found.save(tmp_path / "out")
    return found


def test_the_checkpoint_says_what_the_candidate_was_measured_to_say(
    tuned: Tuned, checkpoint: Path, tmp_path: Path
) -> None:
    """Loaded by stock means, exported, and in 8 bits."""
    chosen = next(each for each in tuned.candidates if (each.found_by, each.dtype) == ("search", "float32"))
    tuned.model.set_tome_r(chosen.merges)
    tuned.save(tmp_path / "out")
    assert load_classifier(tmp_path / "out").config.tome_r == chosen.merges

    plain = Tagger(checkpoint, tome_r=0, device="cpu")
    clips = gathered(plain, sounds())
    windows = clips.windows[clips.split :]

    def logits(tagger: Tagger) -> torch.Tensor:
        return torch.stack(tagger.run(windows, lambda inputs: tagger.model(**inputs).logits))

    reference = logits(plain)
    loaded = logits(Tagger(tmp_path / "out", device="cpu"))
    assert faithfulness(reference, loaded, "softmax") == chosen.held_out
    export_onnx(tmp_path / "out", tmp_path / "tuned.onnx")
    exported = logits(Tagger(tmp_path / "tuned.onnx"))
    assert float(divergences(reference, exported, "softmax").mean()) == pytest.approx(chosen.held_out.kl, rel=1e-2)
    export_onnx(tmp_path / "out", tmp_path / "tuned-int8.onnx", int8=True)
    coarse = logits(Tagger(tmp_path / "tuned-int8.onnx"))
    assert (coarse.softmax(1) - loaded.softmax(1)).abs().max() < 0.1
    if int8_works():
        measured = next(each for each in tuned.candidates if (each.merges, each.dtype) == (chosen.merges, "int8"))
        in_8_bits = logits(Tagger(tmp_path / "out", dtype="int8"))
        assert faithfulness(reference, in_8_bits, "softmax") == measured.held_out


def test_a_list_found_at_one_length_runs_on_shorter_clips_up_to_the_cap(tuned: Tuned) -> None:
    tuned.model.set_tome_r([9, 9, 9])
    assert tuned.model.token_schedule(64) == [22, 13, 8]  # of 20 patches: 9 of 20, 5 of 11, and so on


def test_the_record_says_on_what_it_was_found(tuned: Tuned, tmp_path: Path) -> None:
    record = json.loads((tmp_path / "out" / "tuning.json").read_text())
    assert record["chosen"]["merges"] == tuned.chosen.merges == tuned.model.config.tome_r
    assert (record["clips"], record["searched_on"], record["recordings"]) == (12, 6, 12)
    assert record["asked"] == {"speedup": None, "max_change": 0.9} and record["seed"] == 0
    assert len(record["candidates"]) == len(tuned.candidates) >= 3
    speedups = [each["speedup"] for each in record["candidates"]]
    assert speedups == sorted(speedups) and record["chosen"]["batch_size"] in (1, 4)


def test_constant_merges_stand_beside_the_search_at_the_same_arithmetic(tuned: Tuned) -> None:
    found = [each for each in tuned.candidates if each.found_by == "search"]
    for each in tuned.candidates:
        if each.found_by == "constant":
            assert each.merges == sorted(each.merges, reverse=True)  # the same, up to the cap
            assert min(abs(each.mac_ratio - other.mac_ratio) for other in found) < 0.1
    plain = next(each for each in tuned.candidates if (each.found_by, each.dtype) == ("unmerged", "float32"))
    assert (plain.held_out.kl, plain.held_out.kept, plain.mac_ratio) == (0, 1, 1)


def test_a_second_run_makes_no_trial_again(
    tuned: Tuned, checkpoint: Path, tmp_path: Path, few_rungs: None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "out" / TRIALS_FILE
    with file.open("a") as cut_off:
        cut_off.write('{"of": "cut o')
    before = file.read_text()
    again = tune(checkpoint, sounds(), max_change=0.9, dtypes=DTYPES, folder=tmp_path / "out", **QUICK)
    assert file.read_text() == before and "trials on these clips" in caplog.text
    lists = [{tuple(each.merges) for each in found.candidates} for found in (tuned, again)]
    assert lists[0] == lists[1]


def test_ctrl_c_ends_the_search_and_keeps_the_best_so_far(
    checkpoint: Path, few_rungs: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, calls = runs.kept_and_kl, []

    def stopped(*given: Any) -> tuple[float, float]:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return compute(*given)

    monkeypatch.setattr(runs, "kept_and_kl", stopped)
    found = tune(checkpoint, sounds(), max_change=0.9, dtypes=["float32"], **{**QUICK, "trials": 20})
    assert found.interrupted and found.facts["trials"] == 1
    assert {each.found_by for each in found.candidates} >= {"unmerged"}
    assert len({tuple(each.merges) for each in found.candidates}) == 2


def test_short_clips_are_tried_at_native_length_as_well(checkpoint: Path, few_rungs: None) -> None:
    found = tune(checkpoint, sounds(0.6), max_change=0.9, dtypes=["float32"], **QUICK)
    assert {each.native_length for each in found.candidates} == {False, True}
    native = [each for each in found.candidates if each.native_length and each.found_by == "unmerged"]
    assert native[0].held_out.kl > 0  # beside the padded clips, which are what published checkpoints know


def test_every_dtype_that_is_asked_for_is_measured(checkpoint: Path, few_rungs: None) -> None:
    found = tune(checkpoint, sounds(), max_change=0.9, dtypes=["float32", "bfloat16"], **QUICK)
    for dtype in ("float32", "bfloat16"):
        assert {each.found_by for each in found.candidates if each.dtype == dtype} >= {"unmerged", "search"}


def test_labels_are_reported_where_they_are_known(checkpoint: Path, few_rungs: None) -> None:
    targets = np.eye(2)[[0, 1] * 6]
    found = tune(checkpoint, sounds(), max_change=0.9, dtypes=["float32"], targets=targets, **QUICK)
    assert all(each.held_out.score is not None and 0 <= each.held_out.score <= 1 for each in found.candidates)


def test_a_speedup_out_of_reach_is_told_with_what_is_within(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match=r"speedup is 10000, and about [\d.]+ is within reach here") as caught:
        tune(checkpoint, sounds(), speedup=10000, dtypes=["float32"], **QUICK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({}, "give either a speed-up"),
        ({"speedup": 2, "max_change": 0.1}, "give either a speed-up"),
        ({"speedup": 0.5}, "speedup is 0.5: give 1 or more"),
        ({"max_change": 1}, "max_change is 1: give a share"),
        ({"speedup": 2, "trials": 0}, "trials is 0"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(wish: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tune(None, [], **wish)


def test_a_model_in_memory_stays_as_it_is(make_fastast: Callable[..., Any], few_rungs: None) -> None:
    model = make_fastast(tome_r=4)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    tune(model, sounds(), max_change=0.9, dtypes=["bfloat16"], **QUICK)
    assert model.config.tome_r == 4
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
