"""The rule for images without a defect: how much of them is called defective, on the map as it is.

Stretching would turn the faintest noise on a clean image into a full-range map, and the E-measure gives the ideal
answer, an empty map, the value 0. So clean images are never averaged with defective ones; they are judged by this
alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from samis.contracts import UserError
from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.pair import Pair


@dataclass(frozen=True)
class CleanScore:
    """How one clean image fared.

    Attributes:
        false_positive_area: share of the pixels called defective, [0, 1].
        kept_clean: True if no pixel was.
    """

    false_positive_area: float
    kept_clean: bool


def score_clean(image: np.ndarray, threshold: float = 0.5) -> CleanScore:
    """Judge the map of an image that has no defect.

    Empty map: area 0, kept clean. (The mask is empty by definition.)

    Args:
        image: (H, W) map, uint8 (taken as value / 255) or float in [0, 1].
        threshold: pixels at or above it are called defective, (0, 1].

    Returns:
        Area and verdict.

    Raises:
        UserError: the map holds NaN or a value outside [0, 1].

    Example:
        >>> score_clean(np.array([[0.0, 0.5], [0.1, 0.2]]))
        CleanScore(false_positive_area=0.25, kept_clean=False)
    """
    image = np.asarray(image)
    values = np.arange(256)[image] / 255 if image.dtype == np.uint8 else image
    if not (values.min() >= 0 and values.max() <= 1):
        came = f"{values.min():.4g}..{values.max():.4g}"
        raise UserError(f"map: expected values in [0, 1], got {came}; apply the sigmoid, or divide by 255")
    called = int(np.count_nonzero(values >= threshold))
    return CleanScore(called / values.size, called == 0)


class Clean(ImageMetric):
    """Means over the clean images: ``false_positive_area``, and ``kept_clean``, the share without any false alarm."""

    values: ClassVar[dict[str, int]] = {"false_positive_area": -1, "kept_clean": 1}

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image if it is clean."""
        if pair.fields.area:
            return ImageScores()
        called = float(pair.by_value[pair.cut :].sum())
        return ImageScores({"false_positive_area": called / pair.fields.size, "kept_clean": float(called == 0)})
