"""Intervals and tests over images: the percentile bootstrap (Efron 1979) and random sign flips, seeded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

RESAMPLES = 2000
"""Bootstrap resamples of the images."""
FLIPS = 10_000
"""Random sign flips of the paired test."""
_CELLS = 2_000_000
"""Numbers drawn at once, to keep memory flat for large sets."""


def resampled_means(values: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Draw images with replacement, the same ones for every row, and average.

    Args:
        values: (rows, images).
        resamples: how often.
        seed: of the draws.

    Returns:
        (resamples, rows) means.
    """
    count = values.shape[1]

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        return values[:, rng.integers(0, count, (size, count))].mean(axis=2).T

    return _in_pieces(draw, resamples, count, seed=seed)


def flip_test(differences: np.ndarray, *, flips: int = FLIPS, seed: int = 0) -> float:
    """Return the two-sided p-value of mean(differences) = 0 when each sign could as well be the other one.

    The observed signs count as one of the draws, so the value is never 0; all differences 0 gives 1.

    Args:
        differences: (images,), paired.
        flips: how many random sign patterns.
        seed: of the signs.
    """
    count = len(differences)

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        signs = 2.0 * rng.integers(0, 2, (size, count)) - 1
        return (signs @ differences)[:, None] / count

    observed = abs(differences.mean())
    means = _in_pieces(draw, flips, count, seed=seed)[:, 0]
    return float((1 + np.sum(np.abs(means) >= observed - 1e-12)) / (1 + flips))


def _in_pieces(
    draw: Callable[[np.random.Generator, int], np.ndarray], total: int, count: int, *, seed: int
) -> np.ndarray:
    """Draw in pieces that keep memory flat for large sets."""
    rng = np.random.default_rng(seed)
    piece = max(1, _CELLS // max(count, 1))
    return np.concatenate([draw(rng, min(piece, total - start)) for start in range(0, total, piece)])


def percentiles(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the 2.5th and the 97.5th percentile: a 95 % interval of what was resampled."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def bootstrap(summary: Callable[[np.ndarray], dict[str, float]], count: int, resamples: int) -> dict[str, list[float]]:
    """Return the interval of each number of a summary, the same resamples for every segmenter.

    Args:
        summary: takes (count,) indices of images, some of them several times, and returns numbers by name.
        count: how many images there are.
        resamples: how often they are drawn.
    """
    rng = np.random.default_rng(0)
    drawn = [summary(rng.integers(count, size=count)) for _ in range(resamples)]
    names = dict.fromkeys(name for numbers in drawn for name in numbers)
    return {name: list(percentiles([numbers[name] for numbers in drawn if name in numbers])) for name in names}
