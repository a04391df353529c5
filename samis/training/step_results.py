"""The numbers of a step, read from the device later: the host goes on while they are copied.

A step's loss and gradient norm are copied to the host without waiting, and read once they have arrived. A step with NaN or
infinity has changed no weight (``samis.training.stepping``), so that it does no harm to read it late.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class AsyncValues:
    """A small tensor that is being copied to the host."""

    def __init__(self, values: Tensor) -> None:
        self._values, self._copied = values.detach(), None  # type: tuple[Tensor, Any]
        if values.is_cuda:
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values = host.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()

    def ready(self) -> bool:
        """Return whether result would not wait."""
        if self._copied is not None and self._copied.query():
            self._copied = None  # so that result does not query the device again
        return self._values.device.type == "cpu" and self._copied is None

    def read(self) -> list[float]:
        """Return the numbers; waits for the device if they have not arrived."""
        if self._copied is not None:
            self._copied.synchronize()
            self._copied = None
        numbers: list[float] = self._values.tolist()
        return numbers


@dataclass
class StepResult:
    """One step's numbers.

    Attributes:
        step: its number, from 0.
        epoch: of its first micro-batch.
        batch: index of its first micro-batch in the epoch.
        ids: image ids of each micro-batch.
        values: (1 + micro-batches,), the gradient's norm before clipping, then each loss.
        names: of the parameters that have a gradient.
        norms: (names,) norms of their gradients, on the device; or None.
        scaled: whether a gradient scaler skips steps whose norm is not finite.
    """

    step: int
    epoch: int
    batch: int
    ids: list[list[str]]
    values: AsyncValues
    names: list[str]
    norms: Tensor | None
    scaled: bool

    @property
    def norm(self) -> float:
        """The gradient's norm."""
        return self.values.read()[0]

    @property
    def losses(self) -> list[float]:
        """The micro-batches' losses."""
        return self.values.read()[1:]

    def images(self) -> str:
        """Return the image ids of the step, for people."""
        return ", ".join(each for of_batch in self.ids for each in of_batch)

    def non_finite(self) -> str | None:
        """Return what was not finite in this step, where, and on which images; None if all was finite."""
        for number, loss in enumerate(self.losses):
            if not math.isfinite(loss):
                where = f"batch {self.batch + number} of epoch {self.epoch}"
                return f"the loss is {loss} on images {', '.join(self.ids[number])} ({where})"
        if math.isfinite(self.norm) or self.scaled:
            return None
        first = first_non_finite(self.names, self.norms)
        place = f"; counted from the loss backwards, the first such gradient is that of {first}" if first else ""
        return f"the gradient's norm is {self.norm} after images {self.images()}{place}"


def first_non_finite(names: list[str], norms: Tensor | None) -> str | None:
    """Return the parameter nearest to the loss whose gradient is not finite: the last in the order of registration.

    The backward pass carries a NaN on to all modules before the one that made it.
    """
    if norms is None:
        return None
    bad = [name for name, norm in zip(names, norms.tolist(), strict=True) if not math.isfinite(norm)]
    return bad[-1] if bad else None


class PendingSteps:
    """Steps whose numbers have not been read yet, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[StepResult] = deque()

    def add(self, result: StepResult) -> None:
        """Add a step that was just enqueued."""
        self._waiting.append(result)

    def take_finite(self) -> list[StepResult]:
        """Remove and return the steps that have arrived, up to the first that is not finite; does not wait."""
        taken = []
        while self._waiting and self._waiting[0].values.ready() and not self._waiting[0].non_finite():
            taken.append(self._waiting.popleft())
        return taken

    def oldest_failed(self) -> bool:
        """Return whether the oldest step has arrived and is not finite."""
        return bool(self._waiting) and self._waiting[0].values.ready() and self._waiting[0].non_finite() is not None

    def take_all(self) -> list[StepResult]:
        """Remove and return every step; waits for the device."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


def merge_failures(failures: list[dict[int, str]]) -> dict[int, str]:
    """Return step -> message from those of all processes; a loss that is not finite is the cause, a norm its result.

    >>> merge_failures([{3: "the gradient's norm is nan"}, {3: "the loss is nan on images a"}])
    {3: 'the loss is nan on images a'}
    """
    steps = sorted({step for each in failures for step in each})
    merged: dict[int, Any] = {}
    for step in steps:
        messages = [each[step] for each in failures if step in each]
        losses = [text for text in messages if text.startswith("the loss")]
        merged[step] = "; ".join(losses or messages[:1])
    return merged
