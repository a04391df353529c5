"""Finds images that show the same thing: equal pixels, or the same surface photographed twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

_THUMB_PX = 48
NEAR = 0.9
"""Correlation from which two thumbnails count as near duplicates (chosen by viewing pairs of magnetic tiles)."""
_FLAT = 0.5  # standard deviation, grey levels, below which an image shows nothing to compare


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return a small grey signature of an image.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (48 * 48,) float32 of length 1, independent of brightness, contrast and stripes along the image's sides (all rails
        and rolled sheets have those: each row and column has mean 0); zeros for an image that shows nothing.
    """
    small = Image.fromarray(image).convert("L").resize((_THUMB_PX, _THUMB_PX), Image.Resampling.BILINEAR)
    values = np.asarray(small, dtype=np.float32)
    values = values - values.mean(axis=0, keepdims=True)
    values = values - values.mean(axis=1, keepdims=True)
    length = float(np.linalg.norm(values))
    return values.ravel() / length if length > _FLAT * _THUMB_PX else np.zeros(values.size, np.float32)


def near_pairs(thumbnails: np.ndarray, *, near: float = NEAR) -> list[tuple[int, int, float]]:
    """Return pairs (i, j, correlation), i < j, of near duplicates, in order.

    Args:
        thumbnails: (N, D) float32, one ``thumbnail`` per row.
        near: least correlation.

    >>> near_pairs(np.float32([[1, 0], [0, 1], [1, 0]]))
    [(0, 2, 1.0)]
    """
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(thumbnails), 512):
        correlation = thumbnails[start : start + 512] @ thumbnails.T
        for row, column in zip(*np.where(correlation >= near), strict=True):
            if start + row < column:
                pairs.append((int(start + row), int(column), round(float(correlation[row, column]), 4)))
    return pairs


def group_pairs(count: int, pairs: Sequence[tuple[int, int, float]]) -> list[int]:
    """Return a group number for each of `count` items such that paired items have the same, also by way of others.

    Args:
        count: how many items.
        pairs: (i, j, correlation), as from ``near_pairs``.

    >>> group_pairs(4, [(0, 2, 1.0), (2, 3, 1.0)])
    [0, 1, 0, 0]
    """
    group = list(range(count))

    def root(index: int) -> int:
        while group[index] != index:
            index = group[index]
        return index

    for first, second, _ in pairs:
        low, high = sorted((root(first), root(second)))
        group[high] = low
    return [root(index) for index in range(count)]
