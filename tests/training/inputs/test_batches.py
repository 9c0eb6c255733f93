"""Rows of a corpus to batches: targets, lengths, partners, unreadable clips, draws that depend on the epoch alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from fastast_hf import AudioError, load_audio
from fastast_hf.audio import windows
from fastast_hf.training.inputs.batches import (
    UNREADABLE,
    ClipDataset,
    ClipSampler,
    balanced_weights,
    clip_seconds,
    collate,
)

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


@pytest.mark.parametrize("training", [True, False])
def test_items_are_padded_with_one_hot_targets(rows: list[dict[str, Any]], training: bool) -> None:
    clips = ClipDataset(rows, 3, 16000, 2100, training=training)
    for index, samples in enumerate(SAMPLES):
        item = clips[index]
        waveform, length = (item["waveforms"], item["num_samples"])
        if not training:
            (waveform,), (length,) = waveform, length
        assert length == samples
        assert item["unreadable"] == -1
        assert np.array_equal(waveform[:samples], load_audio(rows[index]["audio"]["path"]))
        assert not waveform[samples:].any()
        assert item["labels"].tolist() == [float(index % 3 == label) for label in range(3)]


def test_training_hears_a_stretch_of_a_longer_clip_where_the_sampler_says(rows: list[dict[str, Any]]) -> None:
    clips = ClipDataset(rows, 3, 16000, 500, training=True)
    whole = [load_audio(row["audio"]["path"]) for row in rows]
    item = clips[2, 0, 0.5, 0.999]
    assert np.array_equal(item["waveforms"], whole[2][750:1250]) and item["num_samples"] == 500
    assert np.array_equal(item["partner_waveforms"], whole[0][400:900])
    assert item["labels"].tolist() == [0, 0, 1] and item["partner_labels"].tolist() == [1, 0, 0]


def test_evaluation_has_all_of_a_longer_clip_in_windows_as_classify_has(rows: list[dict[str, Any]]) -> None:
    clips = ClipDataset(rows, 3, 16000, 700)
    tagger_windows = [[part for _, part in windows([load_audio(row["audio"]["path"])], 700)] for row in rows]
    for index, expected in enumerate(tagger_windows):
        item = clips[index]
        assert np.array_equal(item["waveforms"], np.stack(expected))
        assert item["num_samples"].tolist() == [700] * len(expected)
    batch = collate([clips[0], clips[2]])
    assert batch["windows"].tolist() == [2, 3] and batch["waveforms"].shape == (5, 700)
    assert np.array_equal(batch["waveforms"][2:], np.stack(tagger_windows[2]))
    assert next(iter(batch)) == "labels" and batch["labels"].shape == (2, 3)  # transformers counts clips by the first


@pytest.mark.parametrize("training", [True, False])
def test_a_row_may_be_an_excerpt(rows: list[dict[str, Any]], training: bool) -> None:
    whole = load_audio(rows[2]["audio"]["path"])
    for row, part in (({"start": 0.05}, whole[800:]), ({"start": 0.05, "end": 0.1}, whole[800:1600])):
        item = ClipDataset([rows[2] | row], 3, 16000, 1600, training=training)[0]
        assert np.array_equal(item["waveforms"].reshape(-1)[: len(part)], part)
        assert item["num_samples"] == len(part)
    clips = ClipDataset([rows[2] | {"start": 0.05, "end": 0.1}], 3, 16000, 500, training=training)
    assert clips.seconds(0) == 0.05
    item = clips[0, -1, 0.999, 0.0] if training else clips[0]
    assert np.array_equal(item["waveforms"] if training else item["waveforms"][-1], whole[1100:1600])


def test_an_excerpt_behind_the_end_is_unreadable(rows: list[dict[str, Any]]) -> None:
    assert ClipDataset([rows[2] | {"start": 0.2}], 3, 16000, 1000)[0]["unreadable"] == 0


def test_lengths_are_those_of_the_headers(rows: list[dict[str, Any]]) -> None:
    clips = ClipDataset([*rows, unreadable(rows[0])], 3, 16000, 1000)
    assert clip_seconds(clips) == [*(samples / 16000 for samples in SAMPLES), 0.0]
    assert clip_seconds(clips, most=2) == [SAMPLES[0] / 16000, SAMPLES[3] / 16000]


def test_clips_may_have_several_labels(rows: list[dict[str, Any]]) -> None:
    several = [
        {"audio": row["audio"], "labels": labels} for row, labels in zip(rows, ([0, 2], [], [1], [2]), strict=True)
    ]
    clips = ClipDataset(several, 3, 16000, 1700)
    assert [clips[i]["labels"].tolist() for i in range(3)] == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


def test_a_pair_brings_its_partner(rows: list[dict[str, Any]]) -> None:
    clips = ClipDataset(rows, 3, 16000, 1700, training=True)
    item = clips[0, 3, 0.0, 0.0]
    assert torch.equal(item["partner_waveforms"], clips[3]["waveforms"])
    assert item["partner_num_samples"] == 800
    assert torch.equal(item["partner_labels"], clips[3]["labels"])
    batch = collate([item, clips[1, -1, 0.0, 0.0]])
    assert batch["partner_num_samples"].tolist() == [800, 0]
    assert batch["waveforms"].shape == batch["partner_waveforms"].shape == (2, 1700)


def test_an_unreadable_clip_is_replaced_in_training_and_marked_in_evaluation(
    rows: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    broken = [*rows[:3], unreadable(rows[3]), unreadable(rows[0])]
    training, evaluation = ClipDataset(broken, 3, 16000, 1700, training=True), ClipDataset(broken, 3, 16000, 1700)
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
    assert not marked["waveforms"].any() and marked["waveforms"].shape == (1, 1700)


def test_nothing_but_unreadable_clips_is_an_error(rows: list[dict[str, Any]]) -> None:
    clips = ClipDataset([unreadable(row) for row in rows], 3, 16000, 1700, training=True)
    with pytest.raises(AudioError, match=r"broken\.wav: this clip can't be read, nor can any other"):
        clips[0]


def test_a_silent_clip_is_a_clip(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(1600), 16000)
    row = {"audio": {"bytes": None, "path": str(tmp_path / "silent.wav")}, "label": 0}
    assert ClipDataset([row], 1, 16000, 1600)[0]["unreadable"] == -1


def test_draws_depend_on_seed_and_epoch_alone() -> None:
    def drawn(epoch: int, seed: int = 0) -> list[tuple[int, int, float, float]]:
        sampler = ClipSampler(50, mixup=0.5, seed=seed)
        sampler.epoch = epoch
        torch.rand(1)  # what others draw does not matter
        return list(sampler)

    assert drawn(3) == drawn(3)
    assert len({tuple(drawn(0)), tuple(drawn(1)), tuple(drawn(0, seed=1))}) == 3
    assert sorted(index for index, *_ in drawn(1)) == list(range(50))
    places = np.array(drawn(1))[:, 2:]
    assert places.min() >= 0 and places.max() < 1 and len(np.unique(places)) == 100


def test_partners_come_evenly_from_all_clips_at_the_rate_asked_for() -> None:
    pairs = [pair for epoch in range(40) for pair in list(_at(ClipSampler(100, mixup=0.3), epoch))]
    partners = [partner for _, partner, *_ in pairs if partner >= 0]
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
    drawn = [classes[index] for epoch in range(30) for index, *_ in _at(ClipSampler(100, weights), epoch)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.04)


def test_a_clip_of_several_classes_has_the_sum_of_their_weights() -> None:
    weights = balanced_weights([[0], [0, 1], [], [2]])  # and one of none that of a class more
    assert weights.tolist() == pytest.approx([1000 / 2.01, 1000 / 2.01 + 1000 / 1.01, 1000 / 1.01, 1000 / 1.01])
