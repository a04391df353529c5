"""Outlines of the objects of drawn scenes, each computed inside a window of the picture."""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from pretraining.textures import TextureBank
from samis.data.public import drawing

Array = np.ndarray
Rng = np.random.Generator
T = TypeVar("T")
KINDS = ("blob", "polygon", "rough_patch", "ring", "curve", "cluster", "stain")
_UP_TO = (0.21, 0.29, 0.47, 0.51, 0.79, 0.86, 1)
SMALLEST_PX, LARGEST_PX = 2, 8
"""Longer side of the box of a small object."""


@dataclass(frozen=True)
class Window:
    """A part of the picture: rows y0 to y1 and columns x0 to x1, ends exclusive."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Return the slices of an (H, W) array."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def grown(self, by: int, hw: tuple[int, ...]) -> Window:
        """Return the window with `by` more pixels on each side, inside the picture."""
        return Window(max(0, self.y0 - by), min(hw[0], self.y1 + by), max(0, self.x0 - by), min(hw[1], self.x1 + by))


def window_of(mask: Array) -> Window:
    """Return the bounding box of an (H, W) bool mask that is not empty."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return Window(y, y + height, x, x + width)


def pick(rng: Rng, values: tuple[T, ...], up_to: tuple[float, ...]) -> T:
    """Return one of the values by their cumulative chances; ``Generator.choice`` takes ten times as long."""
    return values[bisect(up_to, rng.random())]


def random_pixels(rng: Rng, mask: Array, window: Window, count: int) -> Array:
    """Return (count, 2) float32 pixels (x, y) of a mask whose bounding box is known."""
    inside = np.flatnonzero(mask[window.slices])
    rows, columns = np.divmod(inside[rng.integers(len(inside), size=count)], window.x1 - window.x0)
    return np.stack([columns + window.x0, rows + window.y0], 1).astype(np.float32)


def shape_kind(rng: Rng) -> str:
    """Draw one of KINDS."""
    return pick(rng, KINDS, _UP_TO)


def draw_shape(rng: Rng, textures: TextureBank, kind: str, hw: tuple[int, int]) -> Array:
    """Return (H, W) bool: an object of the kind, of random size, about a random place; may be empty."""
    side = max(hw)
    centre = (rng.uniform(-0.02, 1.02) * hw[1], rng.uniform(-0.02, 1.02) * hw[0])
    smallest, largest = (0.08, 0.4) if kind == "stain" else (0.02, 0.3)
    radius = side * float(np.exp(rng.uniform(np.log(smallest), np.log(largest))))
    if kind == "curve":
        return drawing.curve(rng, hw, centre, side * rng.uniform(0.1, 1.3))
    if kind == "cluster":
        mask = np.zeros(hw, bool)
        for _ in range(rng.integers(3, 9)):
            spot = (centre[0] + rng.normal(0, radius), centre[1] + rng.normal(0, radius))
            mask |= drawing.blob(rng, hw, spot, max(1.5, radius * rng.uniform(0.1, 0.4)))
        return mask
    if kind == "rough_patch":
        return _ragged(rng, textures, "patch", hw, centre, radius, spread=0.5, ragged=(0.15, 0.5))
    if kind == "stain":
        blur = rng.uniform(0.005, 0.02) * side
        return _ragged(rng, textures, "stain", hw, centre, radius, spread=0.4, ragged=(0.4, 1.0), blur=blur)
    shapes = {"blob": drawing.blob, "polygon": drawing.polygon, "ring": drawing.ring}
    return shapes[kind](rng, hw, centre, radius)


def draw_small(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return (H, W) bool: a dot, a speck with corners or a short scratch, 2 to 8 px at the longer side of its box."""
    long_side = rng.uniform(SMALLEST_PX, LARGEST_PX)
    kind = rng.random()
    if kind < 0.25:
        angle = rng.uniform(0, 2 * np.pi)
        outline = np.outer([-1, 1], [np.cos(angle), np.sin(angle)])
    else:
        outline = drawing.blob_outline(rng, 1.0) if kind < 0.75 else drawing.polygon_outline(rng, 1.0)
    extent = np.ptp(outline, axis=0).max()
    # A filled outline covers the pixels of its boundary too: one more than its extent.
    outline = outline * ((long_side - 1) / extent)
    centre = rng.uniform(0, 1, 2) * (hw[1] - 1, hw[0] - 1)
    return drawing.filled(hw, outline + centre)


def _ragged(
    rng: Rng,
    textures: TextureBank,
    kind: str,
    hw: tuple[int, int],
    centre_xy: tuple[float, float],
    radius: float,
    *,
    spread: float,
    ragged: tuple[float, float],
    blur: float = 0.0,
) -> Array:
    """Return (H, W) bool: where 1 - distance / radius + noise is positive; bays, holes and islets come from the noise.

    The window ends where the noise would have to exceed 3 standard deviations.
    """
    stretch = float(np.exp(rng.normal(0, spread)))
    strength = rng.uniform(*ragged)
    reach = radius * (1 + 3 * strength)
    x0, x1 = (int(np.clip(centre_xy[0] + s * reach / stretch, 0, hw[1])) for s in (-1, 1))
    y0, y1 = (int(np.clip(centre_xy[1] + s * reach * stretch, 0, hw[0])) for s in (-1, 1))
    mask = np.zeros(hw, bool)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return mask
    x = (np.arange(x0, x1, dtype=np.float32) - np.float32(centre_xy[0])) * np.float32(stretch / radius)
    y = (np.arange(y0, y1, dtype=np.float32) - np.float32(centre_xy[1])) * np.float32(1 / (stretch * radius))
    field = np.float32(strength) * textures.crop(rng, kind, (y1 - y0, x1 - x0))
    field += 1 - np.sqrt(y[:, None] ** 2 + x[None] ** 2)
    if blur:
        field = cv2.GaussianBlur(field, (0, 0), blur)
    mask[y0:y1, x0:x1] = field > 0
    return mask
