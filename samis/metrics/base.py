"""What every metric has: the names of its numbers, a formula for one image, and how a set's numbers are computed.

`ImageScores` is what a formula returns for one image, `SetScores` the same over many. Means and pooled numbers
are both sums, so it does not matter how the images were batched or spread over processes
(`samis.metrics.accumulate` keeps those sums as a torchmetrics metric).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from samis.metrics.pair import Pair
from samis.metrics.stack import Stack


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
        """Add another metric's numbers of the same image."""
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
    stacks: ClassVar[bool] = False
    """Whether `formula` takes a `samis.metrics.stack.Stack` too, under ``pysod``; its numbers are then (n,) and curves (n, 256)."""
    totals: ClassVar[dict[str, int]] = {}
    """Counts to add up: name -> length."""

    @staticmethod
    def formula(pair: Any) -> ImageScores:
        """Score one image, a `Pair`."""
        raise NotImplementedError

    @staticmethod
    def finish(scores: SetScores) -> dict[str, float]:
        """Compute the numbers of a whole set from its mean curves and totals."""
        return {}


def score_pair(pair: Pair, parts: Iterable[type[ImageMetric]]) -> ImageScores:
    """Score one image with several metrics.

    Args:
        pair: map and truth.
        parts: the metrics.
    """
    scores = ImageScores(protocol=pair.protocol, parts=tuple(parts))
    for part in scores.parts:
        scores.update(part.formula(pair))
    return scores


def score_pairs(pairs: Sequence[Pair], parts: Iterable[type[ImageMetric]]) -> list[ImageScores]:
    """Score several images of one protocol as `score_pair` does each: those kept as bytes at once, where a metric can.

    Args:
        pairs: maps and truths.
        parts: the metrics.
    """
    parts = tuple(parts)
    bytewise = [pair.protocol == "pysod" and len(pair.levels) == 256 and type(pair) is Pair for pair in pairs]
    chosen = [index for index, suits in enumerate(bytewise) if suits]
    if len(chosen) < 2:
        return [score_pair(pair, parts) for pair in pairs]
    stack = Stack([pairs[index] for index in chosen])
    stack.share()
    scores = [ImageScores(protocol=pair.protocol, parts=parts) for pair in pairs]
    for part in parts:
        if part.stacks:
            stacked = part.formula(stack)
            values = {name: np.asarray(number).tolist() for name, number in stacked.values.items()}
            for place, index in enumerate(chosen):
                scores[index].values.update({name: numbers[place] for name, numbers in values.items()})
                scores[index].curves.update({name: curves[place] for name, curves in stacked.curves.items()})
        for index, pair in enumerate(pairs):
            if not (part.stacks and bytewise[index]):
                scores[index].update(part.formula(pair))
    return scores


def finish_all(scores: SetScores, parts: Iterable[type[ImageMetric]]) -> dict[str, float]:
    """Return the means and the numbers of the metrics' curves and totals, in the metrics' order.

    Args:
        scores: of the whole set.
        parts: the metrics.
    """
    numbers: dict[str, float] = {}
    for part in parts:
        numbers.update({name: scores.values[name] for name in part.values if name in scores.values})
        if all(name in scores.curves for name in part.curves):  # published IoU has none, clean images neither
            numbers.update(part.finish(scores))
    return numbers
