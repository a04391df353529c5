"""Where a run stands, and how its epochs are cut into steps; carries the one over when the other changes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass
class Position:
    """Where a run stands.

    Attributes:
        epoch: epochs finished, their validation included. batches: micro-batches of a process finished in the running epoch.
        step: optimizer steps finished. skipped: steps skipped in a row, last ones first.
        best: best validation value so far, or None. best_epoch: its epoch. waiting: validations since then.
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
class Plan:
    """How an epoch is cut into steps.

    Attributes:
        epochs: of the run. processes: that share a batch. batch_size: images of one process's micro-batch.
        accumulation: micro-batches a step. batches: micro-batches of one process in an epoch.
        precision: no, bf16 or fp16; empty where a resume point of before does not say.
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


def carried_over(position: Position, old: Plan, new: Plan) -> Position:
    """Return the position under another plan: the same epoch, and as many of its images seen, down to a whole step.

    >>> old = Plan(epochs=3, processes=2, batch_size=2, accumulation=1, batches=6)
    >>> new = Plan(epochs=3, processes=1, batch_size=2, accumulation=2, batches=12)
    >>> carried_over(Position(epoch=1, batches=3, step=9), old, new)
    Position(epoch=1, batches=6, step=9, skipped=0, best=None, best_epoch=-1, waiting=0, over_minutes=0.0)
    """
    if (old.processes, old.batch_size, old.accumulation, old.batches) == (
        new.processes, new.batch_size, new.accumulation, new.batches,
    ):  # fmt: skip
        return position
    if position.batches >= old.batches:
        batches = new.batches
    else:
        seen = position.batches * old.batch_size * old.processes
        batches = min(seen // (new.batch_size * new.processes), new.batches)
        batches -= batches % new.accumulation
    step = position.epoch * new.steps + math.ceil(batches / new.accumulation)
    return replace(position, batches=batches, step=step)


def changes(old: Plan, new: Plan) -> list[str]:
    """Say in one line each what another plan changes in a run that is resumed."""
    said = []
    if old.processes != new.processes:
        said.append(f"it ran on {old.processes} process(es), now on {new.processes}; the images are divided again")
    if old.images != new.images:
        said.append(
            f"a step averages over {new.images} images, before {old.images} (training.batch_size, training.accumulation and "
            "the number of processes make it)"
        )
    elif old.accumulation != new.accumulation:
        said.append(f"a step is summed from {new.accumulation} micro-batches, before {old.accumulation}")
    if old.steps != new.steps:
        said.append(f"an epoch has {new.steps} steps, before {old.steps}")
    if old.epochs != new.epochs:
        said.append(f"the learning-rate schedule spans {new.epochs} epochs, before {old.epochs}")
    if old.precision and old.precision != new.precision:
        said.append(f"it computes in mixed_precision {new.precision}, before in {old.precision}")
    if said:
        said.append("the run goes on soundly, but not bit for bit as it would have without these changes")
    return said
