"""Multiscale IoU: how much of the truth's outline the map's outline covers, on grids from 1 to 512 px.

Paper: Ahmadzadeh et al., Multiscale IOU: A Metric for Evaluation of Salient Object Detection with Fine Structures, ICIP 2021.
Agrees with: PySODMetrics 1.6.2 (``MSIoU``) to 1e-12 per image; cells of the truth are added up in half precision, as there,
and as there only the truth's cells are in the denominator.
Optional: computed only where named. A map of many levels takes some tenths of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores, SetScores
from samis.metrics.pair import Pair

SCALES = 10
"""Cells of 1, 2, 4 .. 512 px."""


def outline(mask: np.ndarray) -> np.ndarray:
    """Mark where Sobel's operator on a mask is not 0 along rows or columns; (H, W) bool, outside the image counts as 0."""
    signed = mask.astype(np.int8)  # of a bool, the value of -1 depends on the processor
    from scipy.ndimage import sobel  # takes a quarter of a second, which only this metric needs

    return np.asarray(sobel(signed, axis=0, mode="constant") != 0) | (sobel(signed, axis=1, mode="constant") != 0)


def pyramid(edges: np.ndarray) -> Iterator[np.ndarray]:
    """Yield which cells of each grid hold an edge, finest first; grids begin in the lower right corner."""
    for scale in range(SCALES):
        if scale:
            height, width = edges.shape
            padded = np.pad(edges, ((height % 2, 0), (width % 2, 0)))
            edges = padded[::2, ::2] | padded[1::2, ::2] | padded[::2, 1::2] | padded[1::2, 1::2]
        yield edges


class Outlines:
    """A truth's outline on all grids.

    Args:
        mask: (H, W) bool.
    """

    def __init__(self, mask: np.ndarray) -> None:
        self._cells = list(pyramid(outline(mask)))
        self._areas = [float(cells.astype(np.float16).sum() + 1) for cells in self._cells]

    def cover(self, detected: np.ndarray) -> float:
        """Return the area under (cells that both outlines cross + 1) / (the truth's cells + 1) over the grids.

        Args:
            detected: (H, W) bool, a map cut at a threshold.
        """
        both = [np.count_nonzero(a & b) + 1 for a, b in zip(pyramid(outline(detected)), self._cells, strict=True)]
        ratios = np.array(both) / np.array(self._areas)
        return float(((ratios[1:] + ratios[:-1]) / 2).sum() / (SCALES - 1))


class MSIoU(ImageMetric):
    """``msiou`` (above 0.5), ``msiou_adaptive``, and ``msiou_mean`` over the thresholds 0 .. 256: means over images.

    ``msiou_max`` is the maximum of the mean curve.

    Empty mask: at least 1, since 1 is added above and below. Empty map: small, but not 0.
    """

    values: ClassVar[dict[str, int]] = {"msiou": 1, "msiou_adaptive": 1, "msiou_mean": 1}
    finished: ClassVar[dict[str, int]] = {"msiou_max": 1}
    curves: ClassVar[tuple[str, ...]] = ("msiou",)

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        truth = Outlines(pair.fields.mask)
        values = pair.stretched[pair.index]
        levels = (values * 255).astype(np.uint8)
        curve, last = np.empty(257), -1
        for level in [*np.unique(levels).tolist(), 256]:  # the mask changes only above a level that occurs
            curve[last + 1 : level + 1] = truth.cover(levels >= level)
            last = level
        plain, adaptive = truth.cover(values > 0.5), truth.cover(values >= pair.adaptive_threshold)
        return ImageScores(
            {"msiou": plain, "msiou_adaptive": adaptive, "msiou_mean": float(curve.mean())}, {"msiou": curve[255::-1]}
        )

    @staticmethod
    def finish(scores: SetScores) -> dict[str, float]:
        """Take the maximum of the mean curve."""
        return {"msiou_max": float(scores.curves["msiou"].max())}
