"""Tables of a card, and the results that the Hub shows, from what `fastast evaluate` wrote."""

from __future__ import annotations

from typing import Any

from .card_facts import CardFacts

CORPORA = {
    "esc50": ("ESC-50", "ashraq/esc50"),
    "speech_commands": ("Speech Commands V2", "google/speech_commands"),
    "audioset": ("AudioSet", "agkphysics/AudioSet"),
}
METRICS = {"accuracy": ("accuracy", "accuracy"), "mean_average_precision": ("mean_average_precision", "mAP (macro)")}
NOT_MEASURED = "Not yet measured."


def results_section(facts: CardFacts) -> str:
    """A table for each evaluation, and the training run's own score."""
    parts = [_table(name, table) for name, table in facts.tables.items()]
    return "\n\n".join(parts or [NOT_MEASURED])


def evaluation_results(facts: CardFacts) -> tuple[list[dict[str, Any]], list[str]]:
    """Fields of huggingface_hub's `EvalResult`, one for each table, at the checkpoint's own r; and their metrics."""
    results, metrics = [], []
    for table in facts.tables.values():
        row = own_row(facts, table)
        metric, name = METRICS[row["metric"]]
        title, dataset = CORPORA.get(table["corpus"], (table["corpus"], table["corpus"]))
        metrics.append(metric)
        results.append(
            {
                "task_type": "audio-classification",
                "dataset_type": dataset,
                "dataset_name": described(table, title),
                "dataset_split": table["split"],
                "metric_type": metric,
                "metric_name": f"{name}, tome_r = {row['tome_r']}",
                "metric_value": round(row["score"], 4),
            }
        )
    return results, sorted(set(metrics))


def own_row(facts: CardFacts, table: dict[str, Any]) -> dict[str, Any]:
    """A table's row at the checkpoint's own r, or its first one."""
    r, schedule = facts.config.get("tome_r", 0), facts.config.get("tome_schedule", "constant")
    own = [row for row in table["rows"] if row["tome_r"] == r and (not r or row["schedule"] == schedule)]
    return (own or table["rows"])[0]


def described(table: dict[str, Any], title: str) -> str:
    """A corpus with its classes, and how much of it was scored."""
    clips = table["rows"][0]["clips"]
    return f"{title}, {table['classes']} classes, {clips} clips of the {table['split']} split"


def _table(name: str, table: dict[str, Any]) -> str:
    rows = table["rows"]
    title = CORPORA.get(table["corpus"], (table["corpus"],))[0]
    several = len({row["method"] for row in rows}) > 1
    metric = METRICS[rows[0]["metric"]][1]
    timed = all(row.get("samples_per_sec") for row in rows)
    columns = [*(["method"] if several else []), "r", "schedule", "tokens", "GMACs", "MAC ratio", f"{metric}, %"]
    columns += ["interval, %", *(["clips a second"] if timed else [])]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [row["method"]] if several else []
        cells += [
            str(row["tome_r"]),
            row["schedule"] if row["tome_r"] else "",
            f"{row['tokens_in']} → {row['tokens_out']}",
        ]
        cells += [f"{row['gmacs']:.3g}", f"{row['mac_ratio']:.2f}×", f"{100 * row['score']:.1f}"]
        cells.append(f"{100 * row['low']:.1f} to {100 * row['high']:.1f}")
        if timed:
            cells.append(f"{row['samples_per_sec']:.0f}")
        lines.append("| " + " | ".join(cells) + " |")
    where = ", ".join(
        str(table[key]) for key in ("processor", "device", "dtype", "attention") if table.get(key) is not None
    )
    threads = (
        f", {table['threads']} thread{'s' * (table['threads'] > 1)}"
        if table.get("device") == "cpu" and "threads" in table
        else ""
    )
    speed = (
        f" Clips a second from waveform to label on {where}{threads}, {table['batch_size']} at once." if timed else ""
    )
    return (
        f"**{described(table, title)}**, with bootstrap intervals over clips ({100 * table['level']:.0f} %), "
        f"by `fastast evaluate` in {table['dtype']}; from `results/{name}`.{speed}\n\n" + "\n".join(lines)
    )
