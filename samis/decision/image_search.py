"""The image threshold of each rule, chosen on validation where it has defective and clean images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from samis.decision.image_rules import IMAGE_RULES, image_scores

CHOSEN = "image_thresholds"
"""Key of a run's provenance: rule -> what ``ImageSearch.best`` returns for it."""
_LEVELS = 256


class ImageSearch:
    """Collects validation images, then chooses for each rule the threshold with the best balanced accuracy.

    Balanced accuracy is the mean of the share of defective images called defective and of clean ones called OK. ``max`` has no
    threshold of its own: under it an image is defective where a pixel is.
    """

    def __init__(self) -> None:
        self._scores: list[dict[str, float]] = []
        self._above: list[np.ndarray] = []
        self._defective: list[bool] = []

    def add(self, values: np.ndarray, truth: np.ndarray) -> None:
        """Count one image.

        Args:
            values: (H, W) float32 map in [0, 1].
            truth: (H, W) bool.
        """
        scores = image_scores(values, values > 1)  # region_area needs the pixels' threshold, which is not known yet
        bins = np.ceil(values.astype(np.float32) * _LEVELS).clip(0, _LEVELS).astype(np.int64)
        above = np.bincount(bins.ravel(), minlength=_LEVELS + 1)[:0:-1].cumsum()[::-1]  # pixels above k / 256
        self._scores.append(scores)
        self._above.append(above / values.size)
        self._defective.append(bool(truth.any()))

    def best(self, threshold: float) -> dict[str, dict[str, float]]:
        """Return rule -> ``value`` (the image threshold), ``miss_rate`` and ``false_alarm_rate`` at it.

        Args:
            threshold: of the pixels, a multiple of 1 / 256.

        Returns:
            {} without a defective or without a clean image.
        """
        defective = np.array(self._defective, bool)
        if not len(defective) or defective.all() or not defective.any():
            return {}
        areas = np.array([above[min(_LEVELS - 1, round(threshold * _LEVELS))] for above in self._above])
        of_rule = {name: np.array([scores[name] for scores in self._scores]) for name in IMAGE_RULES if name != "max"}
        of_rule["region_area"] = areas
        return {name: _best(scores[defective], scores[~defective]) for name, scores in of_rule.items()}


def _best(defective: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    """Return the threshold between two neighbouring scores with the best balanced accuracy, of equals the middle one."""
    levels = np.unique(np.concatenate([defective, clean]))
    candidates = np.concatenate([[0.0], (levels[:-1] + levels[1:]) / 2])
    misses = np.array([np.mean(defective <= t) for t in candidates])
    alarms = np.array([np.mean(clean > t) for t in candidates])
    total = misses + alarms
    top = np.flatnonzero(total <= total.min() + 1e-12)
    at = int(top[len(top) // 2])
    return {"value": float(candidates[at]), "miss_rate": float(misses[at]), "false_alarm_rate": float(alarms[at])}


def chosen_image_threshold(provenance: Mapping[str, Any], rule: str) -> float | None:
    """Return the image threshold that a run's provenance holds for a rule; None if it holds none.

    Args:
        provenance: of the run, ``provenance.json``.
        rule: key of ``IMAGE_RULES``.

    >>> chosen_image_threshold({"image_thresholds": {"region_area": {"value": 0.01}}}, "region_area")
    0.01
    """
    result = (provenance.get(CHOSEN) or {}).get(rule)
    return float(result["value"]) if result else None
