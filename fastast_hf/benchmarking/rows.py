"""What a benchmark says of one model on one clip length: a row of its table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """What every benchmark says: what was measured, on what, and how fast it is beside stock AST.

    Attributes:
        model: Whose weights.
        implementation: `"AST"` (transformers' own) or `"FastAST"`.
        params_m: Parameters in millions.
        frames: Frames of a clip, one each 10 ms.
        batch_size: Clips in a batch.
        device: `"cpu"`, `"cuda"`, …
        dtype: Of weights and activations; in training autocast's, with float32 weights.
        attn: Attention implementation.
        tome_r: Tokens merged in every layer; None for stock AST.
        schedule: How they are spread over the layers; None for stock AST.
        tokens_in: Tokens entering the first layer.
        tokens_out: Tokens left after the last.
        gmacs: 10^9 multiply-accumulates for a clip, matching not counted.
        mac_ratio: Stock AST's MACs over this model's: the limit of what merging can gain.
        samples_per_sec: Clips a second.
        speedup: Median over rounds of stock AST sdpa's time over this one's in the same round.
        efficiency: `speedup / mac_ratio`: the share of the limit that is reached.
        peak_mem_mb: Most memory in use for the batch, weights included, in 10^6 bytes; None where it was not measured.
        rounds: Measured, after the warm-up.
        torch: Its version.
        transformers: Its version.
        threads: Of torch on the CPU.
        processor: Name of the CPU or GPU.
        date: Of the measurement.
    """

    model: str
    implementation: str
    params_m: float
    frames: int
    batch_size: int
    device: str
    dtype: str
    attn: str
    tome_r: int | None
    schedule: str | None
    tokens_in: int
    tokens_out: int
    gmacs: float
    mac_ratio: float
    samples_per_sec: float
    speedup: float
    efficiency: float
    peak_mem_mb: float | None = None
    rounds: int
    torch: str
    transformers: str
    threads: int
    processor: str
    date: str


@dataclass(frozen=True, kw_only=True)
class BenchmarkRow(Row):
    """A forward pass and its front end. Times are for a batch; medians over rounds unless p95.

    Attributes:
        macts: 10^6 numbers that matrix products and the convolution write for a clip, as timm counts activations.
        front_end: The feature extractor; None where it cannot be imported.
        front_end_ms: From waveforms in host memory to the model's input on its device.
        model_ms: From there to logits; `samples_per_sec` and `speedup` are of this part.
        model_p95_ms: 95th percentile.
        end_to_end_ms: From waveforms to logits.
        end_to_end_p95_ms: 95th percentile.
        end_to_end_samples_per_sec: Clips a second from waveforms to logits.
        speedup_end_to_end: `speedup` from waveforms to logits, each with its own front end.
    """

    macts: float
    front_end: str | None
    front_end_ms: float | None = None
    model_ms: float
    model_p95_ms: float
    end_to_end_ms: float | None = None
    end_to_end_p95_ms: float | None = None
    end_to_end_samples_per_sec: float | None = None
    speedup_end_to_end: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingRow(Row):
    """Training steps: `gmacs` are three forward passes', `peak_mem_mb` is weights, AdamW's moments and `step_mem_mb`.

    Attributes:
        step_ms: Of the whole batch; median over rounds.
        step_p95_ms: 95th percentile.
        step_mem_mb: What the step takes on top of weights and moments: activations and gradients. None where it was
            not measured.
    """

    step_ms: float
    step_p95_ms: float
    step_mem_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class DistillationRow(TrainingRow):
    """The same without a teacher, and steps with one. None in stock AST's row but for what is the teacher's own.

    Attributes:
        teacher: Which.
        teacher_gmacs: 10^9 multiply-accumulates of its forward pass for a clip.
        teacher_ms: Its forward pass alone, for the batch; median over rounds, as the other times.
        teacher_front_end_ms: The batch's waveforms to its input; next to nothing where it takes the student's.
        distillation_ms: The step with the teacher: student, teacher's front end, teacher, both losses, update.
        distillation_p95_ms: 95th percentile.
        distillation_samples_per_sec: Clips a second.
        kept: Median over rounds of (step without the teacher + teacher's forward pass alone) / step with the teacher:
            the share that is kept of the throughput with each model going through its MACs as fast as on its own.
        kept_by_macs: Median over rounds of (step without the teacher × MACs of both / MACs of the student's step) /
            step with the teacher: the same if the teacher went through its MACs as fast as the student.
    """

    teacher: str
    teacher_gmacs: float
    teacher_ms: float
    teacher_front_end_ms: float
    distillation_ms: float | None = None
    distillation_p95_ms: float | None = None
    distillation_samples_per_sec: float | None = None
    kept: float | None = None
    kept_by_macs: float | None = None
