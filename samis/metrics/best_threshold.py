"""The threshold that turns maps into masks, chosen on a validation split.

Differs: the threshold curves of the metrics stretch each map to [0, 1] first, as the field's protocols do, so their best
threshold belongs to stretched maps. Predictions of new photos are not stretched (noise on a clean part would become a
defect), and neither are the maps here.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from samis.contracts import Batch, Segmenter

LEVELS = 256
"""Thresholds tried: k / 256 for k = 0 .. 255."""


class ThresholdSearch:
    """Mean IoU over images of ``map > k / 256``, for every k; images without a defect are left out (their IoU is 0 or 0/0)."""

    def __init__(self) -> None:
        self._sum = np.zeros(LEVELS)
        self._images = 0

    def add(self, values: np.ndarray, truth: np.ndarray) -> None:
        """Count one image.

        Args:
            values: (H, W) float32 map in [0, 1].
            truth: (H, W) bool.
        """
        if not truth.any():
            return
        # Multiplying a float by 256 is exact, so that ``map > k / 256`` is counted here as it will be applied.
        bins = np.ceil(values.astype(np.float32) * LEVELS).clip(0, LEVELS).astype(np.int64)
        above = [np.bincount(bins[where], minlength=LEVELS + 1)[:0:-1].cumsum()[::-1] for where in (truth, ~truth)]
        self._sum += above[0] / (truth.sum() + above[1])
        self._images += 1

    def best(self) -> dict[str, float] | None:
        """Return ``value`` (the threshold), ``iou`` (at it) and ``images``; None without a defective image.

        Of equally good neighbours the middle one is taken.

        >>> search = ThresholdSearch()
        >>> search.add(np.array([[0.1, 0.3, 0.9]], np.float32), np.array([[False, True, True]]))
        >>> search.best()
        {'value': 0.19921875, 'iou': 1.0, 'images': 1}
        """
        if not self._images:
            return None
        curve = self._sum / self._images
        top = np.flatnonzero(curve >= curve.max() - 1e-12)
        run = top[: 1 + int(np.argmax(np.diff(top, append=LEVELS + 1) > 1))]  # neighbours of the first best one
        value = int(run[len(run) // 2]) / LEVELS
        return {"value": value, "iou": float(curve.max()), "images": self._images}


def search_threshold(
    segmenter: Segmenter, batches: Iterable[Batch], *, device: torch.device | str = "cpu"
) -> dict[str, float] | None:
    """Return the best threshold of a segmenter over labelled batches; see ``ThresholdSearch.best``."""
    search = ThresholdSearch()
    for batch in batches:
        for values, truth in zip(segmenter.predict(batch.to(device)), batch.truths, strict=True):
            if truth is not None:
                search.add(values.cpu().numpy(), truth)
    return search.best()
