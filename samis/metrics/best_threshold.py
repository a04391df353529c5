"""The threshold that turns maps into masks, chosen on a validation split and its defect-free images.

Differs: the threshold curves of the metrics stretch each map to [0, 1] first, as the field's protocols do, so their best
threshold belongs to stretched maps. Predictions of new photos are not stretched (noise on a clean part would become a
defect), and neither are the maps here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from samis.core.contracts import Batch, Segmenter
from samis.errors import UserError
from samis.metrics.clean import DETECTED_IOU

LEVELS = 256
"""Thresholds tried: k / 256 for k = 0 .. 255."""


class ThresholdSearch:
    """For every threshold k / 256: mean IoU over defective images, and share of clean images without a pixel above it.

    With both kinds of images the best threshold is the one with the highest harmonic mean of the two, so that neither clean
    parts are rejected nor defects missed: a threshold that calls nothing defective is as bad as one that calls every part
    defective. Without a clean image, or where no threshold keeps any clean and detects anything, the IoU alone decides.
    """

    def __init__(self) -> None:
        self._sum, self._detected, self._kept = np.zeros(LEVELS), np.zeros(LEVELS), np.zeros(LEVELS)
        self._images = self._clean = 0

    def add(self, values: np.ndarray, truth: np.ndarray) -> None:
        """Count one image.

        Args:
            values: (H, W) float32 map in [0, 1].
            truth: (H, W) bool.

        Raises:
            UserError: the map is not finite.
        """
        if not np.isfinite(values).all():
            raise UserError("map: holds NaN or infinity; check the weights", code="E-METRIC-NOT-FINITE")
        # Multiplying a float by 256 is exact, so that ``map > k / 256`` is counted here as it will be applied.
        bins = np.ceil(values.astype(np.float32) * LEVELS).clip(0, LEVELS).astype(np.int64)
        if not truth.any():
            self._kept += np.arange(LEVELS) >= bins.max()
            self._clean += 1
            return
        above = [np.bincount(bins[where], minlength=LEVELS + 1)[:0:-1].cumsum()[::-1] for where in (truth, ~truth)]
        iou = above[0] / (truth.sum() + above[1])
        self._sum += iou
        self._detected += iou >= DETECTED_IOU
        self._images += 1

    def best(self) -> dict[str, float] | None:
        """Return ``value`` (the threshold), ``iou`` (at it) and ``images``; None without a defective image.

        With clean images also, at it, ``kept_clean`` (share of them without a pixel above it), ``defect_recall`` (share of
        the defective images with an IoU of at least ``DETECTED_IOU``) and ``clean_images``. Of equally good neighbours the
        middle one is taken.

        >>> search = ThresholdSearch()
        >>> search.add(np.array([[0.1, 0.3, 0.9]], np.float32), np.array([[False, True, True]]))
        >>> search.best()
        {'value': 0.19921875, 'iou': 1.0, 'images': 1}
        """
        if not self._images:
            return None
        ious = self._sum / self._images
        curve = ious
        if self._clean:
            kept = self._kept / self._clean
            both = 2 * ious * kept / np.maximum(ious + kept, 1e-12)
            curve = both if both.max() > 0 else ious
        top = np.flatnonzero(curve >= curve.max() - 1e-12)
        run = top[: 1 + int(np.argmax(np.diff(top, append=LEVELS + 1) > 1))]  # neighbours of the first best one
        level = int(run[len(run) // 2])
        best = {"value": level / LEVELS, "iou": float(ious[level]), "images": self._images}
        if self._clean:
            best["kept_clean"] = float(self._kept[level] / self._clean)
            best["defect_recall"] = float(self._detected[level] / self._images)
            best["clean_images"] = self._clean
        return best


def search_threshold(
    segmenter: Segmenter,
    batches: Iterable[Batch],
    *,
    device: torch.device | str = "cpu",
    also: Callable[[np.ndarray, np.ndarray], None] | None = None,
) -> dict[str, float] | None:
    """Return the best threshold of a segmenter over labelled batches; see ``ThresholdSearch.best``.

    Args:
        segmenter: makes the maps.
        batches: labelled images, defective and clean.
        device: where the batches are sent.
        also: called with each (H, W) float32 map and its (H, W) bool truth, or None.
    """
    search = ThresholdSearch()
    for batch in batches:
        for values, truth in zip(segmenter.predict(batch.to(device)), batch.truths, strict=True):
            if truth is not None:
                search.add(values.cpu().numpy(), truth)
                if also is not None:
                    also(values.cpu().numpy(), truth)
    return search.best()
