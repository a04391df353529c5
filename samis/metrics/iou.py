"""IoU, Dice, precision and recall, per image: binary at 0.5, adaptive, and over all 256 thresholds.

Agrees with: PySODMetrics 1.6.2 (``FmeasureV2`` with ``IOUHandler``, ``DICEHandler``, ``PrecisionHandler``,
``RecallHandler``) to 1e-12 per image (``pysod``). Under ``published`` the field's own IoU script: raw value / 255 at or
above 0.5, truth > 0, 1e-7 added to both areas.
``iou`` is the stretched map above 0.5, the mean over images of each image's own IoU. This is the rule under which
CSEPNet's published maps of the held-out 360 SD-saliency-900 images score 0.779 and TSERNet's 0.786; pooling the pixels
of all images gives CSEPNet 0.820, another number. ``inspection`` leaves the map unstretched
(`samis.metrics.fixed_threshold`).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores, SetScores
from samis.metrics.counted import Counted, mean_of, number
from samis.metrics.pair import Pair


def overlaps(pair: Counted) -> dict[str, np.ndarray]:
    """Compute IoU, Dice, precision and recall of the stretched map; 0/0 = 0.

    Empty mask: all 0. Empty map: 0 at the binary threshold; every pixel reaches the adaptive threshold 0, so there IoU
    and precision are the truth's share of the image and recall is 1. Full mask: precision is 1 where anything is
    detected.

    Args:
        pair: map and truth.

    Returns:
        ``iou``, ``dice``, ``precision``, ``recall``: (..., 258) each; 256 thresholds in the order of
        `samis.metrics.THRESHOLDS`, then adaptive, then above 0.5.

    Example:
        >>> from samis.metrics.truth import TruthFields
        >>> half = Pair(np.array([[255, 255], [0, 0]], np.uint8), TruthFields(np.array([[1, 0], [0, 0]], bool)))
        >>> [float(overlaps(half)[name][257]) for name in ("iou", "precision", "recall")]
        [0.5, 0.5, 1.0]
    """
    hit, false = pair.hits
    area = pair.area[..., None]
    precision, recall = pair.precision_recall
    return {
        "iou": hit / np.maximum(false + area, 1),
        "dice": 2 * hit / np.maximum(hit + false + area, 1),
        "precision": precision,
        "recall": recall,
    }


def published_iou(pair: Pair) -> float:
    """Compute the IoU as the field's script does: raw map / 255 >= 0.5, truth > 0, 1e-7 added above and below.

    Empty mask and empty map: 1. One of the two empty: nearly 0. Full mask: share of the image detected.

    Args:
        pair: map and truth.
    """
    fields = pair.truth.fields("nonzero")
    off, on = pair.counts(fields).sum(axis=0)
    half = int(np.searchsorted(pair.levels, 0.5, side="left"))
    hit, false = float(on[half:].sum()), float(off[half:].sum())
    return (hit + 1e-7) / (fields.area + false + 1e-7)


class IoU(ImageMetric):
    """The four overlaps: plain (above 0.5), ``_adaptive`` and ``_mean`` are means over images; ``_max`` is the maximum
    of the mean curve (not for precision and recall, whose maximum is of no use).
    """

    stacks: ClassVar[bool] = True
    values: ClassVar[dict[str, int]] = {
        f"{name}{kind}": 1 for name in ("iou", "dice", "precision", "recall") for kind in ("", "_adaptive", "_mean")
    }
    finished: ClassVar[dict[str, int]] = {"iou_max": 1, "dice_max": 1}
    curves: ClassVar[tuple[str, ...]] = ("iou", "dice", "precision", "recall")

    @staticmethod
    def formula(pair: Counted) -> ImageScores:
        """Score one image, or a stack."""
        if pair.protocol == "published" and isinstance(pair, Pair):
            return ImageScores({"iou": published_iou(pair)})
        scores = ImageScores()
        for name, score in overlaps(pair).items():
            scores.values[name] = number(score[..., 257])
            scores.values[f"{name}_adaptive"] = number(score[..., 256])
            scores.values[f"{name}_mean"] = mean_of(score[..., :256])
            scores.curves[name] = score[..., :256]
        return scores

    @staticmethod
    def finish(scores: SetScores) -> dict[str, float]:
        """Take the maxima of the mean curves."""
        return {"iou_max": float(scores.curves["iou"].max()), "dice_max": float(scores.curves["dice"].max())}
