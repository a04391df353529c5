"""The pair every formula reads: an 8-bit map and its truth, counted once.

A formula never touches pixels if it can help it: the pixels are counted once by value, truth and quadrant, and most
metrics are sums over those 8 x 256 counts. Normalisation is a table of 256 values, so it is exact for 8-bit maps and
costs nothing per pixel.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from samis.errors import UserError
from samis.metrics.truth import MaskFields, TruthFields

if TYPE_CHECKING:
    from torch import Tensor

EPS = float(np.spacing(1.0))
LEVELS = np.arange(256) / 255
THRESHOLDS = np.arange(255, -1, -1)
"""The threshold that each of a curve's 256 entries stands for: entry 0 is 255, the last is 0 (all foreground)."""
_DESCENDING = THRESHOLDS.astype(np.float64)


class Pair:
    """An 8-bit map with its truth, and what several metrics need of both, each computed when first asked for.

    Args:
        map_u8: (H, W) uint8.
        truth: its ground truth's fields.
        protocol: key of ``samis.metrics.PROTOCOLS``.
        threshold: the absolute threshold of the ``inspection`` protocol, in [0, 1]; map values at or above it count.

    Raises:
        UserError: the map is not (H, W) uint8, or not of the truth's size.
    """

    def __init__(
        self, map_u8: np.ndarray, truth: TruthFields, *, protocol: str = "pysod", threshold: float = 0.5
    ) -> None:
        self.map_u8 = _without_ignored(check_map(map_u8, truth.hw), truth)
        self.tensor: Tensor | None = None
        self.truth = truth
        self.protocol = protocol
        self.threshold = threshold
        self._counts: dict[tuple[int, tuple[int, int]], np.ndarray] = {}

    @property
    def index(self) -> np.ndarray:
        """(H, W): which level each pixel has; of bytes they are the levels themselves."""
        return self.map_u8

    @property
    def levels(self) -> np.ndarray:
        """(K,) float64 in [0, 1]: what each level stands for, ascending; K = 256 for bytes."""
        return LEVELS

    @property
    def fields(self) -> MaskFields:
        """The truth under the common rule, above 128."""
        return self.truth.fields("above_128")

    def counts(self, fields: MaskFields, split_yx: tuple[int, int] | None = None) -> np.ndarray:
        """Count the map's values by quadrant and truth.

        Args:
            fields: the truth to count by.
            split_yx: where the quadrants meet; None: any split will do, an earlier one is taken if there is.

        Returns:
            (4, 2, 256) float64, whole numbers: quadrants in reading order, background then defect, map value.
        """
        if split_yx is None:
            known = next((counts for key, counts in self._counts.items() if key[0] == id(fields)), None)
            if known is not None:
                return known
            split_yx = usual_split(fields)
        key = (id(fields), split_yx)
        if key not in self._counts:
            self._counts[key] = self._count(fields, split_yx)
        return self._counts[key]

    def _count(self, fields: MaskFields, split_yx: tuple[int, int]) -> np.ndarray:
        codes = fields.codes(split_yx)
        if fields.size < 2**24:  # OpenCV returns float32, which holds these counts exactly
            counts = cv2.calcHist([codes, self.map_u8], [0, 1], None, [8, 256], [0, 8, 0, 256])
        else:
            joint = (codes.astype(np.uint16) << 8) + self.map_u8
            counts = np.bincount(joint.ravel(), minlength=2048)
        return counts.astype(np.float64).reshape(4, 2, 256)

    @cached_property
    def by_truth(self) -> np.ndarray:
        """(2, K) counts of the map's levels off and on the truth."""
        return self.counts(self.fields).sum(axis=0)

    @cached_property
    def by_value(self) -> np.ndarray:
        """(K,) counts of the map's levels, whatever the truth."""
        return self.by_truth.sum(axis=0)

    @cached_property
    def low_high(self) -> tuple[int, int]:
        """The map's smallest and largest level that occurs."""
        present = np.flatnonzero(self.by_value)
        return int(present[0]), int(present[-1])

    @cached_property
    def stretched(self) -> np.ndarray:
        """(K,) float64: each level, min-max stretched (bytes / 255 first, in that order of operations) unless the map is
        constant.

        Entries outside the map's own range mean nothing and are never counted.
        """
        values = self.levels
        low, high = self.low_high
        return values if low == high else (values - values[low]) / (values[high] - values[low])

    @cached_property
    def mean(self) -> float:
        """Mean of the stretched map."""
        return float(self.by_value @ self.stretched) / self.fields.size

    @cached_property
    def adaptive_threshold(self) -> float:
        """Twice the mean of the stretched map, at most 1.

        Where some map value is as good as equal to it, rounding decides about ">=": the mean is then taken over the
        pixels, in numpy's own order of summation, which is the reference's.
        """
        threshold = min(2 * self.mean, 1)
        first = np.searchsorted(self.stretched, threshold - 1e-9, side="right")
        last = np.searchsorted(self.stretched, threshold + 1e-9)
        if threshold < 1 and bool(self.by_value[first:last].any()):
            threshold = min(2 * float(self.stretched[self.index].mean()), 1)
        return threshold

    @cached_property
    def hits(self) -> tuple[np.ndarray, np.ndarray]:
        """Defect and background pixels at or above a threshold: two (258,) float64 vectors of whole numbers.

        The first 256 entries are the thresholds 255, 254 .. 0 on floor(255 * stretched), entry 256 the adaptive
        threshold, entry 257 "above 0.5".
        """
        levels = self.stretched
        first = np.empty(258, np.int64)  # the lowest level that counts
        first[:256] = np.searchsorted(levels * 255, _DESCENDING)
        first[256] = np.searchsorted(levels, self.adaptive_threshold)
        first[257] = np.searchsorted(levels, 0.5, side="right")
        above = np.zeros((2, len(levels) + 1))  # pixels at or above each level
        np.cumsum(self.by_truth[:, ::-1], axis=1, out=above[:, 1:])
        both = above.take(len(levels) - first, axis=1)
        return both[1], both[0]

    @cached_property
    def precision_recall(self) -> tuple[np.ndarray, np.ndarray]:
        """Precision and recall at the thresholds of `hits`, (258,) each; 0/0 = 0."""
        found, false = self.hits
        return found / np.maximum(found + false, 1), found / max(self.fields.area, 1)

    @cached_property
    def restretched(self) -> np.ndarray:
        """(K,) float64: each level min-max stretched, as value / 255, and rounded half up to 8 bits again, 0..255; zeros
        if constant. Stretching the bytes themselves would round other values in 7,551 of the 32,640 ranges.
        """
        low, high = self.low_high
        if low == high:
            return np.zeros(len(self.levels))
        return np.clip(np.floor(self.stretched * 255 + 0.5), 0, 255)

    @property
    def cut(self) -> int:
        """The lowest level at or above the absolute threshold, 0..K."""
        return int(np.searchsorted(self.levels, self.threshold, side="left"))

    @cached_property
    def detected(self) -> np.ndarray:
        """(H, W) bool: map values at or above the absolute threshold, without any stretching."""
        return self.index >= self.cut

    @property
    def by_truth_and_byte(self) -> np.ndarray:
        """(2, 256) counts of pixels off and on the truth, by the highest of the thresholds 0 .. 255 they reach."""
        return self.by_truth

    @property
    def reached(self) -> np.ndarray:
        """(H, W): the highest of the thresholds 0 .. 255 that each pixel reaches."""
        return self.map_u8

    @property
    def above_128(self) -> np.ndarray:
        """(H, W) bool: above 128 of 255."""
        return self.map_u8 > 128

    @property
    def peak(self) -> int:
        """The map's largest value as a byte."""
        return round(float(self.levels[self.low_high[1]]) * 255)


def _without_ignored(map_u8: np.ndarray, truth: TruthFields) -> np.ndarray:
    """Give the pixels that the truth leaves out the lowest value of the others: no hits, no false alarms, same stretch."""
    if truth.ignored is None or not truth.ignored.any():
        return map_u8
    return np.where(truth.ignored, map_u8[~truth.ignored].min(initial=255), map_u8)


def usual_split(fields: MaskFields) -> tuple[int, int]:
    """Return where the quadrants of the S-measure meet: one past the centroid, rounded half to even, 0-based."""
    y, x = fields.centroid_yx
    return int(np.rint(y)) + 1, int(np.rint(x)) + 1


def mean_of(curve: np.ndarray) -> float:
    """Return the mean of a (256,) curve; on so few numbers numpy's own spends its time on its options."""
    return float(np.add.reduce(curve)) / len(curve)


def check_map(map_u8: np.ndarray, hw: tuple[int, int], *, source: str = "map") -> np.ndarray:
    """Return the map as a contiguous array, or raise a UserError that says what is wrong with it."""
    map_u8 = np.asarray(map_u8)
    if map_u8.dtype != np.uint8 or map_u8.ndim != 2:
        came = f"{map_u8.dtype} of shape {map_u8.shape}"
        raise UserError(f"{source}: expected an (H, W) uint8 map, got {came}; turn floats into bytes with quantise()")
    if map_u8.shape != hw:
        came = f"{map_u8.shape[0]}x{map_u8.shape[1]}"
        raise UserError(
            f"{source}: expected the truth's size {hw[0]}x{hw[1]}, got {came}; resize the map before scoring"
        )
    return np.ascontiguousarray(map_u8)


def quantise(values: np.ndarray, *, rounding: str = "round", source: str = "map") -> np.ndarray:
    """Turn a float map into the bytes that saving it would store.

    Args:
        values: (H, W) float, [0, 1].
        rounding: ``round`` (half up) or ``truncate``; published maps were saved either way.
        source: name for error messages.

    Returns:
        (H, W) uint8.

    Raises:
        UserError: a value is not a number or outside [0, 1] (logits, or 0..255 kept as floats), or the rounding
            unknown.

    Example:
        >>> quantise(np.array([[0.0, 0.5, 1.0]])).tolist()
        [[0, 128, 255]]
    """
    values = np.asarray(values)
    if rounding not in ("round", "truncate"):
        raise UserError(f"{source}: expected rounding 'round' or 'truncate', got {rounding!r}")
    if values.size and not np.isfinite(values).all():
        raise UserError(f"{source}: expected numbers in [0, 1], got NaN or infinity; look for a diverged network")
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        came = f"{values.min():.4g}..{values.max():.4g}"
        raise UserError(f"{source}: expected values in [0, 1], got {came}; apply the sigmoid, or divide by 255")
    scaled = values.astype(np.float64) * 255
    return np.floor(scaled + 0.5 if rounding == "round" else scaled).astype(np.uint8)
