"""Tables of a card, and the results that the Hub shows, from what `fastast evaluate` wrote."""

from __future__ import annotations

from typing import Any

from .card_facts import CardFacts
from .card_schema import METRICS

CORPORA = {
    "esc50": ("ESC-50", "ashraq/esc50"),
    "speech_commands": ("Speech Commands V2", "google/speech_commands"),
    "audioset": ("AudioSet", "agkphysics/AudioSet"),
}
NOT_MEASURED = "Not yet measured."
NOTHING = "–"  # in a cell: r = 0 has no schedule, and not every row is timed
AT_R = ", tome_r = "  # in the name of a metric, for the Hub: by it a generated result is known again
METHODS = {
    "Inf": "Inf: one checkpoint, merging only when it is used",
    "Train+Inf": "Train+Inf: a checkpoint trained at each r",
    "random r": "random r: one checkpoint, trained with r drawn at random",
}


def results_section(facts: CardFacts) -> str:
    """A table for each evaluation; or that there was none."""
    parts = [_table(name, table) for name, table in facts.tables.items()]
    return "\n\n".join(parts or [NOT_MEASURED])


def evaluation_results(facts: CardFacts) -> tuple[list[dict[str, Any]], list[str]]:
    """Fields of huggingface_hub's `EvalResult`, one for each table, at the checkpoint's own r; and their metrics."""
    results, metrics = [], []
    for table in facts.tables.values():
        row = own_row(facts, table)
        metric, name = row["metric"], METRICS[row["metric"]]
        dataset = CORPORA.get(table["corpus"], (table["corpus"], table["corpus"]))[1]
        metrics.append(metric)
        results.append(
            {
                "task_type": "audio-classification",
                "dataset_type": dataset,
                "dataset_name": described(table),
                "dataset_split": table["split"],
                "metric_type": metric,
                "metric_name": f"{name}{AT_R}{row['tome_r']}",
                "metric_value": round(row["score"], 4),
            }
        )
    return results, sorted(set(metrics))


def own_row(facts: CardFacts, table: dict[str, Any]) -> dict[str, Any]:
    """A table's row at the checkpoint's own r, or its first one; of several checkpoints, of this one's rows."""
    r, schedule = facts.config.get("tome_r", 0), facts.config.get("tome_schedule", "constant")
    rows = [row for row in table["rows"] if facts.weights in row.get("weights", ())] or table["rows"]
    own = [row for row in rows if row["tome_r"] == r and (not r or row["schedule"] == schedule)]
    return (own or rows)[0]


def described(table: dict[str, Any]) -> str:
    """A corpus with its classes, and how much of it was scored."""
    clips = table["rows"][0]["clips"]
    return f"{title_of(table['corpus'])}, {table['classes']} classes, {clips} clips of the {table['split']} split"


def title_of(corpus: str) -> str:
    """A corpus as it is written."""
    return CORPORA[corpus][0] if corpus in CORPORA else corpus


def circumstances(table: dict[str, Any]) -> str:
    """What a speed was measured on: hardware, dtype and attention."""
    known = [table.get(key) for key in ("processor", "device", "dtype", "attention")]
    return ", ".join(str(part) for part in known if part is not None)


def _table(name: str, table: dict[str, Any]) -> str:
    rows = table["rows"]
    methods, metrics = dict.fromkeys(row["method"] for row in rows), {row["metric"] for row in rows}
    timed = any(row.get("samples_per_sec") for row in rows)
    score = f"{METRICS[rows[0]['metric']]}, %" if len(metrics) == 1 else "score, %"
    columns = [*(["method"] if len(methods) > 1 else []), "r", "schedule", "tokens", "GMACs", "MAC ratio"]
    columns += [*(["metric"] if len(metrics) > 1 else []), score, "interval, %"]
    columns += ["clips a second"] if timed else []
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = {
            "method": row["method"],
            "r": str(row["tome_r"]),
            "schedule": row["schedule"] if row["tome_r"] else NOTHING,
            "tokens": f"{row['tokens_in']} → {row['tokens_out']}",
            "GMACs": f"{row['gmacs']:.3g}",
            "MAC ratio": f"{row['mac_ratio']:.2f}×",
            "metric": METRICS[row["metric"]],
            score: f"{100 * row['score']:.1f}",
            "interval, %": f"{100 * row['low']:.1f} to {100 * row['high']:.1f}",
            "clips a second": f"{row['samples_per_sec']:.0f}" if row.get("samples_per_sec") else NOTHING,
        }
        lines.append("| " + " | ".join(cells[column] for column in columns) + " |")
    explained = [METHODS[method] for method in methods if method in METHODS] if len(methods) > 1 else []
    said = f" {'; '.join(explained)}." if explained else ""
    if timed:
        said += f" Clips a second from waveform to label on {circumstances(table)}{_threads(table)}, "
        said += f"{table['batch_size']} at once."
    return (
        f"**{described(table)}**, with bootstrap intervals over clips "
        f"({100 * table['level']:.0f} %), by `fastast evaluate` in {table['dtype']}; from `results/{name}`.{said}\n\n"
        + "\n".join(lines)
    )


def _threads(table: dict[str, Any]) -> str:
    if table.get("device") != "cpu" or "threads" not in table:
        return ""
    return f", {table['threads']} thread{'s' * (table['threads'] > 1)}"
