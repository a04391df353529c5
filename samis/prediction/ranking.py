"""In which order unlabelled photos are worth a label: rules by name, from what a model says of them.

Papers: Settles, Active Learning Literature Survey, 2009 (uncertainty); Sener and Savarese, Active Learning for Convolutional Neural
Networks: A Core-Set Approach, ICLR 2018 (diversity: each photo furthest from those before it).
Differs: a photo's uncertainty is the mean entropy of its most uncertain pixels, so that a small doubtful spot on a large clean
photo counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

UNCERTAIN_SHARE = 0.05
"""Share of a photo's pixels, the most uncertain ones, whose entropy is averaged."""


def uncertainty_of(values: np.ndarray) -> float:
    """Return the mean binary entropy, in bits, of the most uncertain pixels of a map.

    Args:
        values: (H, W) float map in [0, 1].

    >>> uncertainty_of(np.full((10, 10), 0.5)), uncertainty_of(np.zeros((10, 10)))
    (1.0, 0.0)
    """
    count = max(1, round(UNCERTAIN_SHARE * values.size))
    away = np.abs(values.ravel().astype(np.float64) - 0.5)
    p = 0.5 + np.partition(away, count - 1)[:count].clip(0, 0.5)
    q = 1 - p
    entropy = -(p * np.log2(p) + q * np.log2(np.maximum(q, 1e-300)))
    return float(np.abs(entropy).mean())


def by_uncertainty(uncertainty: np.ndarray, embeddings: np.ndarray) -> list[int]:
    """Return the photos by uncertainty, the most uncertain first; of equals the earlier one."""
    return [int(index) for index in np.argsort(-uncertainty, kind="stable")]


def by_diversity(uncertainty: np.ndarray, embeddings: np.ndarray) -> list[int]:
    """Return the photos so that each is the one furthest from all before it; first the one nearest to the mean."""
    return _spread(embeddings, np.ones(len(embeddings)))


def by_both(uncertainty: np.ndarray, embeddings: np.ndarray) -> list[int]:
    """Return the photos as ``by_diversity``, distances multiplied by the share of photos that are no more uncertain."""
    ranks = np.array([(uncertainty <= each).mean() for each in uncertainty])
    return _spread(embeddings, ranks)


RANK_RULES: dict[str, Callable[[np.ndarray, np.ndarray], list[int]]] = {
    "uncertainty": by_uncertainty,
    "diversity": by_diversity,
    "both": by_both,
}
"""Name of a rule -> takes (n,) uncertainties and (n, C) embeddings, gives the photos' indices, the one to label first first."""
NEEDS_EMBEDDINGS = ("diversity", "both")


def _spread(embeddings: np.ndarray, weights: np.ndarray) -> list[int]:
    """Return indices, each the one whose distance to the nearest chosen one, times its weight, is largest.

    Args:
        embeddings: (n, C).
        weights: (n,), above 0.
    """
    if not len(embeddings):
        return []
    scale = np.maximum(embeddings.std(0), 1e-9)
    points = (embeddings - embeddings.mean(0)) / scale
    order = [int(np.argmax(weights / (1e-9 + np.linalg.norm(points, axis=1))))]
    nearest = np.linalg.norm(points - points[order[0]], axis=1)
    left = np.ones(len(points), dtype=bool)
    left[order[0]] = False
    while left.any():
        chosen = int(np.argmax(np.where(left, nearest * weights, -1.0)))
        order.append(chosen)
        left[chosen] = False
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen], axis=1))
    return order
