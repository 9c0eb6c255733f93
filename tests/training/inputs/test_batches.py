"""Rows of a corpus to batches: targets, lengths, partners, unreadable clips, draws that depend on the epoch alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import default_collate

from fastast_hf import AudioError, load_audio
from fastast_hf.training.inputs.batches import UNREADABLE, ClipDataset, ClipSampler, balanced_weights

SAMPLES = [900, 1600, 2000, 800]


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """Four clips; the second in bytes, the third longer than asked for."""
    made = []
    for index, samples in enumerate(SAMPLES):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, np.random.default_rng(index).normal(scale=0.1, size=samples), 16000)
        audio = {"bytes": path.read_bytes() if index == 1 else None, "path": str(path)}
        made.append({"audio": audio, "label": index % 3})
    return made


def unreadable(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"audio": {"bytes": b"no audio", "path": "broken.wav"}}


def test_items_are_padded_or_cut_with_one_hot_targets(rows: list[dict[str, Any]]) -> None:
    clips = ClipDataset(rows, 3, 16000, 1700)
    for index, samples in enumerate(SAMPLES):
        item = clips[index]
        kept = min(samples, 1700)
        assert item["num_samples"] == kept
        assert item["unreadable"] == -1
        expected = load_audio(rows[index]["audio"]["path"])
        assert np.array_equal(item["waveforms"][:kept], expected[:kept])
        assert not item["waveforms"][kept:].any()
        assert item["labels"].tolist() == [float(index % 3 == label) for label in range(3)]


def test_a_row_may_be_an_excerpt(rows: list[dict[str, Any]]) -> None:
    item = ClipDataset([rows[2] | {"start": 0.05}], 3, 16000, 1000)[0]
    assert item["num_samples"] == 1000
    assert np.array_equal(item["waveforms"], load_audio(rows[2]["audio"]["path"])[800:1800])
    item = ClipDataset([rows[2] | {"start": 0.05, "end": 0.1}], 3, 16000, 1000)[0]
    assert item["num_samples"] == 800 and not item["waveforms"][800:].any()
    assert np.array_equal(item["waveforms"][:800], load_audio(rows[2]["audio"]["path"])[800:1600])
    assert ClipDataset([rows[2] | {"start": 0.2}], 3, 16000, 1000)[0]["unreadable"] == 0  # behind its end


def test_clips_may_have_several_labels(rows: list[dict[str, Any]]) -> None:
    several = [
        {"audio": row["audio"], "labels": labels} for row, labels in zip(rows, ([0, 2], [], [1], [2]), strict=True)
    ]
    clips = ClipDataset(several, 3, 16000, 1700)
    assert [clips[i]["labels"].tolist() for i in range(3)] == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_a_pair_brings_its_partner(rows: list[dict[str, Any]]) -> None:
    clips = ClipDataset(rows, 3, 16000, 1700)
    item = clips[0, 3]
    assert torch.equal(item["partner_waveforms"], clips[3]["waveforms"])
    assert item["partner_num_samples"] == 800
    assert torch.equal(item["partner_labels"], clips[3]["labels"])
    batch = default_collate([item, clips[1, -1]])
    assert batch["partner_num_samples"].tolist() == [800, 0]
    assert batch["waveforms"].shape == batch["partner_waveforms"].shape == (2, 1700)


def test_an_unreadable_clip_is_replaced_in_training_and_marked_in_evaluation(
    rows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    broken = [*rows[:3], unreadable(rows[3]), unreadable(rows[0])]
    training, evaluation = ClipDataset(broken, 3, 16000, 1700, substitute=True), ClipDataset(broken, 3, 16000, 1700)
    for _ in range(2):
        item = training[3]
        assert item["unreadable"] == 3
        assert torch.equal(item["waveforms"], training[0]["waveforms"])  # the next that can be read
        assert torch.equal(item["labels"], training[0]["labels"])
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "left out: broken.wav: no audio that can be decoded"
    ] * 2  # one for each clip, once
    marked = evaluation[3]
    assert (marked["labels"] == UNREADABLE).all() and marked["unreadable"] == 3
    assert not marked["waveforms"].any()


def test_nothing_but_unreadable_clips_is_an_error(rows: list[dict[str, Any]]) -> None:
    clips = ClipDataset([unreadable(row) for row in rows], 3, 16000, 1700, substitute=True)
    with pytest.raises(AudioError, match=r"broken\.wav: this clip can't be read, nor can any other"):
        clips[0]


def test_a_silent_clip_is_a_clip(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(1600), 16000)
    row = {"audio": {"bytes": None, "path": str(tmp_path / "silent.wav")}, "label": 0}
    assert ClipDataset([row], 1, 16000, 1600)[0]["unreadable"] == -1


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    def drawn(epoch: int, seed: int = 0) -> list[tuple[int, int]]:
        sampler = ClipSampler(50, mixup=0.5, seed=seed)
        sampler.epoch = epoch
        torch.rand(1)  # what others draw does not matter
        return list(sampler)

    assert drawn(3) == drawn(3)
    assert len({tuple(drawn(0)), tuple(drawn(1)), tuple(drawn(0, seed=1))}) == 3
    assert sorted(index for index, _ in drawn(1)) == list(range(50))


def test_partners_come_evenly_from_all_clips_at_the_rate_asked_for() -> None:
    pairs = [pair for epoch in range(40) for pair in list(_at(ClipSampler(100, mixup=0.3), epoch))]
    partners = [partner for _, partner in pairs if partner >= 0]
    assert len(partners) / len(pairs) == pytest.approx(0.3, abs=0.03)
    assert set(partners) == set(range(100))
    assert max(Counter(partners).values()) < 40  # of 12 on average


def _at(sampler: ClipSampler, epoch: int) -> ClipSampler:
    sampler.epoch = epoch
    return sampler


def test_balanced_weights_bring_rare_classes_as_often() -> None:
    classes = [0] * 90 + [1] * 10
    weights = balanced_weights(classes)
    assert weights[0] == pytest.approx(1000 / 90.01) and weights[-1] == pytest.approx(1000 / 10.01)
    drawn = [classes[index] for epoch in range(30) for index, _ in _at(ClipSampler(100, weights), epoch)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.04)


def test_a_clip_of_several_classes_has_the_sum_of_their_weights() -> None:
    weights = balanced_weights([[0], [0, 1], [], [2]])
    assert weights.tolist() == pytest.approx([1000 / 2.01, 1000 / 2.01 + 1000 / 1.01, 0.0, 1000 / 1.01])
