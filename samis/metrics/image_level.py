"""Defective or clean: AUROC and average precision of whole images (``inspection``).

An image's score is its map's largest value, unstretched. Scores are bytes, so counting them in 256 bins loses nothing,
and the counts add up over batches and processes.
Agrees with: scikit-learn ``roc_auc_score`` and ``average_precision_score`` on the same scores to 1e-12.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores, SetScores
from samis.metrics.pair import Pair


def auroc(defective: np.ndarray, clean: np.ndarray) -> float:
    """Compute the chance that a defective image scores above a clean one, a tie counting half.

    Args:
        defective: (256,) number of defective images by score; at least one.
        clean: (256,) number of clean images by score; at least one.

    Returns:
        [0, 1], higher is better; 0.5 if all maps are empty.
    """
    below = np.cumsum(clean) - clean
    return float(defective @ (below + clean / 2)) / float(defective.sum() * clean.sum())


def average_precision(defective: np.ndarray, clean: np.ndarray) -> float:
    """Compute the mean over defective images of the precision at their score, images of one score taken together.

    Args:
        defective: (256,) number of defective images by score; at least one.
        clean: (256,) number of clean images by score.

    Returns:
        [0, 1], higher is better; the share of defective images if all maps are empty.
    """
    hits, alarms = np.cumsum(defective[::-1]), np.cumsum(clean[::-1])
    precision = hits / np.maximum(hits + alarms, 1)
    return float(defective[::-1] @ precision) / float(defective.sum())


class ImageLevel(ImageMetric):
    """``image_auroc`` and ``image_ap``; left out where the set has only defective or only clean images."""

    finished: ClassVar[dict[str, int]] = {"image_auroc": 1, "image_ap": 1}
    totals: ClassVar[dict[str, int]] = {"images_defective": 256, "images_clean": 256}

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Count one image at its score."""
        score, none = np.zeros(256), np.zeros(256)
        score[pair.peak] = 1
        defective = pair.fields.area > 0
        kinds = (score, none) if defective else (none, score)
        return ImageScores(totals={"images_defective": kinds[0], "images_clean": kinds[1]})

    @staticmethod
    def finish(scores: SetScores) -> dict[str, float]:
        """Compute both from the counts."""
        defective, clean = scores.totals["images_defective"], scores.totals["images_clean"]
        if not defective.sum() or not clean.sum():
            return {}
        return {"image_auroc": auroc(defective, clean), "image_ap": average_precision(defective, clean)}
