"""A card's section on training, from the run's `results.json`."""

from __future__ import annotations

from typing import Any

from .card_facts import CardFacts
from .card_schema import METRICS
from .card_tables import CORPORA, NOT_MEASURED, title_of

# Settings that say how much of the data was augmented; 0 or none: not at all.
AUGMENTATION = {
    "mixup": "mixup for a share of {} of the clips",
    "frequency_mask": "frequency masks of up to {} bins",
    "time_mask": "time masks of up to {} frames",
    "shift": "shifts of up to {} s",
    "gain": "gain of up to {} dB",
    "noise": "noise for a share of {} of the clips",
    "speed": "speed by a factor of up to {}",
}
NOTHING = (0, 0.0, None, False, 1.0)


def dataset_ids(facts: CardFacts) -> list[str]:
    """The Hub's ids of the corpora trained and scored on."""
    names = [facts.settings.get("corpus"), *(table["corpus"] for table in facts.tables.values())]
    return sorted({CORPORA[name][1] for name in names if name in CORPORA})


def training_section(facts: CardFacts) -> str:
    """Data, recipe, teacher and front end; or that the run's results are not there."""
    extractor = facts.extractor
    front_end = (
        f"**Front end.** Log-mel, {extractor['num_mel_bins']} bins, mean {extractor['mean']:.4f}, standard deviation "
        f"{extractor['std']:.4f}, as `FastASTFeatureExtractor` computes it."
    )
    if not facts.training:
        return f"{NOT_MEASURED} The training run's results file is not with this checkpoint.\n\n{front_end}"
    parts = [_data(facts.training), _recipe(facts.training, facts.settings)]
    if facts.settings.get("teacher"):
        parts.append(_teacher(facts.settings, facts.training))
    return "\n\n".join([*parts, front_end, _score(facts.training)])


def named(name: str) -> str:
    """A model or folder: in backticks, but for a description in several words."""
    return name if " " in name else f"`{name}`"


def _data(training: dict[str, Any]) -> str:
    settings, clips = training["settings"], training["clips"]
    fold = f", all folds but {training['fold']}" if training.get("fold") is not None else ""
    others = named(settings.get("extra_data") or "another folder")
    extra = f", and {clips['extra']} more of {others}" if clips.get("extra") else ""
    count = f"{clips['train']} clips" if "train" in clips else "A stream of clips"
    left = sum((training.get("missing") or {}).values())
    without = f" {left} clips were missing." if left else ""
    stages = [_stage(stage, others) for stage in training.get("earlier_stages") or []]
    earlier = f" Before that, in stages of their own: {'; '.join(stages)}." if stages else ""
    return f"**Data.** {count} of {title_of(settings['corpus'])}{fold}{extra}.{earlier}{without}"


def _stage(stage: dict[str, Any], others: str) -> str:
    extra = stage["clips"].get("extra")
    added = f" and {extra} of {named(stage['extra_data']) if stage.get('extra_data') else others}" if extra else ""
    return f"{stage['clips']['train']} clips{added}"


def _recipe(training: dict[str, Any], settings: dict[str, Any]) -> str:
    run = training["training"]
    length = f"{run['max_steps']} steps" if run["max_steps"] > 0 else f"{run['num_train_epochs']:g} epochs"
    batch = f"batches of {run['per_device_train_batch_size']}"
    if run["gradient_accumulation_steps"] > 1 or run["world_size"] > 1:
        batch += f" on {run['world_size']} devices, {run['gradient_accumulation_steps']} of them for each step"
    start = f"from {named(settings['model'])}" if settings.get("model") else "from random weights"
    if "model" in training.get("local", ()) and " " not in settings["model"]:
        start = f"from the local checkpoint {named(settings['model'])}"
    drawn = settings.get("train_r")
    merging = (
        f"r drawn at each step from {', '.join(map(str, drawn))}"
        if drawn
        else f"`tome_r` {_r(settings['tome_r'])} in training, too"
        if settings.get("tome_r")
        else "merging in training, too, by the `tome_r` that it began with"
    )
    augmented = [
        words.format(f"{settings[k]:g}") for k, words in AUGMENTATION.items() if settings.get(k) not in NOTHING
    ]
    precision = "bfloat16" if run["bf16"] else "float16" if run["fp16"] else "float32"
    return (
        f"**Recipe.** {length} {start}, {batch}, learning rate {run['learning_rate']:g}, weight decay "
        f"{run['weight_decay']:g}, seed {run['seed']}, in {precision}; {merging}. "
        f"Augmentation: {', '.join(augmented) or 'none'}."
    )


def _teacher(settings: dict[str, Any], training: dict[str, Any]) -> str:
    how = "once, on clean audio" if settings.get("cache_teacher") else "on the same augmented audio as the student"
    measured, metric = training.get("teacher") or {}, training["metric"]
    known = [named(str(measured["backbone"]))] if measured.get("backbone") else []
    if measured.get(metric) is not None:
        known.append(f"{METRICS[metric]} {100 * measured[metric]:.1f} % on the test split")
    score = f" ({', '.join(known)})" if known else ""
    weights = [("λ", settings.get("lam")), ("τ", settings.get("tau"))]
    weighed = [f"{sign} = {value:g}" for sign, value in weights if value is not None]
    return (
        f"**Distillation.** Cross-model (CMKD) from a teacher, {named(settings['teacher'])}{score}, which heard each "
        f"clip {how}{'; ' if weighed else ''}{', '.join(weighed)}."
    )


def _score(training: dict[str, Any]) -> str:
    weights, score = next(iter(reversed(training["test"].items())))
    value = score[training["metric"]]
    return f"**Score of the run itself**, {weights} weights: {METRICS[training['metric']]} {100 * value:.1f} %."


def _r(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    return "0" if values in ([None], []) else str(values[0]) if len(values) == 1 else str(values)
