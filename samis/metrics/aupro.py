"""AUPRO: area under the per-region overlap over the false positive rate, up to a rate of 0.3 (``inspection``).

Paper: Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, doi 10.1007/s11263-020-01400-4.
Every defect counts the same, however small. There are 256 thresholds, k / 255, which are all that maps of bytes have, and the
counts add up over batches and processes; floats that span few of them are warned about in `samis.metrics.folders`.
A map of zeros everywhere scores 0.15, not 0: its curve has two points, 0 at a rate of 0 and 1 at a rate of 1,
and the straight line between them has that area below 0.3. So does any constant map.
Agrees with: the definition computed pixel by pixel over sorted scores (in the tests) to 1e-12.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores, SetScores
from samis.metrics.fixed_threshold import absolute_hits
from samis.metrics.pair import Pair

LIMIT = 0.3


def region_overlaps(pair: Pair) -> np.ndarray:
    """Sum over an image's defects the share of each that is at or above the thresholds 255, 254 .. 0.

    Args:
        pair: map and truth; the map is not stretched.

    Returns:
        (256,); zeros on an empty mask; on an empty map only threshold 0 reaches anything.
    """
    labels, areas = pair.fields.components
    inside = pair.fields.mask
    joint = (labels[inside].astype(np.int64) - 1) * 256 + pair.reached[inside]
    counts = np.bincount(joint, minlength=256 * len(areas)).reshape(len(areas), 256)
    return (np.cumsum(counts[:, ::-1], axis=1) / areas[:, None]).sum(axis=0)


def area_under(rate: np.ndarray, overlap: np.ndarray, *, limit: float = LIMIT) -> float:
    """Integrate the overlap over the false positive rate from 0 to `limit`, by trapezoids, and divide by `limit`.

    Args:
        rate: (256,) false positive rate, rising to 1.
        overlap: (256,) mean overlap at the same thresholds.
        limit: end of the integral, (0, 1].

    Returns:
        [0, 1], higher is better.

    Example:
        >>> area_under(np.array([0.0, 1.0]), np.array([1.0, 1.0]))
        1.0
    """
    rate, overlap = np.concatenate([[0.0], rate]), np.concatenate([[0.0], overlap])
    inside = rate < limit
    first = int(np.count_nonzero(inside))  # the first threshold at which the limit is reached
    # Of several at the limit itself only the first counts: the values at the others are above the end of the integral.
    end = overlap[first] if rate[first] == limit else np.interp(limit, rate[: first + 1], overlap[: first + 1])
    x, y = np.append(rate[inside], limit), np.append(overlap[inside], end)
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2)) / limit


class AUPRO(ImageMetric):
    """``aupro`` of a set; left out where there is no defect, or no background."""

    finished: ClassVar[dict[str, int]] = {"aupro": 1}
    totals: ClassVar[dict[str, int]] = {"pro_overlap": 256, "pro_false": 256, "pro_regions": 1, "pro_background": 1}

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Count one image's regions and false positives at all thresholds."""
        return ImageScores(
            totals={
                "pro_overlap": region_overlaps(pair),
                "pro_false": absolute_hits(pair)[1],
                "pro_regions": np.array([float(len(pair.fields.components[1]))]),
                "pro_background": np.array([float(pair.fields.size - pair.fields.area)]),
            }
        )

    @staticmethod
    def finish(scores: SetScores) -> dict[str, float]:
        """Integrate."""
        regions, background = float(scores.totals["pro_regions"][0]), float(scores.totals["pro_background"][0])
        if not regions or not background:
            return {}
        return {"aupro": area_under(scores.totals["pro_false"] / background, scores.totals["pro_overlap"] / regions)}
