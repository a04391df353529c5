"""IoU, Dice, precision and recall at an absolute threshold on the map as it is, per image and pooled (``inspection``).

Nothing is stretched, so a faint map on a clean part stays faint, and a threshold means the same on every image. The
curves are kept over all 256 thresholds (`samis.metrics.best_threshold` chooses one from a validation split).
Agrees with: torchmetrics ``BinaryJaccardIndex`` and ``BinaryF1Score`` on the same binary maps to 1e-6 (float32 there).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores, SetScores
from samis.metrics.pair import Pair


def absolute_hits(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Count defect and background pixels at or above each threshold 255, 254 .. 0 of the map as it is: (256,) each."""
    off, on = pair.by_truth_and_byte
    return np.cumsum(on[::-1]), np.cumsum(off[::-1])


class FixedThreshold(ImageMetric):
    """``iou dice precision recall``: means over the images that have a defect; ``*_pooled``: from the pixels of all
    images.

    An image without a defect has no meaningful IoU: it counts in the pooled numbers, where its false alarms are
    false positives, and in `samis.metrics.clean`. Empty map on a defect: 0. Full mask: recall and IoU are the share
    detected.
    """

    values: ClassVar[dict[str, int]] = {"iou": 1, "dice": 1, "precision": 1, "recall": 1}
    finished: ClassVar[dict[str, int]] = {"iou_pooled": 1, "dice_pooled": 1, "precision_pooled": 1, "recall_pooled": 1}
    curves: ClassVar[tuple[str, ...]] = ("iou", "dice")
    totals: ClassVar[dict[str, int]] = {"pooled_hit": 1, "pooled_false": 1, "pooled_area": 1}

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        hit, false = absolute_hits(pair)
        area = float(pair.fields.area)
        hits = (float(pair.by_truth[1, pair.cut :].sum()), float(pair.by_truth[0, pair.cut :].sum()))
        totals = {"pooled_hit": hits[0], "pooled_false": hits[1], "pooled_area": area}
        scores = ImageScores(totals={name: np.array([total]) for name, total in totals.items()})
        if area:
            scores.values = _ratios(hits[0], hits[1], area)
            scores.curves = {"iou": hit / (false + area), "dice": 2 * hit / (hit + false + area)}
        return scores

    @staticmethod
    def finish(scores: SetScores) -> dict[str, float]:
        """Compute the ratios of the pooled counts."""
        hit, false, area = (float(scores.totals[f"pooled_{name}"][0]) for name in ("hit", "false", "area"))
        return {f"{name}_pooled": ratio for name, ratio in _ratios(hit, false, area).items()}


def _ratios(hit: float, false: float, area: float) -> dict[str, float]:
    parts = (hit, 2 * hit, hit, hit)
    wholes = (false + area, hit + false + area, hit + false, area)
    names = ("iou", "dice", "precision", "recall")
    return {name: part / max(whole, 1) for name, part, whole in zip(names, parts, wholes, strict=True)}
