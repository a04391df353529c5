"""How far background pixels are from the truth, and which truth pixel is nearest to each of those near it.

The distance is Euclidean and exact. Among equally near truth pixels the leftmost is taken, of those the uppermost: scipy's
choice (``distance_transform_edt``), hence that of PySODMetrics' weighted F.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

REACH = 3
"""Half the side of the weighted F's blur, px: it reads no further than so many rows and columns from the truth."""
_NEAR = 2 * REACH**2
_FAR = 300  # px: from here on 2 - 0.5^(d/5) is 2 in float64


@dataclass(frozen=True)
class Surround:
    """What the weighted F reads of a truth's background.

    Attributes:
        weights: (H, W) float64, 2 - 0.5^(d/5) on the background, d the Euclidean distance to the truth in px; 0 inside.
        window: rows and columns of the truth's bounding box, 3 px wider where the image allows.
        near: (n,) int64, flat indices within the window of the background pixels up to sqrt(18) px from the truth, which
            are all of those at most 3 rows and 3 columns from it.
        nearest: (n,) int64, flat index within the window of each one's nearest truth pixel.
        inside: (m,) int64, flat indices within the window of the truth's pixels.
    """

    weights: np.ndarray
    window: tuple[slice, slice]
    near: np.ndarray
    nearest: np.ndarray
    inside: np.ndarray


def surround_of(mask_u8: np.ndarray) -> Surround:
    """Return the surround of a mask.

    Args:
        mask_u8: (H, W) uint8, 0 or 1, at least one 1.
    """
    squared = _squared_distance(1 - mask_u8)
    x, y, width, height = cv2.boundingRect(mask_u8)
    window = (
        slice(max(y - REACH, 0), min(y + height + REACH, mask_u8.shape[0])),
        slice(max(x - REACH, 0), min(x + width + REACH, mask_u8.shape[1])),
    )
    near, nearest = _nearest(mask_u8[window], squared[window])
    return Surround(_weights().take(squared), window, near, nearest, np.flatnonzero(mask_u8[window]))


def _squared_distance(outside: np.ndarray) -> np.ndarray:
    """Return the exact squared distance to the nearest 0, px, as (H, W) int32; beyond `_FAR` its square."""
    if outside.size < 2**22:
        distance = cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    else:  # OpenCV squares coordinates in float32
        from scipy.ndimage import distance_transform_edt

        distance = distance_transform_edt(outside)
    if outside.shape[0] ** 2 + outside.shape[1] ** 2 > _FAR**2:
        distance = np.minimum(distance, _FAR)
    # a whole number less than half a float32 digit away
    squared: np.ndarray = np.rint(distance * distance).astype(np.int32)
    return squared


@cache
def _weights() -> np.ndarray:
    """Return the weight of each squared distance."""
    weights = 2.0 - np.exp(np.log(0.5) / 5.0 * np.sqrt(np.arange(_FAR**2 + 1)))
    weights[0] = 0
    return weights


@cache
def _offsets() -> np.ndarray:
    """Return (19, 8, 2) int64: for each squared distance its offsets (dy, dx), leftmost first, then uppermost; the rest 0."""
    table = np.zeros((_NEAR + 1, 8, 2), np.int64)
    used = [0] * (_NEAR + 1)
    reach = range(-int(_NEAR**0.5), int(_NEAR**0.5) + 1)
    for dx in reach:
        for dy in reach:
            squared = dx * dx + dy * dy
            if 0 < squared <= _NEAR:
                table[squared, used[squared]] = dy, dx
                used[squared] += 1
    return table


def _nearest(mask: np.ndarray, squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the flat indices of the background pixels near the truth, and of the truth pixel nearest to each."""
    near = np.flatnonzero((squared > 0) & (squared <= _NEAR))
    height, width = mask.shape
    margin = int(_NEAR**0.5)  # of background, so that no offset leaves the array
    wide = width + 2 * margin
    padded = np.zeros((height + 2 * margin, wide), np.uint8)
    padded[margin:-margin, margin:-margin] = mask
    rows = near // width
    places = near + rows * (2 * margin) + (margin * wide + margin)
    offsets = _offsets()
    distances = squared.ravel().take(near)
    hits = padded.ravel().take(places[:, None] + (offsets @ np.array([wide, 1])).take(distances, axis=0))
    first = hits.argmax(axis=1)
    return near, near + (offsets @ np.array([width, 1]))[distances, first]
