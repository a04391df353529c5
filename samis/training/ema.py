"""``training.ema``: an exponential moving average of the trained weights, which is what is validated and kept.

Code: torch's own multi-tensor update (``torch.optim.swa_utils.get_ema_multi_avg_fn``), without its copy of the whole module:
only what is trained is averaged.
Differs: the decay grows from 2/11 to its full value, as min(decay, (1 + n) / (10 + n)) after n steps, so that the
average of a short run does not stay near its first weights (as in TensorFlow's ExponentialMovingAverage with ``num_updates``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from samis.errors import UserError


class Ema:
    """The average of a learner's trained weights.

    Args:
        learner: as the optimizer sees it, on its device.
        decay: in [0, 1); 0 keeps no average.

    Raises:
        UserError: another decay.
    """

    def __init__(self, learner: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise UserError(
                f"training.ema: expected a decay of at least 0 (no average) and below 1, such as 0.99, got {decay}",
                code="E-TRAIN-RANGE",
            )
        self.decay, self.count = decay, 0
        self._weights = [parameter for parameter in learner.parameters() if parameter.requires_grad and decay]
        self._average = [weight.detach().clone() for weight in self._weights]

    def update(self) -> None:
        """Add a step's weights to the average."""
        if self._weights:
            self.count += 1
            decay = min(self.decay, (1 + self.count) / (10 + self.count))
            get_ema_multi_avg_fn(decay)(self._average, self._weights, 0)  # type: ignore[no-untyped-call]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the learner the averaged weights inside the block."""
        if not self._weights:
            yield
            return
        trained = [weight.detach().clone() for weight in self._weights]
        self._fill(self._average)
        try:
            yield
        finally:
            self._fill(trained)

    def state(self) -> dict[str, Any] | None:
        """Return what ``restore`` takes; None without an average."""
        return {"count": self.count, "average": self._average} if self._weights else None

    def restore(self, state: dict[str, Any] | None) -> None:
        """Continue from what ``state`` returned."""
        if state and self._weights:
            self.count = int(state["count"])
            for own, saved in zip(self._average, state["average"], strict=True):
                own.copy_(saved)

    def _fill(self, values: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self._weights, values, strict=True):
                weight.copy_(value)
