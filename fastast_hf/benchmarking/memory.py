"""How much memory a training step takes beyond the weights and the optimizer's state: activations and gradients."""

from __future__ import annotations

import torch
from torch.distributed._tools.mem_tracker import MemTracker

from .training_step import TrainingStep


def step_bytes(step: TrainingStep, tome_r: int | None, schedule: str = "constant") -> int | None:
    """Make a training step and give the bytes it takes at its peak, on top of weights and moments.

    On a GPU torch's allocator counts them. On a CPU torch's tracker adds up the tensors that are alive, which is exact
    and leaves out what an operator needs within itself.

    Args:
        step: Weights, moments and batch; the weights are updated.
        tome_r: Tokens merged in every layer; None for stock AST.
        schedule: How they are spread over the layers.

    Returns:
        None on a device that is neither.
    """
    device, forward = step.model.device, step.forward_pass(tome_r, schedule)
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step(forward)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        return None
    tracker = MemTracker()
    moments = [tensor for state in step.optimizer.state.values() for tensor in state.values()]
    tracker.track_external(*step.model.parameters(), *moments, step.input_values, step.labels)
    with tracker:
        before = tracker.get_tracker_snapshot("current")[device]["Total"]
        step(forward)
    return tracker.get_tracker_snapshot("peak")[device]["Total"] - before
