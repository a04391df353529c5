"""The pair that every formula reads: an 8-bit map and its truth, counted once.

Most formulas read no pixels: the pixels are counted once by value, truth and quadrant, and most
metrics are sums over those 8 x 256 counts (`samis.metrics.counted`).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from samis.errors import UserError
from samis.metrics.counted import Counted
from samis.metrics.truth import MaskFields, TruthFields

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = np.arange(256) / 255
FEW_LEVELS = 16
"""A map of bytes that spans fewer levels, but more than one, is warned about where maps are stretched."""


class Pair(Counted):
    """An 8-bit map with its truth, and what several metrics need of both, each computed when first used.

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
        """(K,) float64 in [0, 1]: the value of each level, ascending; K = 256 for bytes."""
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

    @property
    def quadrants(self) -> np.ndarray:
        """(4, 2, K) counts by the quadrants about the truth's centroid; see `Counted`."""
        return self.counts(self.fields, usual_split(self.fields))

    @cached_property
    def by_truth(self) -> np.ndarray:
        """(2, K) counts of the map's levels off and on the truth."""
        return self.counts(self.fields).sum(axis=0)

    @property
    def area(self) -> np.ndarray:
        """() float64: defect pixels of the truth under the common rule."""
        return np.array(self.fields.area, np.float64)

    @property
    def size(self) -> np.ndarray:
        """() float64: pixels."""
        return np.array(self.fields.size, np.float64)

    def pixels(self, place: tuple[int, ...]) -> np.ndarray:
        """Return the map's (H, W) levels."""
        return self.index

    def split_yx(self, place: tuple[int, ...]) -> tuple[int, int]:
        """Return where the quadrants meet: first row of the lower and first column of the right ones."""
        return usual_split(self.fields)

    @cached_property
    def low_high(self) -> tuple[int, int]:
        """The map's smallest and largest level that occurs."""
        present = np.flatnonzero(self.by_value)
        return int(present[0]), int(present[-1])

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


def check_map(map_u8: np.ndarray, hw: tuple[int, int], *, source: str = "map") -> np.ndarray:
    """Return the map as a contiguous array, checked.

    Args:
        map_u8: (H, W) uint8.
        hw: size of the truth, px.
        source: name for error messages.

    Raises:
        UserError: another type or size.
    """
    map_u8 = np.asarray(map_u8)
    if map_u8.dtype != np.uint8 or map_u8.ndim != 2:
        raise UserError(
            f"{source}: expected an (H, W) uint8 map, got {map_u8.dtype} of shape {map_u8.shape}; turn floats into bytes with "
            "quantise()",
            code="E-METRIC-MAP-TYPE",
        )
    if map_u8.shape != hw:
        raise UserError(
            f"{source}: expected the truth's size {hw[0]}x{hw[1]}, got {map_u8.shape[0]}x{map_u8.shape[1]}; resize the map "
            "before scoring",
            code="E-METRIC-MAP-SIZE",
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
        raise UserError(
            f"{source}: expected rounding 'round' or 'truncate', got {rounding!r}", code="E-METRIC-ROUNDING"
        )
    if values.size and not np.isfinite(values).all():
        raise UserError(
            f"{source}: expected numbers in [0, 1], got NaN or infinity; check whether the network has diverged",
            code="E-METRIC-NOT-FINITE",
        )
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise UserError(
            f"{source}: expected values in [0, 1], got {values.min():.9g}..{values.max():.9g}; apply the sigmoid, divide by "
            "255, or clip",
            code="E-METRIC-MAP-RANGE",
        )
    scaled = values.astype(np.float64) * 255
    return np.floor(scaled + 0.5 if rounding == "round" else scaled).astype(np.uint8)
