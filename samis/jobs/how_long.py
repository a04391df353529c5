"""Estimates how long trainings take on this machine, from one measured micro-batch of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch

from samis.config import Experiment
from samis.data.configured import load_training
from samis.factory import build_batch_maker, build_learner
from samis.training.precision import default_device

VALIDATING = 1.15
"""What validations and resume points add to the steps, as a factor; seen on steel on a CPU, a rough figure."""


def estimate(configs: Sequence[Experiment]) -> None:
    """Measure each training that is not finished, print each time and the sum."""
    left = [
        config
        for config in configs
        if not (Path(config.training.out or f"checkpoints/runs/{config.experiment}") / "provenance.json").exists()
    ]
    total = 0.0
    for number, config in enumerate(left, 1):
        one = VALIDATING * seconds(config)
        total += one
        print(f"{number}/{len(left)} {config.experiment}: about {in_words(one)}", flush=True)
    if left:
        where = "on the GPU" if torch.cuda.is_available() else "without a GPU"
        print(
            f"{len(left)} trainings {where}: about {in_words(total)} together, however many run at once; scoring comes on top"
        )


def seconds(config: Experiment) -> float:
    """Return the seconds that all steps of a training take, by the second of two micro-batches, forward and backward."""
    device = default_device()
    learner = build_learner(config).to(device).train()
    batches = build_batch_maker(config, training=True)(load_training(config))
    took = 0.0
    for turn, batch in enumerate(batches):
        start = time.perf_counter()
        learner(batch.to(device)).total.backward()
        learner.zero_grad()
        took = time.perf_counter() - start
        if turn == 1:
            break
    return took * len(batches) * config.training.epochs


def in_words(total: float) -> str:
    """Return a duration in words.

    >>> in_words(45 * 60), in_words(3 * 3600)
    ('45 minutes', '3.0 hours')
    """
    return f"{max(1, round(total / 60))} minutes" if total < 2 * 3600 else f"{total / 3600:.1f} hours"
