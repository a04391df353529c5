"""S-measure (structure), alpha = 0.5: half object similarity, half region similarity.

Paper: Fan et al., Structure-measure, ICCV 2017, doi 10.1109/ICCV.2017.487.
Agrees with: PySODMetrics 1.6.2 (``Smeasure``) to 1e-12 per image (``pysod``); a
pixel-by-pixel transcription of the authors' MATLAB code (``published``) to 1e-9.
Differs: where the truth's centroid lies in the last row or column both references return NaN; the empty quadrants are
left out here, their weight is 0. The MATLAB code stops on a constant map other than 0 and 255; here it counts as its
value / 255.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.pair import EPS, Pair, usual_split
from samis.metrics.truth import MaskFields

ALPHA = 0.5


def s_measure(pair: Pair) -> float:
    """Compute the S-measure of one image.

    Object: 2m / (m^2 + 1 + s) of the map on the defect and of 1 - map off it, m the mean and s the sample deviation,
    blended by area. Region: a structural similarity without constants in the four quadrants about the truth's centroid,
    blended by area. Never below 0.

    ``pysod``: truth > 128, centroid rounded half to even, 0-based. ``published``: truth > 0, centroid rounded half up,
    1-based as MATLAB counts.

    Empty mask: 1 - mean of the map. Full mask: mean of the map. Empty map: 1 on an empty mask, otherwise somewhat below
    0.5, since most quadrants of background agree.

    Args:
        pair: map and truth.

    Returns:
        [0, 1], higher is better.

    Example:
        >>> from samis.metrics.truth import TruthFields
        >>> s_measure(Pair(np.zeros((4, 4), np.uint8), TruthFields(np.zeros((4, 4), bool))))
        1.0
    """
    if pair.protocol == "published":
        fields = pair.truth.fields("nonzero")
        y, x = fields.centroid_yx
        split_yx = int(np.floor(y + 1.5)), int(np.floor(x + 1.5))
    else:
        fields = pair.fields
        split_yx = usual_split(fields)
    values = pair.stretched
    if fields.area in (0, fields.size):
        mean = float(pair.by_value @ values) / fields.size
        return mean if fields.area else 1 - mean
    counts = pair.counts(fields, split_yx)
    truth_share = fields.area / fields.size
    off, on = counts.sum(axis=0)
    objects = _object(values, on) * truth_share + _object(1 - values, off) * (1 - truth_share)
    return max(0.0, ALPHA * objects + (1 - ALPHA) * _region(pair, fields, counts, split_yx))


def _object(values: np.ndarray, counts: np.ndarray) -> float:
    number = float(counts.sum())
    mean = float(counts @ values) / number
    deviation = float(np.sqrt(counts @ (values - mean) ** 2 / (number - 1))) if number > 1 else 0.0
    return 2 * mean / (mean * mean + 1 + deviation + EPS)


def _region(pair: Pair, fields: MaskFields, counts: np.ndarray, split_yx: tuple[int, int]) -> float:
    values = pair.stretched
    number = counts.sum(axis=(1, 2))
    filled = np.maximum(number, 1)
    both = counts.sum(axis=1)
    map_mean = both @ values / filled
    truth_mean = counts[:, 1].sum(axis=1) / filled
    offset = values - map_mean[:, None]
    freedom = number - 1 + EPS
    map_variance = (both * offset**2).sum(axis=1)
    truth_variance = number * truth_mean * (1 - truth_mean)
    covariance = (1 - truth_mean) * (counts[:, 1] * offset).sum(axis=1) - truth_mean * (counts[:, 0] * offset).sum(
        axis=1
    )
    score = 0.0
    for quadrant in np.flatnonzero(number):
        x, y, n = map_mean[quadrant], truth_mean[quadrant], freedom[quadrant]
        one_value = np.count_nonzero(both[quadrant]) == 1
        if one_value and y in (0, 1):
            similarity = _similarity_of_constants(pair, int(quadrant), split_yx, y)
        else:
            variances = map_variance[quadrant] / n + truth_variance[quadrant] / n
            similarity = _similarity(4 * x * y * covariance[quadrant] / n, (x * x + y * y) * variances)
        score += similarity * number[quadrant] / fields.size
    return float(score)


def _similarity(alpha: float, beta: float) -> float:
    if alpha != 0:
        return alpha / (beta + EPS)
    return 1.0 if beta == 0 else 0.0


def _similarity_of_constants(pair: Pair, quadrant: int, split_yx: tuple[int, int], truth_mean: float) -> float:
    """Score a quadrant of one map value and one truth value: 1, or 0 if rounding makes the map's variance positive.

    The reference sums the pixels, so its variance of a constant is 0 or 1e-33 as the mean comes out; to agree with it
    the same pixels are summed here.
    """
    rows = slice(0, split_yx[0]) if quadrant < 2 else slice(split_yx[0], None)
    cols = slice(0, split_yx[1]) if quadrant % 2 == 0 else slice(split_yx[1], None)
    block = pair.index[rows, cols]
    value = pair.stretched[block[0, 0]]
    if value == 0:
        return 1.0
    pixels = np.full(pair.index.shape, value)[rows, cols]
    mean = pixels.mean()
    variance = np.sum((pixels - mean) ** 2) / (block.size - 1 + EPS)
    return _similarity(0.0, float((mean * mean + truth_mean * truth_mean) * variance))


class SMeasure(ImageMetric):
    """Mean over images of `s_measure`."""

    values: ClassVar[dict[str, int]] = {"s_measure": 1}

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        return ImageScores({"s_measure": s_measure(pair)})
