"""The rule for images without a defect: how much of them is called defective, on the map as it is.

Stretching would turn the faintest noise on a clean image into a full-range map, and the E-measure gives the ideal
answer, an empty map, the value 0. So clean images are never averaged with defective ones, and this is their only
rule.

A production line needs both: clean parts left alone, and defects detected. ``inspect`` gives the two shares for one
threshold, and how well the maps' largest values separate clean from defective images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from samis.errors import UserError
from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.image_level import auroc
from samis.metrics.pair import Pair


@dataclass(frozen=True)
class CleanScore:
    """The verdict on one clean image.

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
        raise UserError(
            f"map: expected values in [0, 1], got {values.min():.4g}..{values.max():.4g}; apply the sigmoid, or divide by 255",
            code="E-METRIC-MAP-RANGE",
        )
    called = int(np.count_nonzero(values >= threshold))
    return CleanScore(called / values.size, called == 0)


DETECTED_IOU = 0.1
"""A defective image counts as detected if its detected pixels have at least this IoU with the truth."""


@dataclass(frozen=True)
class Judged:
    """One image, its map cut at a threshold.

    Attributes:
        false_positive_area: share of a clean image's pixels called defective; None of a defective image.
        detected: whether a defective image counts as detected; None of a clean one.
        peak: the map's largest value, 0..255.
    """

    false_positive_area: float | None
    detected: bool | None
    peak: int


def judge(map_u8: np.ndarray, truth: np.ndarray, *, threshold: float = 0.5) -> Judged:
    """Judge one image by its map as it is.

    Args:
        map_u8: (H, W) uint8.
        truth: (H, W) bool; all False for a clean image.
        threshold: pixels above it are called defective, [0, 1).

    Example:
        >>> judge(np.array([[0, 255, 200]], np.uint8), np.array([[False, True, False]]))
        Judged(false_positive_area=None, detected=True, peak=255)
    """
    called = np.arange(256)[map_u8] / 255 > threshold
    if truth.any():
        iou = np.count_nonzero(called & truth) / np.count_nonzero(called | truth)
        return Judged(None, bool(iou >= DETECTED_IOU), int(map_u8.max()))
    return Judged(np.count_nonzero(called) / called.size, None, int(map_u8.max()))


INSPECTED = {"false_positive_area": -1, "kept_clean": 1, "defect_recall": 1, "image_auroc": 1}
"""Directions of the numbers of ``inspect``: +1 higher is better, -1 lower is better."""


def inspect(judged: Sequence[Judged], *, threshold: float) -> dict[str, float] | None:
    """Return a row's numbers of the clean images of a set; None if there are none.

    Args:
        judged: all images of the set, defective and clean, by ``judge``.
        threshold: the threshold of ``judge``, [0, 1).

    Returns:
        ``n_images`` (clean ones), ``threshold``, ``false_positive_area`` (mean over them), ``kept_clean`` (share of them
        without a single pixel called defective); and, if there are defective images, ``defect_recall`` (share of those
        detected, see ``DETECTED_IOU``) and ``image_auroc`` (of the maps' largest values).
    """
    areas = [each.false_positive_area for each in judged if each.false_positive_area is not None]
    detected = [each.detected for each in judged if each.detected is not None]
    if not areas:
        return None
    numbers = {
        "n_images": float(len(areas)),
        "threshold": threshold,
        "false_positive_area": float(np.mean(areas)),
        "kept_clean": float(np.mean([area == 0 for area in areas])),
    }
    if detected:
        peaks = [np.array([e.peak for e in judged if (e.detected is None) == clean]) for clean in (False, True)]
        defective, clean_peaks = (np.bincount(each, minlength=256) for each in peaks)
        numbers |= {"defect_recall": float(np.mean(detected)), "image_auroc": auroc(defective, clean_peaks)}
    return numbers


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
