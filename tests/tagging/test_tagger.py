"""Files and arrays to labels: the same as the pipeline gives, whatever the batch, and bad recordings told apart."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import ASTFeatureExtractor, ASTForAudioClassification, pipeline

from fastast_hf import AudioError, FastASTFeatureExtractor, Tagger, load_audio
from fastast_hf.audio import read_audio
from fastast_hf.loading.bundled import SPEECH_COMMANDS
from fastast_hf.tagging import tagger as tagging
from fastast_hf.tagging.recordings import READ_AHEAD_BATCHES

Make = Callable[..., Any]
DATA = Path(__file__).parents[1] / "data"
FILES = sorted([*(DATA / "formats").iterdir(), *(DATA / "computed").iterdir()])
WINDOW = 400 + 127 * 160  # samples of 128 frames
LENGTHS = [16000, 4000, 400, WINDOW, 50000, 9000, 4100, 16001, WINDOW + 1]
LOADS = [  # settings of the tiny model of 3 layers, tokens entering each layer (of 50)
    ({}, [50, 50, 50]),
    ({"tome_r": 6}, [50, 44, 38]),
    ({"tome_r": [4, 0, 2]}, [50, 46, 46]),
    ({"tome_r": 6, "tome_schedule": "decreasing"}, [50, 38, 32]),
]
REFUSED = [
    ("top_k", 0, "top_k is 0"),
    ("batch_size", 0, "batch_size is 0"),
    ("dtype", "int4", "dtype is 'int4'"),
    ("preset", "faster", "preset is 'faster': choose one of exact, balanced, fast"),
    ("device", "toaster", "device toaster can't be used here"),
    ("device", "meta", "device meta can't be used here"),
    ("tome_r", -1, "tome_r is -1"),
    ("tome_r", [1, 2], "2 numbers for 3 layers"),
    ("tome_schedule", "steep", "steep"),
]
BAD_ARRAYS = [
    (np.zeros((2, 3, 16000)), "3-D array"),
    (np.ones(399), "too short, 399 samples"),
    (np.full(16000, np.nan), "a sample is nan"),
    (np.full(16000, -np.inf), "a sample is -inf"),
]
# Names in a layer: of transformers from 5.9 on, and of the checkpoints on the Hub.
OLD_NAMES = {
    ".layers.": ".encoder.layer.",
    ".attention.o_proj.": ".attention.output.dense.",
    ".attention.q_proj.": ".attention.attention.query.",
    ".attention.k_proj.": ".attention.attention.key.",
    ".attention.v_proj.": ".attention.attention.value.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
}


@pytest.fixture(scope="module")
def bundled() -> Tagger:
    return Tagger(top_k=None, device="cpu")


@pytest.fixture
def extractor() -> FastASTFeatureExtractor:
    return FastASTFeatureExtractor(num_mel_bins=48, max_length=128)


@pytest.fixture
def make_tagger(make_fastast: Make) -> Make:
    """Builds a tagger of all labels around a tiny model that merges."""

    def make(model: Any = None, **settings: Any) -> Tagger:
        model = make_fastast(tome_r=6) if model is None else model
        return Tagger(model, **{"top_k": None, "device": "cpu", **settings})

    return make


def noises(lengths: list[int] = LENGTHS) -> list[tuple[np.ndarray, int]]:
    """A clip of noise of each length, each with a sound of its own."""
    generator = np.random.default_rng(0)
    clips = [np.cumsum(generator.normal(size=n)) if i % 2 else generator.normal(size=n) for i, n in enumerate(lengths)]
    return [((0.3 * clip / np.abs(clip).max()).astype(np.float32), 16000) for clip in clips]


def scores(result: list[dict[str, Any]]) -> dict[str, float]:
    return {label["label"]: label["score"] for label in result}


def assert_same(got: list[dict[str, Any]], expected: list[dict[str, Any]] | list[float], atol: float = 1e-5) -> None:
    """Equal scores, of each label or of labels 0, 1, …"""
    if isinstance(expected[0], float):
        expected = [{"label": f"LABEL_{index}", "score": score} for index, score in enumerate(expected)]
    assert scores(got) == pytest.approx(scores(expected), rel=0, abs=atol)


def old_checkpoint(folder: Path, model: ASTForAudioClassification) -> Path:
    """A checkpoint of stock AST with the names that the published ones have."""
    weights = {}
    for name, value in model.state_dict().items():
        for new, old in OLD_NAMES.items():
            name = name.replace(new, old)
        weights[name] = value.clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(model.config.to_dict()))
    ASTFeatureExtractor(num_mel_bins=48, max_length=128, mean=-3.0, std=4.0).save_pretrained(folder)
    return folder


def test_bundled_checkpoint_labels_every_format(bundled: Tagger) -> None:
    results = bundled(FILES)
    labels = set(bundled.model.config.id2label.values())
    assert labels >= {"yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"}
    for result in results:
        assert set(scores(result)) == labels
        values = [label["score"] for label in result]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1, abs=1e-5)
    assert bundled(FILES) == results  # to the bit


def test_one_recording_gives_its_labels_and_a_list_gives_a_list(bundled: Tagger) -> None:
    file = FILES[0]
    alone = bundled(file)
    assert list(alone[0]) == ["label", "score"]
    array = load_audio(file)
    for same in (
        str(file),
        (array, 16000),
        (torch.from_numpy(array), 16000),
        {"array": array, "sampling_rate": 16000},
    ):
        assert bundled(same) == alone
    assert bundled([file]) == [alone]
    assert bundled([]) == []


def test_same_as_the_pipeline_on_the_bundled_checkpoint(bundled: Tagger) -> None:
    reference = pipeline("audio-classification", model=str(SPEECH_COMMANDS), device="cpu")
    for file, got in zip(FILES[::4], bundled(FILES[::4]), strict=True):
        assert_same(got, reference({"raw": load_audio(file), "sampling_rate": 16000}, top_k=None))


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification", "regression"])
def test_same_as_the_pipeline_on_a_stock_checkpoint(
    problem: str, make_ast: Make, make_tagger: Make, tmp_path: Path
) -> None:
    folder = old_checkpoint(tmp_path, make_ast(problem_type=problem))
    tagger = make_tagger(folder)
    # Stock AST, and its own feature extractor.
    reference = pipeline("audio-classification", model=str(folder), device="cpu")
    assert type(reference.model) is ASTForAudioClassification
    for clip, rate in noises([16000, 4000, 400]):
        expected = reference({"raw": clip, "sampling_rate": rate}, top_k=None)
        assert_same(tagger((clip, rate)), expected, atol=1e-4 if problem == "regression" else 1e-5)


def test_a_frame_mask_is_honoured_as_by_the_pipeline(
    make_fastast: Make, make_tagger: Make, extractor: FastASTFeatureExtractor
) -> None:
    model, (clip,) = make_fastast(tome_r=6), noises([4000])
    unmasked = make_tagger(model, feature_extractor=extractor)(clip)
    extractor.return_attention_mask = True
    reference = pipeline("audio-classification", model=model, feature_extractor=extractor, device="cpu")
    got = make_tagger(model, feature_extractor=extractor)(clip)
    assert_same(got, reference({"raw": clip[0], "sampling_rate": 16000}, top_k=None))
    assert scores(got) != pytest.approx(scores(unmasked), abs=1e-3)


@pytest.mark.parametrize(("top_k", "count"), [(None, 5), (1, 1), (3, 3), (999, 5)])
def test_top_k_is_how_many_labels_come(top_k: int | None, count: int, make_tagger: Make) -> None:
    model, (clip,) = make_tagger().model, noises([16000])
    assert make_tagger(model, top_k=top_k)(clip) == make_tagger(model)(clip)[:count]


@pytest.mark.parametrize("native_length", [False, True])
def test_a_clips_scores_do_not_depend_on_its_batch(native_length: bool, make_tagger: Make) -> None:
    model, clips = make_tagger().model, noises()
    alone = make_tagger(model, batch_size=1, native_length=native_length)(clips)
    order = np.random.default_rng(1).permutation(len(clips))
    for batch_size in (3, 8):
        tagger = make_tagger(model, batch_size=batch_size, native_length=native_length)
        results = tagger([clips[index] for index in order])
        for index, result in zip(order, results, strict=True):
            assert_same(result, alone[index], atol=1e-6)
    assert len({result[0]["score"] for result in alone}) == len(clips)


def test_a_long_recording_gets_the_mean_over_windows(make_tagger: Make) -> None:
    tagger, ((samples, rate),) = make_tagger(), noises([50000])
    # The third window overlaps the second: it ends with the recording.
    windows = [samples[start : start + WINDOW] for start in (0, WINDOW, 50000 - WINDOW)]
    parts = [scores(tagger((window, rate))) for window in windows]
    mean = {label: np.mean([part[label] for part in parts]) for label in parts[0]}
    assert scores(tagger((samples, rate))) == pytest.approx(mean, rel=0, abs=1e-6)


def test_native_length_pads_to_the_bucket_of_the_clips_own_length(
    make_tagger: Make, extractor: FastASTFeatureExtractor
) -> None:
    clips = noises([400, 4000, 9000, 16000, 50000])  # 1, 23, 54 and 98 frames, and windows of 128
    tagger = make_tagger(native_length=True, feature_extractor=extractor)
    seen = []
    hook = tagger.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(tuple(kwargs["input_values"].shape[:2])), with_kwargs=True
    )
    results = tagger(clips)
    hook.remove()
    assert seen == [(2, 32), (1, 64), (4, 128)]
    inputs = extractor(clips[1][0], sampling_rate=16000, return_tensors="pt", num_frames=32)
    with torch.no_grad():
        assert_same(results[1], tagger.model(**inputs).logits.softmax(-1)[0].tolist())


@pytest.mark.parametrize(("settings", "tokens"), LOADS)
@pytest.mark.parametrize("kind", ["stock", "fastast", "folder"])
def test_tome_r_and_schedule_apply_to_any_model(
    kind: str, settings: dict[str, Any], tokens: list[int], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    make_tagger, make_ast, make_fastast = map(request.getfixturevalue, ("make_tagger", "make_ast", "make_fastast"))
    source = make_fastast() if kind == "fastast" else make_ast()
    source = old_checkpoint(tmp_path, source) if kind == "folder" else source
    extractor = FastASTFeatureExtractor(num_mel_bins=48, max_length=128, mean=-3.0, std=4.0)
    tagger = make_tagger(source, feature_extractor=None if kind == "folder" else extractor, **settings)
    assert tagger.model.token_schedule() == tokens
    (clip,) = noises([16000])
    inputs = extractor(clip[0], sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        logits = make_fastast()(**inputs, tome_r=tagger.model.config.merges_per_layer()).logits
    assert_same(tagger(clip), logits.softmax(-1)[0].tolist())


@pytest.mark.parametrize("kind", ["make_ast", "make_fastast"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_in_memory_stays_as_it_is(kind: str, dtype: torch.dtype, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(kind)().train()
    config, weights = model.config.to_dict(), {name: p.clone() for name, p in model.named_parameters()}
    tagger = Tagger(model, tome_r=6, dtype=dtype, device="cpu")
    tagger(noises([16000]))
    assert model.training and not tagger.model.training
    assert model.config.to_dict() == config
    assert all(torch.equal(p, weights[name]) and p.dtype == torch.float32 for name, p in model.named_parameters())
    shared = tagger.model.classifier.dense.weight.data_ptr() == model.classifier.dense.weight.data_ptr()
    assert shared == (dtype == torch.float32)


def test_bfloat16_gives_nearly_the_same_scores(make_fastast: Make, make_tagger: Make) -> None:
    model, clips = make_fastast(), noises([16000, 4000])
    tagger = make_tagger(model, dtype="bfloat16")
    assert tagger.model.dtype == torch.bfloat16
    for got, expected in zip(tagger(clips), make_tagger(model)(clips), strict=True):
        assert_same(got, expected, atol=0.05)


def test_scores_that_are_not_finite_are_an_error_and_no_labels(make_tagger: Make) -> None:
    tagger = make_tagger()
    tagger.model.classifier.dense.bias.data[0] = float("nan")
    sources = noises([16000, 4000])
    assert [str(error) for error in tagger(sources, on_error="return")] == [
        "array: the model's scores are not finite; check its weights and front end"
    ] * 2


def test_a_tagger_shows_what_it_was_made_of() -> None:
    shown = repr(Tagger(tome_r=8, device="cpu"))
    assert shown == ("Tagger('speech-commands', labels=12, r=8, preset='exact', dtype='float32', device='cpu')")


def test_scores_and_labels_of_windows_are_the_taggers(make_tagger: Make) -> None:
    tagger, (clip,) = make_tagger(), noises([50000])
    windows = list(tagger.windows(clip))
    scores = tagger.scores(windows)
    assert (len(windows), tuple(scores.shape)) == (3, (3, 5))
    assert tagger.labels(scores) == tagger(clip)
    assert tagger.labels(tagger.scores(windows, tome_r=0)) == make_tagger(tagger.model, tome_r=0)(clip)
    assert torch.equal(tagger.scores(windows, model=tagger.model, tome_r=6), scores)


def test_silence_is_labelled_with_a_warning(make_tagger: Make, caplog: pytest.LogCaptureFixture) -> None:
    results = make_tagger()([(np.zeros(50000), 16000), *noises([4000])])
    assert [len(result) for result in results] == [5, 5]
    assert [record.getMessage() for record in caplog.records] == [
        "array: the clip is silent (all samples are 0); it is used all the same"
    ]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("of a library")])
def test_a_recording_that_fails_for_any_reason_does_not_take_the_others_with_it(
    error: Exception, make_tagger: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: Any, rate: int) -> Iterator[np.ndarray]:
        if isinstance(source, str):
            raise error
        return read_audio(source, rate)

    monkeypatch.setattr(tagging, "read_audio", fail)
    tagger, (good,) = make_tagger(), noises([16000])
    first, failed, last = tagger([good, "bad.wav", good], on_error="return")
    assert first == last
    assert isinstance(failed, AudioError)
    assert str(failed).startswith(f"bad.wav: cannot be read ({type(error).__name__}: ")


def test_a_recording_longer_than_the_memory_is_read_window_by_window(
    make_tagger: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger, (long, short) = make_tagger(batch_size=1), noises([20 * WINDOW + 100, 4000])
    expected = tagger([long, short])
    held = []

    def blocks(source: Any, rate: int) -> Iterator[np.ndarray]:
        for start in range(0, len(source[0]), 1000):
            held.append(1)
            yield source[0][start : start + 1000]

    scores = Tagger.scores

    def count(self: Tagger, windows: list[np.ndarray], *arguments: Any) -> torch.Tensor:
        assert len(windows) <= READ_AHEAD_BATCHES + 1
        return scores(self, windows, *arguments)

    monkeypatch.setattr(tagging, "read_audio", blocks)
    monkeypatch.setattr(Tagger, "scores", count)
    results = tagger.stream([long, short], workers=0)
    assert_same(next(results), expected[0], atol=1e-6)
    assert_same(next(results), expected[1], atol=1e-6)


@pytest.mark.parametrize(("samples", "said"), BAD_ARRAYS)
def test_a_bad_recording_raises_or_is_returned_in_its_place(samples: np.ndarray, said: str, make_tagger: Make) -> None:
    tagger, (good,) = make_tagger(), noises([16000])
    sources = [good, (samples, 16000), good]
    with pytest.raises(AudioError, match=said):
        tagger(sources)
    first, error, last = tagger(sources, on_error="return")
    assert first == last
    assert_same(first, tagger(good))
    assert isinstance(error, AudioError) and said in str(error)


@pytest.mark.parametrize(("setting", "value", "said"), REFUSED)
def test_a_wrong_setting_is_refused(setting: str, value: Any, said: str, make_tagger: Make) -> None:
    with pytest.raises(ValueError, match=said):
        make_tagger(**{setting: value})


def test_a_wrong_on_error_or_model_is_refused(make_tagger: Make, make_ast: Make) -> None:
    with pytest.raises(ValueError, match="on_error is 'ignore'"):
        make_tagger()([], on_error="ignore")
    with pytest.raises(TypeError, match="was given a ASTModel"):
        make_tagger(make_ast().audio_spectrogram_transformer)


@pytest.mark.parametrize("progress", [None, False, True])
def test_progress_bar_only_where_it_is_asked_for(
    progress: bool | None, make_tagger: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tagger(batch_size=1)(noises([4000, 4000]), progress=progress)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("clip" in printed.err) == (progress is True)  # None: capsys is no terminal


def test_only_a_few_batches_are_decoded_ahead(make_tagger: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger, (clip,) = make_tagger(batch_size=2), noises([4000])
    events = []
    monkeypatch.setattr(tagging, "read_audio", lambda *args: iter([events.append("r") or clip[0]]))
    monkeypatch.setattr(tagger, "scores", lambda windows: events.append("m") or torch.ones(len(windows), 5))
    ahead = 2 * READ_AHEAD_BATCHES
    clips = [clip] * (2 * ahead + 3)
    assert len(tagger(clips, workers=0)) == len(clips)
    # Read a few batches, answer them, read on: never the whole folder first.
    assert "".join(events) == ("r" * ahead + "m") * 2 + "rrrm"


def test_labels_come_as_soon_as_they_are_known(make_tagger: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger, clips = make_tagger(batch_size=1), noises([4000, 5000, 6000, 4000, 5000, 6000][: READ_AHEAD_BATCHES + 2])
    expected = tagger(clips)
    bad = (np.zeros(3, dtype=np.float32), 16000)
    results = list(tagger.stream([bad, *clips, bad], on_error="return"))
    assert results[1:-1] == expected
    assert isinstance(results[0], AudioError) and isinstance(results[-1], AudioError)
    decoded = []
    monkeypatch.setattr(tagging, "read_audio", lambda source, rate: decoded.append(1) or read_audio(source, rate))
    assert next(tagger.stream(clips, workers=0)) == expected[0]
    assert len(decoded) == READ_AHEAD_BATCHES


@pytest.mark.parametrize("native_length", [False, True])
def test_reading_in_threads_changes_no_bit(native_length: bool, make_tagger: Make) -> None:
    tagger, clips = make_tagger(batch_size=2, native_length=native_length), noises() * 3
    clips[4] = (np.zeros(0), 16000)
    expected = tagger(clips, workers=0, on_error="return")
    assert isinstance(expected[4], AudioError)
    for results in (
        tagger(clips, workers=4, on_error="return"),
        list(tagger.stream((clip for clip in clips), workers=4, on_error="return")),
    ):
        assert results[:4] + results[5:] == expected[:4] + expected[5:]
        assert str(results[4]) == str(expected[4])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_an_error_in_the_middle_or_an_early_end_leaves_no_thread(
    on_error: str, workers: int, make_tagger: Make
) -> None:
    def endless() -> Iterator[tuple[np.ndarray, int]]:
        yield from [*clips[:5], (np.zeros(3), 16000)]
        yield from itertools.cycle(clips)

    tagger, clips = make_tagger(batch_size=1), noises([4000, 5000])
    clips *= 3
    before = threading.active_count()
    results = tagger.stream(endless(), on_error=on_error, workers=workers)
    got = [next(results) for _ in range(READ_AHEAD_BATCHES)]
    assert got == tagger(clips[:READ_AHEAD_BATCHES])
    if on_error == "raise":
        with pytest.raises(AudioError, match="too short"):
            list(results)
    else:
        assert [isinstance(next(results), AudioError) for _ in range(4)] == [False, True, False, False]
        results.close()
    assert threading.active_count() == before


def test_a_wrong_number_of_workers_is_refused(make_tagger: Make) -> None:
    with pytest.raises(ValueError, match="workers is -1"):
        make_tagger()(noises([4000]), workers=-1)


def test_what_is_no_recording_is_refused(make_tagger: Make) -> None:
    tagger, (clip,) = make_tagger(), noises([4000])
    with pytest.raises(AudioError, match=r"16000\.0 is a float; give an int in Hz"):
        tagger((clip[0], 16000.0))
    for nothing in (5, None):
        with pytest.raises(AudioError, match="was given: give a file, samples with their rate, or a list"):
            tagger(nothing)


def test_too_large_a_batch_says_so(make_tagger: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 20.00 GiB")

    tagger = make_tagger(batch_size=2)
    monkeypatch.setattr(tagger.model, "forward", full)
    with pytest.raises(MemoryError, match="2 clips at once do not fit into the memory of cpu: lower the batch size"):
        tagger(noises([4000, 4000]))
