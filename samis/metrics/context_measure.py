"""Context-measure: hits and misses weighted by a Gaussian that has the truth's own shape.

Paper: Wang et al., Context-measure: Contextualizing Metric for Camouflage, arXiv 2512.07076, 2025.
Agrees with: PySODMetrics 1.6.2 (``ContextMeasure``, beta^2 = 1, alpha = 6) to 1e-12 per image.
Differs: where the truth's pixels are on one oblique line the reference stops (its matrix has no inverse); the truth then
counts as a truth of one pixel does. Optional: computed only where named.
"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.counted import EPS
from samis.metrics.pair import Pair

ALPHA = 6.0
"""Standard deviation of the Gaussian, px, both axes together."""


def context_measure(pair: Pair) -> float:
    """Compute the Context-measure of one image.

    Forward: the mean, over the map, of how much truth is around each pixel. Reverse: the mean, over the truth, of how much
    map does. Both together as an F-measure.

    Empty mask: 0. Empty map: 0. Full mask: high where the map is.

    Args:
        pair: map and truth.

    Returns:
        About [0, 1], higher is better.

    Example:
        >>> from samis.metrics.truth import TruthFields
        >>> context_measure(Pair(np.zeros((4, 4), np.uint8), TruthFields(np.eye(4, dtype=bool))))
        0.0
    """
    mask = pair.fields.mask
    values = np.ascontiguousarray(pair.stretched[pair.index])
    kernel = _gaussian(mask)
    near_truth = (values > 0) * cv2.filter2D(mask.astype(np.float32), cv2.CV_32F, kernel)
    forward = np.sum(near_truth * values) / (np.sum(values) + EPS)
    near_map = np.e / (np.e - 1) * mask * (1 - np.exp(-cv2.filter2D(values, -1, kernel)))
    reverse = np.sum(near_map * mask) / (mask.sum() + EPS)
    return float(2 * forward * reverse / (forward + reverse + EPS))


def _gaussian(mask: np.ndarray) -> np.ndarray:
    """Return the Gaussian of the truth's covariance, scaled to `ALPHA`, as weights that add up to 1."""
    covariance = np.diag([0.25, 0.25])
    reach = [1, 1]
    points = np.argwhere(mask)
    if len(points) > 1:
        own = np.cov(points, rowvar=False)
        own[np.diag_indices(2)] = np.where(np.diag(own) == 0, EPS, np.diag(own))
        spread, total = np.sqrt(np.diag(own)), np.sqrt(np.trace(own))
        scaled = ALPHA**2 * own / total**2
        if np.linalg.det(scaled) > 0:
            covariance, reach = scaled, [round(3 * float(ALPHA * each / total)) for each in spread]
    inverse = np.linalg.inv(covariance)
    rows, columns = np.meshgrid(*(np.arange(-far, far + 1) for far in reach), indexing="ij")
    place = np.stack([rows, columns], axis=-1)
    kernel = np.exp(-0.5 * np.einsum("...i,ij,...j->...", place, inverse, place))
    kernel /= 2 * np.pi * np.sqrt(np.linalg.det(covariance))
    return np.asarray(kernel / kernel.sum())


class ContextMeasure(ImageMetric):
    """Mean over images of `context_measure`."""

    values: ClassVar[dict[str, int]] = {"context_measure": 1}

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        return ImageScores({"context_measure": context_measure(pair)})
