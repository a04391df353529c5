"""How far a run is, and how its epochs are cut into steps; converts the first when the second changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass
class TrainerState:
    """How far a run is.

    Attributes:
        epoch: epochs finished, their validation included.
        batches: micro-batches of a process finished in the current epoch.
        step: optimizer steps finished.
        skipped: steps skipped in a row, up to the last one.
        best: best validation value so far, or None.
        best_epoch: its epoch.
        waiting: validations since then.
        over_minutes: the ``training.minutes`` that were used up; 0 while they are not.
    """

    epoch: int = 0
    batches: int = 0
    step: int = 0
    skipped: int = 0
    best: float | None = None
    best_epoch: int = -1
    waiting: int = 0
    over_minutes: float = 0.0


@dataclass(frozen=True)
class StepPlan:
    """How an epoch is cut into steps.

    Attributes:
        epochs: of the run.
        processes: that share a batch.
        batch_size: images of one process's micro-batch.
        accumulation: micro-batches a step.
        batches: micro-batches of one process in an epoch.
        precision: no, bf16 or fp16; empty where an older resume point does not record it.
    """

    epochs: int
    processes: int
    batch_size: int
    accumulation: int
    batches: int
    precision: str = ""

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(self.batches / self.accumulation)

    @property
    def images(self) -> int:
        """Images that a step averages over."""
        return self.processes * self.batch_size * self.accumulation


def carried_over(state: TrainerState, old: StepPlan, new: StepPlan) -> TrainerState:
    """Return the state under another plan: the same epoch, and as many of its images seen, rounded down to a whole step.

    Args:
        state: under the old plan.
        old: plan of the resume point.
        new: plan of this run.

    >>> old = StepPlan(epochs=3, processes=2, batch_size=2, accumulation=1, batches=6)
    >>> new = StepPlan(epochs=3, processes=1, batch_size=2, accumulation=2, batches=12)
    >>> carried_over(TrainerState(epoch=1, batches=3, step=9), old, new)
    TrainerState(epoch=1, batches=6, step=9, skipped=0, best=None, best_epoch=-1, waiting=0, over_minutes=0.0)
    """
    if (old.processes, old.batch_size, old.accumulation, old.batches) == (
        new.processes, new.batch_size, new.accumulation, new.batches,
    ):  # fmt: skip
        return state
    if state.batches >= old.batches:
        batches = new.batches
    else:
        seen = state.batches * old.batch_size * old.processes
        batches = min(seen // (new.batch_size * new.processes), new.batches)
        batches -= batches % new.accumulation
    step = state.epoch * new.steps + math.ceil(batches / new.accumulation)
    return replace(state, batches=batches, step=step)


def changes(old: StepPlan, new: StepPlan) -> list[str]:
    """Return what another plan changes in a run that is resumed, a line each."""
    lines = []
    if old.processes != new.processes:
        lines.append(f"it ran on {old.processes} process(es), now on {new.processes}; the images are divided again")
    if old.images != new.images:
        lines.append(
            f"a step averages over {new.images} images, before {old.images} (training.batch_size, training.accumulation and "
            "the number of processes decide it)"
        )
    elif old.accumulation != new.accumulation:
        lines.append(f"a step is summed from {new.accumulation} micro-batches, before {old.accumulation}")
    if old.steps != new.steps:
        lines.append(f"an epoch has {new.steps} steps, before {old.steps}")
    if old.epochs != new.epochs:
        lines.append(f"the learning-rate schedule spans {new.epochs} epochs, before {old.epochs}")
    if old.precision and old.precision != new.precision:
        lines.append(f"it computes in mixed_precision {new.precision}, before in {old.precision}")
    if lines:
        lines.append("the run continues correctly, but not bit for bit as it would have without these changes")
    return lines
