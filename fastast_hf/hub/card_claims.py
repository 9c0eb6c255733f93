"""What a checkpoint's card may say in numbers: sentence by sentence and column by column, from its files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from huggingface_hub import EvalResult

from .card_check import CellCheck, Claim, rounds_to, rows_check
from .card_facts import CardFacts, seconds_of
from .card_schema import METRICS
from .card_tables import AT_R, CORPORA, NOTHING, circumstances, described, title_of
from .card_training import AUGMENTATION

REQUIREMENT = "transformers>=5.17,<6"


def claims_of(facts: CardFacts) -> list[Claim]:
    """The sentences of all sections."""
    config, extractor = facts.config, facts.extractor
    length, rate = extractor["max_length"], extractor["sampling_rate"]
    sizes = (facts.parameters / 1e6, config["num_hidden_layers"], config["hidden_size"])
    spectrogram = (extractor["num_mel_bins"], extractor["mean"], extractor["std"])
    claims = [
        Claim("{n} million parameters, {n} layers of width {n}", [sizes]),
        Claim(r"hears {n} frames \({n} s\) at {n} Hz", [(length, seconds_of(length), rate)]),
        Claim(r"\*\*Labels\.\*\* {n}, of which", [(len(config["id2label"]),)]),
        Claim("`tome_r = {n}`", [(config.get("tome_r", 0),)]),
        Claim("{n} bins, mean {n}, standard deviation {n}", [spectrogram]),
        *(claim for name, table in facts.tables.items() for claim in _of_table(name, table)),
    ]
    return claims + (list(_of_training(facts)) if facts.training else [])


def checks_of(facts: CardFacts) -> list[CellCheck]:
    """The tables of the section on results."""
    return [rows_check([_cells(row) for row in table["rows"]]) for table in facts.tables.values()]


def names_of(facts: CardFacts) -> set[str]:
    """What may have digits in its name."""
    settings, teacher = facts.settings, facts.training.get("teacher") or {}
    named = [*(settings.get(key) for key in ("model", "teacher", "extra_data")), teacher.get("backbone")]
    files = [f"results/{name}" for name in facts.tables]
    return {str(name) for name in (*facts.config["id2label"].values(), *named, *files, REQUIREMENT) if name}


def unfounded_results(results: Sequence[EvalResult], facts: CardFacts) -> list[str]:
    """The values of the front matter's generated results that are no row's score, and names with other counts."""
    return [
        f"{result.metric_value} ({result.metric_name}; {result.dataset_name})"
        for result in results
        if is_generated(result) and not any(_is_of(result, table) for table in facts.tables.values())
    ]


def is_generated(result: EvalResult) -> bool:
    """Whether a result of a card's front matter was made from a table, and not written by a person."""
    return re.search(rf"{re.escape(AT_R)}\d+$", result.metric_name or "") is not None


def _is_of(result: EvalResult, table: dict[str, Any]) -> bool:
    name, _, r = (result.metric_name or "").rpartition(AT_R)
    return any(
        rounds_to(row["score"], str(result.metric_value))
        and (name, r) == (METRICS[row["metric"]], str(row["tome_r"]))
        and (result.metric_type, result.dataset_split) == (row["metric"], table["split"])
        and result.dataset_type == CORPORA.get(table["corpus"], (table["corpus"], table["corpus"]))[1]
        and result.dataset_name == described(table)
        for row in table["rows"]
    )


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    """What each column of a results table says of a row, in the column's unit."""
    percent, metric = 100 * row["score"], METRICS[row["metric"]]
    return {
        "method": row["method"],
        "metric": metric,
        "r": row["tome_r"],
        "schedule": row["schedule"] if row["tome_r"] else NOTHING,
        "tokens": (row["tokens_in"], row["tokens_out"]),
        "GMACs": row["gmacs"],
        "MAC ratio": row["mac_ratio"],
        f"{metric}, %": percent,
        "score, %": percent,
        "interval, %": (100 * row["low"], 100 * row["high"]),
        "clips a second": row.get("samples_per_sec") or NOTHING,
    }


def _of_table(name: str, table: dict[str, Any]) -> Iterator[Claim]:
    title, split = re.escape(title_of(table["corpus"])), re.escape(table["split"])
    yield Claim(
        rf"\*\*{title}, {{n}} classes, {{n}} clips of the {split} split\*\*, with bootstrap intervals over clips "
        rf"\({{n}} %\), by `fastast evaluate` in {re.escape(table['dtype'])}; from `results/{re.escape(name)}`",
        [(table["classes"], table["rows"][0]["clips"], 100 * table["level"])],
    )
    where = re.escape(circumstances(table))
    yield Claim(rf"on {where}, {{n}} threads?, {{n}} at once", [(table.get("threads"), table.get("batch_size"))])
    yield Claim(rf"on {where}, {{n}} at once", [(table.get("batch_size"),)])


def _of_training(facts: CardFacts) -> Iterator[Claim]:
    training, settings, clips = facts.training, facts.settings, facts.training["clips"]
    run, before = training["training"], training.get("earlier_stages") or []
    yield Claim(f"{{n}} clips of {re.escape(title_of(settings['corpus']))}", [(clips.get("train"),)])
    yield Claim(", all folds but {n}", [(training.get("fold"),)])
    yield Claim("and {n} more of", [(clips.get("extra"),)])
    yield Claim("{n} clips and {n} of", [(part["clips"]["train"], part["clips"].get("extra", 0)) for part in before])
    yield Claim("{n} clips(?=[.;])", [(part["clips"]["train"],) for part in before])
    yield Claim("{n} clips were missing", [(sum((training.get("missing") or {}).values()),)])
    yield Claim(r"\*\*Recipe\.\*\* {n} steps", [(run["max_steps"],)])
    yield Claim(r"\*\*Recipe\.\*\* {n} epochs", [(run["num_train_epochs"],)])
    yield Claim("batches of {n}", [(run["per_device_train_batch_size"],)])
    spread = (run["world_size"], run["gradient_accumulation_steps"])
    yield Claim("on {n} devices, {n} of them for each step", [spread])
    rates = (run["learning_rate"], run["weight_decay"], run["seed"])
    yield Claim("learning rate {n}, weight decay {n}, seed {n}", [rates])
    yield Claim("r drawn at each step from {list}", [(settings.get("train_r"),)])
    yield Claim("`tome_r` {list} in training", [(settings.get("tome_r") or 0,)])
    for key, words in AUGMENTATION.items():
        yield Claim(words.replace("{}", "{n}"), [(settings.get(key),)])
    measured, metric = training.get("teacher") or {}, METRICS[training["metric"]]
    if measured.get(training["metric"]) is not None:
        yield Claim(f"{re.escape(metric)} {{n}} % on the test split", [(100 * measured[training["metric"]],)])
    yield Claim("λ = {n}", [(settings.get("lam"),)])
    yield Claim("τ = {n}", [(settings.get("tau"),)])
    for weights, score in training["test"].items():
        yield Claim(f"{weights} weights: {re.escape(metric)} {{n}} %", [(100 * score[training["metric"]],)])
