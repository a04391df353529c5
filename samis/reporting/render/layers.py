"""Pictures of the gallery as layers: the photo, and truth and maps as transparent fills and outlines that lie over it."""

from __future__ import annotations

import base64
import io

import numpy as np

from samis.reporting.render.overlay import MAP_COLOUR, MAP_STRENGTH, TRUTH_RGB, boundary, is_long

SIDE_PX = 640
"""Longest side of a picture in the page; smaller photos keep their size."""
LONG_SIDE_PX = 1280
"""The same for a long photo (a rail), which goes across the page."""
CUT = 128
"""A map's outline is drawn where it reaches this of 255."""
MAP_RGB = tuple(round(255 * part) for part in MAP_COLOUR)


def photo_uri(image: np.ndarray) -> tuple[str, tuple[int, int]]:
    """Return a photo as a data URI, and the (H, W) that it has in the page.

    Args:
        image: (H, W, 3) uint8.
    """
    shown = _shrunk(image)
    return data_uri(shown, quality=70), shown.shape[:2]


def truth_layers(mask: np.ndarray | None) -> dict[str, str]:
    """Return the truth as ``fill`` and ``outline``; {} where it is not known.

    Args:
        mask: (H, W) bool, or None.
    """
    if mask is None:
        return {}
    fill = np.where(mask, 165, 0).astype(np.uint8)
    return {"fill": layer_uri(fill, TRUTH_RGB), "outline": layer_uri(_outline(mask), TRUTH_RGB)}


def map_layers(values: np.ndarray) -> dict[str, str]:
    """Return a map as ``fill`` (the stronger the higher it is) and ``outline`` (where it reaches ``CUT``).

    Args:
        values: (H, W) uint8.
    """
    fill = (values * MAP_STRENGTH).round().astype(np.uint8)
    return {"fill": layer_uri(fill, MAP_RGB), "outline": layer_uri(_outline(values >= CUT), MAP_RGB)}


def middle_of(mask: np.ndarray | None) -> float:
    """Return where a line from top to bottom parts the defect into halves, in percent of the picture's width.

    Args:
        mask: (H, W) bool, or None; 50 without a defect.

    >>> mask = np.zeros((4, 10), bool); mask[1, 6:9] = True
    >>> middle_of(mask)
    75.0
    """
    if mask is None or not mask.any():
        return 50.0
    across = np.rot90(mask) if _turned(mask) else mask
    columns = across.sum(axis=0)
    middle = int(np.searchsorted(columns.cumsum(), columns.sum() / 2))
    return round(100 * (middle + 0.5) / across.shape[1], 1)


def layer_uri(opacity: np.ndarray, colour: tuple[int, ...]) -> str:
    """Return a layer of one colour as a data URI.

    Args:
        opacity: (H, W) uint8, 0 where nothing is drawn.
        colour: RGB, 0 to 255.
    """
    opacity = _shrunk(opacity)
    picture = np.empty((*opacity.shape, 4), np.uint8)
    picture[..., :3], picture[..., 3] = colour, opacity
    return data_uri(picture, quality=70)


def data_uri(picture: np.ndarray, *, quality: int) -> str:
    """Return a picture as a WebP data URI.

    Args:
        picture: (H, W, 3) or, with opacity, (H, W, 4) uint8.
        quality: of WebP, 0 to 100; opacity is kept as it is.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=quality, method=4, exact=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _outline(mask: np.ndarray) -> np.ndarray:
    """Draw a boundary outside a mask, as wide as one pixel of the page, so that it is still there after shrinking."""
    width = max(1, round(max(mask.shape) / (LONG_SIDE_PX if is_long(mask) else SIDE_PX)))
    return boundary(mask, width).astype(np.uint8) * 255


def _turned(picture: np.ndarray) -> bool:
    return is_long(picture) and picture.shape[0] > picture.shape[1]


def _shrunk(picture: np.ndarray) -> np.ndarray:
    """Shrink a picture to the page's size; a long upright one is turned.

    Only pictures for the eye are resized here; what is scored goes through ``samis.core.geometry``.
    """
    from PIL import Image

    side = LONG_SIDE_PX if is_long(picture) else SIDE_PX
    if _turned(picture):
        picture = np.rot90(picture)
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)
