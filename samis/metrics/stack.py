"""Several maps of bytes as one: their counts along a first axis, so that a formula runs once for all of them.

On 256 levels a numpy call spends most of its time before it computes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from samis.metrics.counted import Counted
from samis.metrics.pair import LEVELS, Pair, usual_split


class Stack(Counted):
    """The counts of n maps of bytes, of any sizes; "..." of `Counted` is (n,).

    Args:
        pairs: at least one, of one protocol.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(pairs)
        self.protocol = pairs[0].protocol

    def share(self) -> None:
        """Let each pair have its row of what is computed for all, for the formulas that read its pixels."""
        lows, highs = (levels.tolist() for levels in self.low_high)
        for pair, low, high, stretched in zip(self.pairs, lows, highs, self.stretched, strict=True):
            pair.low_high, pair.stretched = (low, high), stretched

    @property
    def levels(self) -> np.ndarray:
        """(256,) float64 in [0, 1]."""
        return LEVELS

    @cached_property
    def quadrants(self) -> np.ndarray:
        """(n, 4, 2, 256) float64; see `Counted`."""
        return np.stack([pair.quadrants for pair in self.pairs])

    @cached_property
    def by_truth(self) -> np.ndarray:
        """(n, 2, 256) float64; see `Counted`."""
        return np.stack([pair.by_truth for pair in self.pairs])

    @cached_property
    def area(self) -> np.ndarray:
        """(n,) float64: defect pixels of the truths."""
        return np.array([pair.fields.area for pair in self.pairs], np.float64)

    @cached_property
    def size(self) -> np.ndarray:
        """(n,) float64: pixels."""
        return np.array([pair.fields.size for pair in self.pairs], np.float64)

    def split_yx(self, place: tuple[int, ...]) -> tuple[int, int]:
        """Return where the quadrants of one map meet."""
        return usual_split(self.pairs[place[0]].fields)

    def pixels(self, place: tuple[int, ...]) -> np.ndarray:
        """Return one map's (H, W) levels."""
        return self.pairs[place[0]].index
