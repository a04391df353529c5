"""What every metric is: the names of its numbers, a formula for one image, and how a set's numbers come of it.

`ImageScores` is what a formula returns for one image, `SetScores` what it comes to over many. Means and pooled numbers
are both sums, so it does not matter how the images were batched or spread over processes
(`samis.metrics.accumulate` keeps those sums as a torchmetrics metric).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from samis.metrics.pair import Pair


@dataclass
class ImageScores:
    """What one image contributes.

    Attributes:
        values: per-image numbers; a set's value is their mean over the images that have it.
        curves: (256,) float64 each, by threshold (`THRESHOLDS`); a set's curve is their mean.
        totals: counts, (k,) float64 each; a set's are their sum, and pooled numbers are computed from that.
        protocol: the protocol they were scored under.
        parts: the metrics they come from.
    """

    values: dict[str, float] = field(default_factory=dict)
    curves: dict[str, np.ndarray] = field(default_factory=dict)
    totals: dict[str, np.ndarray] = field(default_factory=dict)
    protocol: str = "pysod"
    parts: tuple[type[ImageMetric], ...] = ()

    def update(self, other: ImageScores) -> None:
        """Take over another metric's numbers of the same image."""
        self.values.update(other.values)
        self.curves.update(other.curves)
        self.totals.update(other.totals)


@dataclass
class SetScores:
    """Means of values and curves, and sums of totals, over a set of images; what a metric's `finish` reads."""

    values: dict[str, float]
    curves: dict[str, np.ndarray]
    totals: dict[str, np.ndarray]


class ImageMetric:
    """A metric: a subclass names its numbers and gives `formula`; `finish` turns curves and totals into numbers.

    It holds no state; `samis.metrics.accumulate.ProtocolMetric` is the torchmetrics metric for any number of them.
    """

    values: ClassVar[dict[str, int]] = {}
    """Per-image numbers: name -> +1 if higher is better, -1 if lower."""
    finished: ClassVar[dict[str, int]] = {}
    """Numbers that exist for a set only, by `finish`: name -> +1 or -1."""
    curves: ClassVar[tuple[str, ...]] = ()
    """Per-image curves over the 256 thresholds."""
    totals: ClassVar[dict[str, int]] = {}
    """Counts to add up: name -> length."""

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        raise NotImplementedError

    @staticmethod
    def finish(scores: SetScores) -> dict[str, float]:
        """Compute the numbers of a whole set from its mean curves and totals."""
        return {}


def score_pair(pair: Pair, parts: Iterable[type[ImageMetric]]) -> ImageScores:
    """Score one image with several metrics."""
    scores = ImageScores(protocol=pair.protocol, parts=tuple(parts))
    for part in scores.parts:
        scores.update(part.formula(pair))
    return scores


def finish_all(scores: SetScores, parts: Iterable[type[ImageMetric]]) -> dict[str, float]:
    """Return the means and what the metrics make of curves and totals, in the metrics' order."""
    numbers: dict[str, float] = {}
    for part in parts:
        numbers.update({name: scores.values[name] for name in part.values if name in scores.values})
        if all(name in scores.curves for name in part.curves):  # published IoU has none, clean images neither
            numbers.update(part.finish(scores))
    return numbers
