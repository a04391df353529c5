"""What a step was, read from the device later: the host goes on while the numbers are on their way.

A step's loss and gradient norm are copied to the host without waiting, and read once they are there. A step that was no
number has changed no weight by then (``samis.training.stepping``), so that nothing is lost by hearing of it late.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class OnTheWay:
    """A small tensor on its way to the host."""

    def __init__(self, values: Tensor) -> None:
        self._values, self._copied = values.detach(), None  # type: tuple[Tensor, Any]
        if values.is_cuda:
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values = host.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()

    def there(self) -> bool:
        """Return whether reading would not wait."""
        if self._copied is not None and self._copied.query():
            self._copied = None  # so that reading does not ask the device once more
        return self._values.device.type == "cpu" and self._copied is None

    def read(self) -> list[float]:
        """Return the numbers; waits for the device if they are not there."""
        if self._copied is not None:
            self._copied.synchronize()
            self._copied = None
        numbers: list[float] = self._values.tolist()
        return numbers


@dataclass
class Reading:
    """One step's numbers.

    Attributes:
        step: its number, from 0. epoch, batch: of its first micro-batch. ids: image ids of each micro-batch.
        values: (1 + micro-batches,), the gradient's norm before clipping, then each loss.
        names: of the parameters that have a gradient. norms: (names,) norms of their gradients, on the device; or None.
        scaled: whether a gradient scaler looks after norms that are no number, by skipping the step.
    """

    step: int
    epoch: int
    batch: int
    ids: list[list[str]]
    values: OnTheWay
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

    def trouble(self) -> str | None:
        """Return what was no finite number in this step, where, and on which images; None if all were."""
        for number, loss in enumerate(self.losses):
            if not math.isfinite(loss):
                where = f"batch {self.batch + number} of epoch {self.epoch}"
                return f"the loss is {loss} on images {', '.join(self.ids[number])} ({where})"
        if math.isfinite(self.norm) or self.scaled:
            return None
        first = first_bad(self.names, self.norms)
        place = f"; counted from the loss backwards, the first such gradient is that of {first}" if first else ""
        return f"the gradient's norm is {self.norm} after images {self.images()}{place}"


def first_bad(names: list[str], norms: Tensor | None) -> str | None:
    """Return the parameter nearest to the loss whose gradient is not finite: the last in the order of registration.

    The backward pass carries a NaN on to all modules before the one that made it.
    """
    if norms is None:
        return None
    bad = [name for name, norm in zip(names, norms.tolist(), strict=True) if not math.isfinite(norm)]
    return bad[-1] if bad else None


class Readings:
    """Steps whose numbers nobody has read yet, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[Reading] = deque()

    def add(self, reading: Reading) -> None:
        """Take a step that was just enqueued."""
        self._waiting.append(reading)

    def good(self) -> list[Reading]:
        """Take out the steps that are there, up to the first that was no number; waits for nothing."""
        taken = []
        while self._waiting and self._waiting[0].values.there() and not self._waiting[0].trouble():
            taken.append(self._waiting.popleft())
        return taken

    def stuck(self) -> bool:
        """Return whether the oldest step is known to have been no number."""
        return bool(self._waiting) and self._waiting[0].values.there() and self._waiting[0].trouble() is not None

    def all(self) -> list[Reading]:
        """Take out every step; waits for the device."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken


def merged(troubles: list[dict[int, str]]) -> dict[int, str]:
    """Return step -> trouble from those of all processes; a loss is the reason where there is one, a norm its result.

    >>> merged([{3: "the gradient's norm is nan"}, {3: "the loss is nan on images a"}])
    {3: 'the loss is nan on images a'}
    """
    steps = sorted({step for each in troubles for step in each})
    found: dict[int, Any] = {}
    for step in steps:
        told = [each[step] for each in troubles if step in each]
        losses = [text for text in told if text.startswith("the loss")]
        found[step] = "; ".join(losses or told[:1])
    return found
