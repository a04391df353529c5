"""The pair of a map kept as floats: counted by the levels that it really has, so that stretching loses nothing.

A faint map rounded to bytes first would have a few levels left, and stretching those makes another map of it: one that
holds 0.002 at most would come out black and white.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from samis.errors import UserError
from samis.metrics.pair import Pair, check_map, quantise
from samis.metrics.truth import MaskFields, TruthFields

_ULPS = 4
"""Values that differ from byte / 255 by so many of their type's last digits are bytes that were divided by 255."""


def make_pair(
    values: np.ndarray, truth: TruthFields, *, protocol: str = "pysod", threshold: float = 0.5, source: str = "map"
) -> Pair:
    """Return the pair of a map of bytes or of floats; floats that are bytes / 255 count as those bytes.

    Args:
        values: (H, W) uint8; or float or bool in [0, 1].
        truth: as for `samis.metrics.Pair`.
        protocol: as for `samis.metrics.Pair`.
        threshold: as for `samis.metrics.Pair`.
        source: name for error messages.

    Raises:
        UserError: of another type or size, not finite, or outside [0, 1].
    """
    if values.dtype == np.bool_:
        values = values.astype(np.float64)
    if values.dtype == np.uint8 or not np.issubdtype(values.dtype, np.floating):
        return Pair(check_map(values, truth.hw, source=source), truth, protocol=protocol, threshold=threshold)
    as_bytes = check_map(quantise(values, source=source), truth.hw, source=source)
    if is_bytes(values, as_bytes, float(np.finfo(values.dtype).eps)):
        return Pair(as_bytes, truth, protocol=protocol, threshold=threshold)
    return FloatPair(values, as_bytes, truth, protocol=protocol, threshold=threshold)


def is_bytes(values: Any, as_bytes: Any, eps: float) -> bool:
    """Return whether floats are bytes / 255, up to the last digits of their type.

    Args:
        values: (H, W) float, an array or a tensor.
        as_bytes: the same rounded to uint8.
        eps: of the type of `values`.
    """
    exact = as_bytes / 255
    return bool((abs(values - exact) <= _ULPS * eps * exact).all())


class FloatPair(Pair):
    """A `Pair` whose map has K levels of its own instead of 256 bytes.

    Args:
        values: (H, W) float in [0, 1], finite.
        as_bytes: the same as (H, W) uint8, rounded.
        truth: as for `samis.metrics.Pair`.
        protocol: as for `samis.metrics.Pair`.
        threshold: as for `samis.metrics.Pair`.
    """

    def __init__(
        self,
        values: np.ndarray,
        as_bytes: np.ndarray,
        truth: TruthFields,
        *,
        protocol: str = "pysod",
        threshold: float = 0.5,
    ) -> None:
        super().__init__(as_bytes, truth, protocol=protocol, threshold=threshold)
        values = np.asarray(values, dtype=np.float64)
        if truth.ignored is not None:
            values = np.where(truth.ignored, values[~truth.ignored].min(initial=1.0), values)
        self._levels, index = np.unique(values, return_inverse=True)
        self._index = index.reshape(values.shape).astype(np.int64)
        if self._levels.size == 0:
            raise UserError("map: has no pixel; check the file", code="E-METRIC-MAP-EMPTY")

    @property
    def index(self) -> np.ndarray:
        """(H, W) int64: which level each pixel has."""
        return self._index

    @property
    def levels(self) -> np.ndarray:
        """(K,) float64: the map's values, ascending."""
        return self._levels

    def _count(self, fields: MaskFields, split_yx: tuple[int, int]) -> np.ndarray:
        count = len(self._levels)
        joint = fields.codes(split_yx).astype(np.int64) * count + self._index
        return np.bincount(joint.ravel(), minlength=8 * count).astype(np.float64).reshape(4, 2, count)

    @cached_property
    def low_high(self) -> tuple[int, int]:
        """The first and the last level."""
        return 0, len(self._levels) - 1

    @cached_property
    def as_floor(self) -> np.ndarray:
        """(K,) int64: the highest of the thresholds 0/255 .. 255/255 that each level reaches."""
        return np.floor(self._levels * 255 + 1e-6).astype(np.int64).clip(0, 255)

    @cached_property
    def by_truth_and_byte(self) -> np.ndarray:
        """(2, 256) counts of pixels off and on the truth, by the highest threshold they reach."""
        return np.stack([np.bincount(self.as_floor, weights=counts, minlength=256) for counts in self.by_truth])

    @property
    def reached(self) -> np.ndarray:
        """(H, W): the highest of the thresholds 0 .. 255 that each pixel reaches."""
        return self.as_floor[self._index]

    @property
    def above_128(self) -> np.ndarray:
        """(H, W) bool: above 128 / 255."""
        return (self._levels * 255 > 128)[self._index]
