"""S-measure (structure), alpha = 0.5: half object similarity, half region similarity.

Paper: Fan et al., Structure-measure, ICCV 2017, doi 10.1109/ICCV.2017.487.
Agrees with: PySODMetrics 1.6.2 (``Smeasure``) to 1e-12 per image (``pysod``); a
pixel-by-pixel transcription of the authors' MATLAB code (``published``) to 1e-9.
Differs: where the truth's centroid is in the last row or column both references return NaN; the empty quadrants are
left out here, their weight is 0. The MATLAB code stops on a constant map other than 0 and 255; here it counts as its
value / 255.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.counted import EPS, Counted, number
from samis.metrics.pair import Pair

ALPHA = 0.5


def s_measure(pair: Counted) -> float:
    """Compute the S-measure of one image.

    Object: 2m / (m^2 + 1 + s) of the map on the defect and of 1 - map off it, m the mean and s the sample standard deviation,
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
    if pair.protocol == "published" and isinstance(pair, Pair):
        fields = pair.truth.fields("nonzero")
        y, x = fields.centroid_yx
        split_yx = int(np.floor(y + 1.5)), int(np.floor(x + 1.5))
        counts, area = pair.counts(fields, split_yx), np.array(fields.area, np.float64)
    else:
        split_yx, counts, area = None, pair.quadrants, pair.area
    values, size = pair.stretched, pair.size
    truth_share = area / size
    off, on = np.moveaxis(counts.sum(axis=-3), -2, 0)
    mean = ((off + on) * values).sum(axis=-1) / size
    objects = _object(values, on) * truth_share + _object(1 - values, off) * (1 - truth_share)
    needed = (area > 0) & (area < size)
    score = np.maximum(0.0, ALPHA * objects + (1 - ALPHA) * _region(pair, counts, needed, split_yx))
    return number(np.where(area == 0, 1 - mean, np.where(area == size, mean, score)))


def _object(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    size = np.maximum(counts.sum(axis=-1), 1)
    mean = (counts * values).sum(axis=-1) / size
    std = np.sqrt((counts * (values - mean[..., None]) ** 2).sum(axis=-1) / np.maximum(size - 1, 1))
    similarity: np.ndarray = 2 * mean / (mean * mean + 1 + std + EPS)
    return similarity


def _region(pair: Counted, counts: np.ndarray, needed: np.ndarray, split_yx: tuple[int, int] | None) -> np.ndarray:
    """Blend the quadrants' similarities by area.

    Args:
        pair: map and truth, or a stack of them.
        counts: (..., 4, 2, K) counts by quadrant, truth and level.
        needed: (...) bool, the maps whose result is used.
        split_yx: where the quadrants meet; None: as in the pair.

    Returns:
        (...) float64.
    """
    values = pair.stretched[..., None, :]
    pixels = counts.sum(axis=(-2, -1))
    filled = np.maximum(pixels, 1)
    off, on = counts[..., 0, :], counts[..., 1, :]
    both = off + on
    map_mean = (both * values).sum(axis=-1) / filled
    truth_mean = on.sum(axis=-1) / filled
    offset = values - map_mean[..., None]
    freedom = pixels - 1 + EPS
    map_variance = (both * offset**2).sum(axis=-1)
    truth_variance = pixels * truth_mean * (1 - truth_mean)
    covariance = (1 - truth_mean) * (on * offset).sum(axis=-1) - truth_mean * (off * offset).sum(axis=-1)
    variances = map_variance / freedom + truth_variance / freedom
    similarity = _similarity(
        4 * map_mean * truth_mean * covariance / freedom, (map_mean**2 + truth_mean**2) * variances
    )
    one_value = np.count_nonzero(both, axis=-1) == 1
    for place in np.argwhere(one_value & ((truth_mean == 0) | (truth_mean == 1)) & needed[..., None]):
        where = tuple(place)
        value = pair.table(where[:-1])[both[where].argmax()]
        split = split_yx or pair.split_yx(where[:-1])
        similarity[where] = value == 0 or _similarity_of_constants(pair, where, split, value, truth_mean[where])
    blended: np.ndarray = (similarity * pixels).sum(axis=-1) / pair.size
    return blended


def _similarity(alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    return np.where(alpha != 0, alpha / (beta + EPS), beta == 0)


def _similarity_of_constants(
    pair: Counted, where: tuple[int, ...], split_yx: tuple[int, int], value: float, truth_mean: float
) -> float:
    """Score a quadrant of one map value and one truth value: 1, or 0 if rounding makes the map's variance positive.

    The reference sums the pixels, so its variance of a constant is 0 or 1e-33 as the mean comes out; to agree with it
    the same pixels are summed here.
    """
    quadrant = where[-1]
    rows = slice(0, split_yx[0]) if quadrant < 2 else slice(split_yx[0], None)
    cols = slice(0, split_yx[1]) if quadrant % 2 == 0 else slice(split_yx[1], None)
    pixels = np.full(pair.pixels(where[:-1]).shape, value)[rows, cols]
    mean = pixels.mean()
    variance = np.sum((pixels - mean) ** 2) / (pixels.size - 1 + EPS)
    return float((mean * mean + truth_mean * truth_mean) * variance == 0)


class SMeasure(ImageMetric):
    """Mean over images of `s_measure`."""

    stacks: ClassVar[bool] = True
    values: ClassVar[dict[str, int]] = {"s_measure": 1}

    @staticmethod
    def formula(pair: Counted) -> ImageScores:
        """Score one image, or a stack."""
        return ImageScores({"s_measure": s_measure(pair)})
