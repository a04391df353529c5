"""Whole defects: how many are detected, and how many false alarms there are per image (``inspection``).

A defect is a connected component of the truth (8 neighbours). It is detected at 0.1 (or 0.5) if some component of the
detected mask has at least that IoU with it; a detected component without such a partner is a false alarm.
Agrees with: ``skimage.measure.label`` with ``regionprops`` on the same masks, exactly.
"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from samis.metrics.base import ImageMetric, ImageScores, SetScores
from samis.metrics.pair import Pair

IOU_LEVELS = {"10": 0.1, "50": 0.5}
SMALL_PX = 256
"""A defect of at most so many pixels (16 x 16) is small."""


def object_ious(detected: np.ndarray, labels: np.ndarray, areas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the best IoU of every defect with a detected component, and the reverse.

    Args:
        detected: (H, W) bool.
        labels: (H, W) int32, the defects numbered from 1 on.
        areas: (n,) px.

    Returns:
        (n,) best IoU of each defect, (m,) best IoU of each detected component; 0 without a partner, (0,) if there are
        none (empty mask, empty map). Full mask and full map: 1 each.

    Example:
        >>> truth = np.array([[1, 1, 0, 2]], np.int32)
        >>> best, alarms = object_ious(np.array([[1, 0, 0, 0]], bool), truth, np.array([2, 1]))
        >>> best.tolist(), alarms.tolist()
        ([0.5, 0.0], [0.5])
    """
    _, parts, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(detected).view(np.uint8), connectivity=8)
    part_areas = stats[1:, cv2.CC_STAT_AREA].astype(np.int64)
    best_truth, best_part = np.zeros(len(areas)), np.zeros(len(part_areas))
    both = (labels > 0) & detected
    pairs, overlap = np.unique(labels[both].astype(np.int64) * (len(part_areas) + 1) + parts[both], return_counts=True)
    true_index, part_index = pairs // (len(part_areas) + 1) - 1, pairs % (len(part_areas) + 1) - 1
    iou = overlap / (areas[true_index] + part_areas[part_index] - overlap)
    np.maximum.at(best_truth, true_index, iou)
    np.maximum.at(best_part, part_index, iou)
    return best_truth, best_part


class Objects(ImageMetric):
    """``object_recall_*`` and ``small_recall_*`` over all defects of the set; ``false_alarms_*``: mean count per image.

    ``_10`` and ``_50`` mean an IoU of at least 0.1 and 0.5. Clean images count in the false alarms. A set without a
    (small) defect has no (small) recall.
    """

    values: ClassVar[dict[str, int]] = {f"false_alarms_{level}": -1 for level in IOU_LEVELS}
    finished: ClassVar[dict[str, int]] = {
        f"{kind}_recall_{level}": 1 for kind in ("object", "small") for level in IOU_LEVELS
    }
    totals: ClassVar[dict[str, int]] = {
        f"{kind}_{what}": 1 for kind in ("object", "small") for what in ("number", *IOU_LEVELS)
    }

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        labels, areas = pair.fields.components
        best, alarms = object_ious(pair.detected, labels, areas)
        scores = ImageScores()
        for kind, chosen in (("object", areas > 0), ("small", areas <= SMALL_PX)):
            scores.totals[f"{kind}_number"] = np.array([float(np.count_nonzero(chosen))])
            for level, iou in IOU_LEVELS.items():
                scores.totals[f"{kind}_{level}"] = np.array([float(np.count_nonzero(best[chosen] >= iou))])
        for level, iou in IOU_LEVELS.items():
            scores.values[f"false_alarms_{level}"] = float(np.count_nonzero(alarms < iou))
        return scores

    @staticmethod
    def finish(scores: SetScores) -> dict[str, float]:
        """Divide the detected defects by all defects."""
        numbers = {}
        for kind in ("object", "small"):
            there = float(scores.totals[f"{kind}_number"][0])
            if there:
                for level in IOU_LEVELS:
                    numbers[f"{kind}_recall_{level}"] = float(scores.totals[f"{kind}_{level}"][0]) / there
        return numbers
