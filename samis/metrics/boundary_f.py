"""Boundary F-measure: are the outlines within 2 px of each other (``inspection``).

Paper: after Csurka et al., What is a Good Evaluation Measure for Semantic Segmentation?, BMVC 2013,
doi 10.5244/C.27.32. Differs: plain nearest distance, no one-to-one matching.
"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.pair import Pair

TOLERANCE_PX = 2.0


def outline(mask: np.ndarray) -> np.ndarray:
    """Mark a mask's pixels that touch background on one of their four sides; the image's border is no background.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool.
    """
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.view(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return mask & (inner == 0)


def boundary_f(detected: np.ndarray, truth: np.ndarray, *, tolerance_px: float = TOLERANCE_PX) -> float:
    """Compute the harmonic mean of the outlines' precision and recall.

    Precision is the share of the detected outline that is within the tolerance (Euclidean) of the truth's; recall the
    reverse. Neither mask has an outline (both empty, both full): 1. One of them has none: 0.

    Args:
        detected: (H, W) bool.
        truth: (H, W) bool.
        tolerance_px: distance that still counts, px.

    Returns:
        [0, 1], higher is better.

    Example:
        >>> square = np.zeros((8, 8), bool)
        >>> square[2:5, 2:5] = True
        >>> boundary_f(np.roll(square, 2, axis=0), square), boundary_f(np.zeros((8, 8), bool), square)
        (1.0, 0.0)
    """
    own, true = outline(detected), outline(truth)
    if not own.any() or not true.any():
        return float(own.any() == true.any())
    precision = float(np.mean(_distance_to(true)[own] <= tolerance_px + 1e-3))
    recall = float(np.mean(_distance_to(own)[true] <= tolerance_px + 1e-3))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _distance_to(edges: np.ndarray) -> np.ndarray:
    return cv2.distanceTransform((~edges).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


class BoundaryF(ImageMetric):
    """Mean over the images that have a defect of `boundary_f` at 2 px and the absolute threshold."""

    values: ClassVar[dict[str, int]] = {"boundary_f": 1}

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        if pair.fields.area == 0:
            return ImageScores()
        return ImageScores({"boundary_f": boundary_f(pair.detected, pair.fields.mask)})
