"""From many images to one line: means, curves, pooled numbers, and the same for a resampled set at little cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from samis.errors import UserError
from samis.metrics.base import ImageMetric, ImageScores, SetScores, finish_all


@dataclass(frozen=True)
class ScoreStack:
    """The scores of n images as arrays; what an image does not have counts as absent, not as 0.

    Attributes:
        parts: the metrics that made them.
        value_names: k names.
        values: (n, k) float64, 0 where absent.
        has_value: (n, k) float64, 1 or 0.
        curve_names: c names.
        curves: (n, c * 256) float64, 0 where absent.
        has_curve: (n, c) float64, 1 or 0.
        total_lengths: name -> length.
        totals: (n, sum of lengths) float64.
    """

    parts: tuple[type[ImageMetric], ...]
    value_names: tuple[str, ...]
    values: np.ndarray
    has_value: np.ndarray
    curve_names: tuple[str, ...]
    curves: np.ndarray
    has_curve: np.ndarray
    total_lengths: dict[str, int]
    totals: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


def stack_scores(scores: Sequence[ImageScores]) -> ScoreStack:
    """Put the images' scores into arrays.

    Args:
        scores: one per image, all of the same protocol and metrics.

    Raises:
        UserError: no image, or scores of different protocols or metrics.
    """
    if not scores:
        raise UserError("no image to summarise; score at least one", code="E-METRIC-NO-IMAGES")
    parts = scores[0].parts
    if any(image.parts != parts or image.protocol != scores[0].protocol for image in scores):
        raise UserError("scores of different protocols or metrics; summarise them separately", code="E-METRIC-MIXTURE")
    value_names = tuple(name for part in parts for name in part.values)
    curve_names = tuple(name for part in parts for name in part.curves)
    total_lengths = {name: length for part in parts for name, length in part.totals.items()}
    zeros = {name: np.zeros(length) for name, length in total_lengths.items()}
    blank, nothing = np.zeros(256), [np.zeros(0)]
    return ScoreStack(
        parts=parts,
        value_names=value_names,
        values=_table([[image.values.get(name, 0.0) for name in value_names] for image in scores]),
        has_value=_table([[float(name in image.values) for name in value_names] for image in scores]),
        curve_names=curve_names,
        curves=_table(
            [np.concatenate(nothing + [image.curves.get(name, blank) for name in curve_names]) for image in scores]
        ),
        has_curve=_table([[float(name in image.curves) for name in curve_names] for image in scores]),
        total_lengths=total_lengths,
        totals=_table(
            [
                np.concatenate(nothing + [image.totals.get(name, zeros[name]) for name in total_lengths])
                for image in scores
            ]
        ),
    )


def _table(rows: Sequence[Sequence[float] | np.ndarray]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def set_scores(stack: ScoreStack, index: np.ndarray | None = None) -> SetScores:
    """Average and add up.

    Args:
        stack: the images' scores.
        index: integer array of image numbers, repeats count as often as they occur; None: every image once.
    """
    n = len(stack)
    weights = np.ones(n) if index is None else np.bincount(index, minlength=n).astype(np.float64)
    value_counts, curve_counts = weights @ stack.has_value, weights @ stack.has_curve
    value_sums, total_sums = weights @ stack.values, weights @ stack.totals
    curve_sums = (weights @ stack.curves).reshape(-1, 256)
    ends = np.cumsum([0, *stack.total_lengths.values()])
    return SetScores(
        {name: float(value_sums[i] / value_counts[i]) for i, name in enumerate(stack.value_names) if value_counts[i]},
        {name: curve_sums[i] / curve_counts[i] for i, name in enumerate(stack.curve_names) if curve_counts[i]},
        {name: total_sums[ends[i] : ends[i + 1]] for i, name in enumerate(stack.total_lengths)},
    )


def summarise_stack(stack: ScoreStack, index: np.ndarray | None = None) -> dict[str, float]:
    """Compute a set's numbers: means over images, maxima of mean curves, ratios of pooled counts.

    Args:
        stack: the images' scores.
        index: integer array of image numbers, for a bootstrap sample; None: every image once.

    Returns:
        Numbers by name, in the order of the metrics; a number that no image has is left out.
    """
    return finish_all(set_scores(stack, index), stack.parts)


def summarise(scores: Sequence[ImageScores]) -> dict[str, float]:
    """Compute a set's numbers from its images' scores; see `summarise_stack`."""
    return summarise_stack(stack_scores(scores))


def mean_curves(scores: Sequence[ImageScores]) -> dict[str, np.ndarray]:
    """Average the images' curves: (256,) each, by `samis.metrics.THRESHOLDS`."""
    return set_scores(stack_scores(scores)).curves
