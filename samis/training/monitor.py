"""Warnings of a run: gradient norms far above their median, and predictions that have collapsed."""

from __future__ import annotations

import math
from collections import deque
from statistics import median
from typing import Any

from samis.core.contracts import Evaluation

WINDOW = 101
"""Steps whose gradient norms make the running median."""
FEWEST = 20
"""Norms that are needed before one is called a spike."""
COLLAPSED = 0.95
"""Share of the defective images that must be predicted empty, or full, for a validation to count as collapsed."""

_KINDS = {"nothing": "without any defect", "everything": "as defect everywhere"}
"""Kinds of collapse, as the warning names them."""


class TrainingMonitor:
    """Follows gradient norms and validations; its state belongs to the resume point.

    Args:
        spike_ratio: how many times the running median a norm must reach to be a spike; 0 turns it off.
        collapse_after: validations in a row that must have collapsed; 0 turns it off.
    """

    def __init__(self, *, spike_ratio: float, collapse_after: int) -> None:
        self.spike_ratio, self.collapse_after = spike_ratio, collapse_after
        self._norms: deque[float] = deque(maxlen=WINDOW)
        self._collapsed, self._kind = 0, ""

    def ratio(self, norm: float) -> float | None:
        """Return `norm` over the median of the norms before it, then add it to them; None while there are too few.

        >>> monitor = TrainingMonitor(spike_ratio=10, collapse_after=3)
        >>> [monitor.ratio(2.0) for _ in range(20)][-1], monitor.ratio(50.0), monitor.ratio(2.0)
        (None, 25.0, 1.0)
        """
        middle = median(self._norms) if len(self._norms) >= FEWEST else 0.0
        if math.isfinite(norm):
            self._norms.append(norm)
        return norm / middle if middle > 0 else None

    def spike(self, ratio: float) -> bool:
        """Return whether a ratio is a spike."""
        return 0 < self.spike_ratio <= ratio

    def collapse(self, evaluation: Evaluation) -> str | None:
        """Count a validation; return a warning once enough of them in a row predicted no pixel, or every pixel, as defect."""
        shares = {"nothing": evaluation.nothing or 0.0, "everything": evaluation.everything or 0.0}
        kind = max(shares, key=lambda name: shares[name])
        if shares[kind] < COLLAPSED:
            kind = ""
        self._collapsed = self._collapsed + 1 if kind and kind == self._kind else int(bool(kind))
        self._kind = kind
        if not kind or not 0 < self.collapse_after <= self._collapsed:
            return None
        return (
            f"WARNING: collapsed: {shares[kind]:.0%} of the defective validation images are predicted {_KINDS[kind]}, "
            f"in {self._collapsed} validation{'s' if self._collapsed > 1 else ''} in a row; lower optim.lr, "
            "or check the masks with samis check"
        )

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` takes."""
        return {"norms": list(self._norms), "collapsed": self._collapsed, "kind": self._kind}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what ``state`` returned."""
        self._norms = deque(state["norms"], maxlen=WINDOW)
        self._collapsed, self._kind = state["collapsed"], state["kind"]
