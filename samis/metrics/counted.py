"""Sums over the counts of one map, or of a stack of maps: what several formulas read, each computed when first used.

Every array has leading axes "...": none for one map (`samis.metrics.pair.Pair`), one for a stack (`samis.metrics.stack.Stack`),
so that a formula written with them scores both. Normalisation is a table of the K levels, exact and without cost per pixel.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import numpy as np

EPS = float(np.spacing(1.0))
THRESHOLDS = np.arange(255, -1, -1)
"""The threshold of each of a curve's 256 entries: entry 0 is 255, the last is 0 (all foreground)."""


class Counted:
    """Maps counted by level, truth and quadrant.

    A subclass has `protocol`, `levels` (K,) float64 ascending in [0, 1], and the properties that raise here.
    """

    protocol: str

    @property
    def levels(self) -> np.ndarray:
        """(K,) float64 in [0, 1]: the value of each level, ascending; K = 256 for bytes."""
        raise NotImplementedError

    @property
    def quadrants(self) -> np.ndarray:
        """(..., 4, 2, K) float64, whole numbers: quadrants in reading order, background then defect, level."""
        raise NotImplementedError

    @property
    def by_truth(self) -> np.ndarray:
        """(..., 2, K) counts of the levels off and on the truth."""
        raise NotImplementedError

    @property
    def area(self) -> np.ndarray:
        """(...) float64: defect pixels of the truth."""
        raise NotImplementedError

    @property
    def size(self) -> np.ndarray:
        """(...) float64: pixels."""
        raise NotImplementedError

    def pixels(self, place: tuple[int, ...]) -> np.ndarray:
        """Return the (H, W) levels of the map at a place of the leading axes."""
        raise NotImplementedError

    def split_yx(self, place: tuple[int, ...]) -> tuple[int, int]:
        """Return where the quadrants meet of the map at a place of the leading axes."""
        raise NotImplementedError

    def table(self, place: tuple[int, ...]) -> np.ndarray:
        """Return the (K,) stretched levels of the map at a place of the leading axes."""
        return cast(np.ndarray, self.stretched[place])

    @cached_property
    def by_value(self) -> np.ndarray:
        """(..., K) counts of the levels, whatever the truth."""
        return cast(np.ndarray, self.by_truth.sum(axis=-2))

    @cached_property
    def low_high(self) -> tuple[Any, Any]:
        """The smallest and the largest level that occurs, (...) int each."""
        present = self.by_value > 0
        return present.argmax(axis=-1), present.shape[-1] - 1 - present[..., ::-1].argmax(axis=-1)

    @cached_property
    def stretched(self) -> np.ndarray:
        """(..., K) float64: each level, min-max stretched (bytes / 255 first, in that order of operations) unless the map is
        constant.

        Entries outside the map's own range have no meaning and are never counted.
        """
        lowest, highest = (np.asarray(self.levels[level])[..., None] for level in self.low_high)
        constant = lowest == highest
        stretched = (self.levels - np.where(constant, 0, lowest)) / np.where(constant, 1, highest - lowest)
        return cast(np.ndarray, stretched)

    @cached_property
    def mean(self) -> np.ndarray:
        """(...) mean of the stretched map."""
        return cast(np.ndarray, (self.by_value * self.stretched).sum(axis=-1) / self.size)

    @cached_property
    def adaptive_threshold(self) -> np.ndarray:
        """(...) float64: twice the mean of the stretched map, at most 1.

        Where some map value is as good as equal to it, rounding decides about ">=": the mean is then taken over the
        pixels, in numpy's own order of summation, which is the reference's.
        """
        threshold = np.array(np.minimum(2 * self.mean, 1))
        near = (np.abs(self.stretched - threshold[..., None]) < 1e-9) & (self.by_value > 0)
        for index in np.argwhere(near.any(axis=-1) & (threshold < 1)):
            place = tuple(index)
            threshold[place] = min(2 * float(self.table(place)[self.pixels(place)].mean()), 1)
        return threshold

    @cached_property
    def hits(self) -> tuple[np.ndarray, np.ndarray]:
        """Defect and background pixels at or above a threshold: two (..., 258) float64 arrays of whole numbers.

        The first 256 entries are the thresholds 255, 254 .. 0 on floor(255 * stretched), entry 256 the adaptive
        threshold, entry 257 "above 0.5".
        """
        counts = self.by_truth
        reached = np.floor(self.stretched * 255).clip(0, 255).astype(np.int64)
        rows = np.arange(counts[..., 0].size).reshape(*counts.shape[:-1], 1)  # each its own 256 places
        places = rows * 256 + reached[..., None, :]
        bins = np.bincount(places.ravel(), weights=counts.ravel(), minlength=rows.size * 256)
        both = np.empty((*counts.shape[:-1], 258))
        np.cumsum(bins.reshape(*counts.shape[:-1], 256)[..., ::-1], axis=-1, out=both[..., :256])
        adaptive = self.stretched >= self.adaptive_threshold[..., None]
        both[..., 256] = (counts * adaptive[..., None, :]).sum(axis=-1)
        both[..., 257] = (counts * (self.stretched > 0.5)[..., None, :]).sum(axis=-1)
        return both[..., 1, :], both[..., 0, :]

    @cached_property
    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall at the thresholds of `hits`, (..., 258) each; 0/0 = 0."""
        hit, false = self.hits
        return hit / np.maximum(hit + false, 1), hit / np.maximum(self.area, 1)[..., None]


def mean_of(curve: np.ndarray) -> float:
    """Return the mean of a (..., 256) curve, see `number`; on so few numbers numpy's own spends its time on its options."""
    return number(np.add.reduce(curve, axis=-1) / curve.shape[-1])


def number(values: np.ndarray) -> float:
    """Return one map's number as a float; the numbers of a stack stay an array until `samis.metrics.base` takes it apart."""
    return float(values) if np.ndim(values) == 0 else cast(float, values)
