"""One score for a whole image, by a named rule, and the verdict that follows from it.

``IMAGE_RULES`` maps a rule's name to how it computes the score from a map and its mask. An image is defective if its score is above
the image threshold. Under ``max`` this is the threshold of the pixels: an image is defective if some pixel of it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

OK, DEFECTIVE = "OK", "defective"
"""The two verdicts."""
NOT_PREDICTED = "not predicted"
"""Stands for a verdict where the photo could not be read or prompted."""
TOP_SHARE = 0.01
"""Share of an image's pixels that ``top_1_percent_mean`` takes."""


def peak(values: np.ndarray, mask: np.ndarray) -> float:
    """Return the map's largest value.

    Args:
        values: (H, W) map in [0, 1].
        mask: (H, W) bool, not used.
    """
    return float(values.max())


def top_mean(values: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean of the map's largest values, one in a hundred pixels and at least one.

    Args:
        values: (H, W) map in [0, 1].
        mask: (H, W) bool, not used.

    >>> top_mean(np.r_[np.zeros(198), 0.4, 0.8].reshape(10, 20), np.zeros((10, 20), bool))
    0.6000000000000001
    """
    count = max(1, int(np.ceil(TOP_SHARE * values.size - 1e-9)))
    top = np.partition(values, values.size - count, axis=None)[values.size - count :]
    return float(top.mean(dtype=np.float64))


def region_area(values: np.ndarray, mask: np.ndarray) -> float:
    """Return the share of the image's pixels in its defect regions, in [0, 1].

    Args:
        values: (H, W) map in [0, 1], not used.
        mask: (H, W) bool, the pixels above the threshold that belong to a region.
    """
    return float(np.count_nonzero(mask)) / mask.size


@dataclass(frozen=True)
class ImageRule:
    """How an image is scored.

    Attributes:
        score: takes the (H, W) map in [0, 1] and the (H, W) bool mask, returns the score in [0, 1].
        as_pixels: whether an image threshold that nobody chose is that of the pixels; else it is 0.
    """

    score: Callable[[np.ndarray, np.ndarray], float]
    as_pixels: bool


IMAGE_RULES: dict[str, ImageRule] = {
    "max": ImageRule(peak, as_pixels=True),
    "top_1_percent_mean": ImageRule(top_mean, as_pixels=True),
    "region_area": ImageRule(region_area, as_pixels=False),
}
"""Name of a rule -> how it scores an image."""


def image_scores(values: np.ndarray, mask: np.ndarray, *, threshold: float | None = None) -> dict[str, float]:
    """Return an image's score by each rule.

    Args:
        values: (H, W) float map in [0, 1].
        mask: (H, W) bool, its defect pixels.
        threshold: of the pixels, where regions were dropped from the mask: a dropped pixel then counts as one at the
            threshold, which is not above it. None: nothing was dropped.

    >>> values = np.array([[0.2, 0.9], [0.6, 0.1]])
    >>> image_scores(values, values > 0.5)
    {'max': 0.9, 'top_1_percent_mean': 0.9, 'region_area': 0.5}
    >>> image_scores(values, values > 0.7, threshold=0.5)["max"], image_scores(values, values > 1, threshold=0.5)["max"]
    (0.9, 0.5)
    """
    if threshold is not None:
        values = np.where((values > threshold) & ~mask, values.dtype.type(threshold), values)
    return {name: rule.score(values, mask) for name, rule in IMAGE_RULES.items()}


def image_threshold(rule: str, threshold: float, chosen: float | None = None) -> float:
    """Return the image threshold of a rule.

    Args:
        rule: key of ``IMAGE_RULES``.
        threshold: of the pixels, [0, 1).
        chosen: what was chosen for this rule on validation at this threshold; ``max`` has none of its own.

    >>> image_threshold("max", 0.4, 0.9), image_threshold("top_1_percent_mean", 0.4, 0.3), image_threshold("region_area", 0.4)
    (0.4, 0.3, 0.0)
    """
    if rule == "max":
        return threshold
    if chosen is not None:
        return chosen
    return threshold if IMAGE_RULES[rule].as_pixels else 0.0


def verdict_of(score: float, threshold: float) -> str:
    """Return ``DEFECTIVE`` where the score is above the image threshold, else ``OK``."""
    return DEFECTIVE if score > threshold else OK
