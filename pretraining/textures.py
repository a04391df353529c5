"""A bank of textures, drawn once in a process: drawn scenes take crops of it instead of drawing noise each time.

A crop has a random place, is flipped and sometimes transposed, and costs a copy; the smooth noise that it replaces cost
several enlargements and a variance for each octave. The bank depends on the side of the scenes alone (its seed is a
constant), not on the process that draws it, so a scene is a function of its own seed. At a side of 256 px it takes
80 MB, which forked loader processes share.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from samis.data.public import drawing

Array = np.ndarray
Rng = np.random.Generator
SEED = 77
"""Of the bank; another number changes every drawn scene."""
MARGIN = 1.5
"""Side of a stored texture, as a multiple of a scene's side."""
COUNTS = {
    "fractal": 32,
    "patch": 16,
    "stain": 16,
    "streaks": 24,
    "turned_streaks": 12,
    "bands": 12,
    "turned_bands": 6,
    "shade": 24,
    "grain": 4,
}


class TextureBank:
    """Stored textures for scenes of one side; every kind has mean 0 and standard deviation 1 over a stored texture.

    Kinds: ``fractal`` (noise over octaves, any roughness), ``patch`` and ``stain`` (the same, smoother, for outlines),
    ``streaks`` (brushed or rolled), ``bands`` (broad), ``shade`` (one slow change over a scene's side), ``grain`` (white
    noise). Streaks and bands are stored along an axis and, as ``turned_*``, in any direction.

    Args:
        side: of the scenes, px.
        seed: of the bank.
    """

    def __init__(self, side: int, *, seed: int = SEED) -> None:
        self.side = side
        size = round(side * MARGIN)
        self._kinds: dict[str, list[Array]] = {}
        for number, (kind, count) in enumerate(COUNTS.items()):
            rng = np.random.default_rng([seed, side, number])
            self._kinds[kind] = [_DRAW[kind](rng, side, size) for _ in range(count)]
            for field in self._kinds[kind]:
                field.flags.writeable = False

    def crop(self, rng: Rng, kind: str, hw: tuple[int, int]) -> Array:
        """Return a random (h, w) float32 crop: flipped, sometimes transposed, one time in three in any direction.

        Args:
            rng: draws the texture, the place and the turn; the number of its draws depends on the kind alone.
            kind: one of COUNTS.
            hw: at most the side of the scenes, px.
        """
        turned, entry, down, right, flip_y, flip_x, transposed = rng.random(7).tolist()
        stored = self._kinds[f"turned_{kind}" if turned < 0.33 and f"turned_{kind}" in COUNTS else kind]
        field = stored[int(entry * len(stored))]
        height, width = hw[::-1] if transposed < 0.5 else hw
        y = int(down * (field.shape[0] - height + 1))
        x = int(right * (field.shape[1] - width + 1))
        part = field[y : y + height, x : x + width]
        part = part[:: -1 if flip_y < 0.5 else 1, :: -1 if flip_x < 0.5 else 1]
        return (part.T if transposed < 0.5 else part).copy()  # in C order, and never the stored texture itself

    def surface(self, rng: Rng, kind: str, hw: tuple[int, int]) -> Array:
        """Return a crop with mean 0 and standard deviation 1, for a complete scene."""
        part = self.crop(rng, kind, hw)
        mean, std = mean_and_std(part)
        part -= np.float32(mean)
        part *= np.float32(1 / (std + 1e-6))
        return part


@lru_cache(maxsize=2)
def bank(side: int) -> TextureBank:
    """Return the bank of scenes of this side, drawn at the first call in a process."""
    return TextureBank(side)


def mean_and_std(field: Array) -> tuple[float, float]:
    """Return mean and standard deviation of a float32 array, ten times as fast as numpy does."""
    mean, std = cv2.meanStdDev(field)
    return float(mean[0, 0]), float(std[0, 0])


def _turned(rng: Rng, field: Array) -> Array:
    height, width = field.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(0, 360), 1.45)
    return cv2.warpAffine(field, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def _fractal(rng: Rng, side: int, size: int, smoothest: float, roughest: float) -> Array:
    """Sum octaves of noise whose coarsest has 1.5 to 4 cells a scene's side; the sum is enlarged from octave to octave."""
    keep, strength = rng.uniform(smoothest, roughest), 1.0
    cells = rng.uniform(1.5, 4) * MARGIN
    total = np.zeros((size, size), np.float32)
    while cells < size / 2:
        total += np.float32(strength) * drawing.noise(rng, (size, size), cells, cells)
        cells, strength = cells * 2.1, strength * keep
    return _normalised(total)


def _streaks(rng: Rng, side: int, size: int) -> Array:
    along = float(rng.choice([2, 4, 8, 20])) * MARGIN
    across = rng.uniform(0.1, 0.7) * size
    coarse = rng.uniform(0, 1.2) * drawing.noise(rng, (size, size), 2 * MARGIN, across / rng.uniform(3, 10))
    return _normalised(drawing.noise(rng, (size, size), along, across) + coarse)


def _bands(rng: Rng, side: int, size: int) -> Array:
    return drawing.noise(rng, (size, size), 2 * MARGIN, rng.uniform(4, 14) * MARGIN)


def _normalised(field: Array) -> Array:
    mean, std = mean_and_std(field)
    return ((field - mean) / (std + 1e-6)).astype(np.float32)


_DRAW: dict[str, Callable[[Rng, int, int], Array]] = {
    "fractal": lambda rng, side, size: _fractal(rng, side, size, 0.35, 0.9),
    "patch": lambda rng, side, size: _fractal(rng, side, size, 0.3, 0.6),
    "stain": lambda rng, side, size: _fractal(rng, side, size, 0.2, 0.45),
    "streaks": _streaks,
    "turned_streaks": lambda rng, side, size: _normalised(_turned(rng, _streaks(rng, side, size))),
    "bands": _bands,
    "turned_bands": lambda rng, side, size: _normalised(_turned(rng, _bands(rng, side, size))),
    "shade": lambda rng, side, size: drawing.noise(rng, (side, side), 2, 2),
    "grain": lambda rng, side, size: rng.standard_normal((size, size), dtype=np.float32),
}
