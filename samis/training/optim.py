"""AdamW and its schedule: the learning rate is a pure function of the global step, so it is right on any number of processes.

A scheduler prepared by Accelerate steps once a process and call and would finish early (huggingface/accelerate#2926);
here the trainer calls ``lr_factor`` at each optimizer step and sets the learning rate itself.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from samis.config import OptimConfig
from samis.errors import ConfigError


def lr_factor(step: float, total: int, *, warmup_share: float, final_share: float) -> float:
    """Return the factor on every group's base lr at `step` of `total` steps, counted from 0.

    Linear from near 0 to 1 over the warm-up, then a cosine from 1 to `final_share` at the last step.

    >>> round(lr_factor(99, 100, warmup_share=0.1, final_share=0.01), 4)
    0.01
    """
    warmup = round(total * warmup_share)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, total - 1 - warmup)
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def build_optimizer(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.AdamW:
    """Build AdamW over a learner's ``parameter_groups``.

    Each group's base lr is ``config.lr`` times its ``lr_scale``; only groups with ``decay`` decay. Parameters that need no
    gradient are left out, so that decay cannot move frozen weights.

    Args:
        groups: each with ``params``, ``lr_scale`` and ``decay``.
        config: learning rate, weight decay and betas.

    Raises:
        ConfigError: every parameter is frozen.
    """
    built = []
    for group in groups:
        trained = [p for p in group["params"] if p.requires_grad]
        if trained:
            lr = config.lr * group["lr_scale"]
            decay = config.weight_decay if group["decay"] else 0.0
            built.append({"params": trained, "lr": lr, "base_lr": lr, "weight_decay": decay})
    if not built:
        raise ConfigError(
            "adapter: nothing to train, every parameter is frozen; choose an adapter with a target",
            code="E-TRAIN-FROZEN",
        )
    # One kernel for all: on a CPU a step of 37 M parameters takes a fifth of the time.
    return torch.optim.AdamW(built, lr=config.lr, betas=(0.9, config.beta2), fused=True)


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's lr to its base lr times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
