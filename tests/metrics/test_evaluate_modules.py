"""The metrics as `evaluate` modules: the classes themselves, and their files loaded without a network."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import evaluate
import numpy as np
import pytest

from fastast_hf import metrics
from fastast_hf.metrics.accuracy import accuracy
from fastast_hf.metrics.d_prime import d_prime
from fastast_hf.metrics.mean_average_precision import mean_average_precision

GENERATOR = np.random.default_rng(0)
IDS = GENERATOR.integers(5, size=40)
TARGETS = np.eye(6)[IDS]  # nobody is of class 5
SCORES = GENERATOR.normal(size=TARGETS.shape) + TARGETS


class Module(NamedTuple):
    """A metric and what it is given."""

    name: str
    function: Callable[..., dict[str, float]]
    predictions: np.ndarray
    references: np.ndarray

    @property
    def wanted(self) -> dict[str, float]:
        return self.function(self.predictions, self.references)

    def compute(self, metric: evaluate.Metric, convert: Callable[[np.ndarray], Any] = np.asarray) -> dict[str, float]:
        return metric.compute(predictions=convert(self.predictions), references=convert(self.references))


MODULES = {
    "scores": Module("Accuracy", accuracy, SCORES, IDS),
    "class ids": Module("Accuracy", accuracy, SCORES.argmax(1), IDS),
    "mAP": Module("MeanAveragePrecision", mean_average_precision, SCORES, TARGETS),
    "d'": Module("DPrime", d_prime, SCORES, TARGETS),
}
EACH = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


def forget_loaded_copies() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "evaluate_modules"]:
        del sys.modules[name]


@pytest.fixture
def modules_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder for the copies that evaluate makes of the files it loads."""
    forget_loaded_copies()
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    forget_loaded_copies()


@EACH
@pytest.mark.parametrize("convert", [np.asarray, np.ndarray.tolist], ids=["array", "list"])
def test_the_class_scores_as_its_function_does(
    module: Module, convert: Callable[[np.ndarray], Any], tmp_path: Path
) -> None:
    assert module.compute(getattr(metrics, module.name)(cache_dir=str(tmp_path)), convert) == module.wanted


@EACH
def test_batches_add_up_to_the_whole(module: Module, tmp_path: Path) -> None:
    metric = getattr(metrics, module.name)(cache_dir=str(tmp_path))
    for part in (slice(0, 1), slice(1, 30), slice(30, None)):
        metric.add_batch(predictions=module.predictions[part], references=module.references[part])
    assert metric.compute() == module.wanted


@EACH
@pytest.mark.usefixtures("modules_cache")
def test_evaluate_loads_the_file_without_a_network(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a metric reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    file = Path(metrics.__file__).parent / f"{module.function.__name__}.py"
    metric = evaluate.load(str(file), cache_dir=str(tmp_path))
    assert type(metric).__name__ == module.name
    assert not isinstance(metric, getattr(metrics, module.name)), "the copy was meant to be loaded"
    assert module.compute(metric) == module.wanted


def test_metrics_combine(tmp_path: Path) -> None:
    parts = [metrics.MeanAveragePrecision(cache_dir=str(tmp_path)), metrics.DPrime(cache_dir=str(tmp_path))]
    result = evaluate.combine(parts).compute(predictions=SCORES, references=TARGETS)
    assert result["d_prime"] == d_prime(SCORES, TARGETS)["d_prime"]
    wanted = mean_average_precision(SCORES, TARGETS)["mean_average_precision"]
    assert result["mean_average_precision"] == wanted


@pytest.mark.parametrize("name", ["MeanAveragePrecision", "DPrime"])
def test_half_a_target_is_refused_not_rounded(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a target is 0\.5"):
        getattr(metrics, name)(cache_dir=str(tmp_path)).compute(predictions=SCORES, references=TARGETS / 2)
