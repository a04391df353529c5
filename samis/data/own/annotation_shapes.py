"""Checks and draws the shapes of annotation files: polygons, run lengths, LabelMe's rectangles, circles, lines and masks.

Every number is checked here before native code sees it: pycocotools and Pillow crash, or take all memory, on a coordinate
that is null, NaN or 3e7. A shape that contradicts its image or itself is an error; nothing is guessed.

Code: pycocotools 2.0 (BSD) draws polygons, so that a mask here is the mask every COCO tool sees.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from samis.data.picture_file import BROKEN
from samis.errors import UserError

Shape = dict[str, Any] | list[list[float]] | np.ndarray
"""A COCO run length, polygons of one object ([x0, y0, x1, y1, ...] each), or an (H, W) bool mask."""
NO_OBJECTS = ("_background_", "__ignore__")
"""Labels of LabelMe that mark no object."""
_CIRCLE_CORNERS = 64
_TOLERANCE_PX = 2.0
"""Px by which rounding may move a box away from its shape."""
_ONE_CHANNEL = ("1", "L", "P", "I", "I;16")


class ShapeError(ValueError):
    """What is wrong with a shape; callers turn it into a `UserError` that names file, image and annotation."""


def draw_shapes(shapes: Iterable[Shape], hw: tuple[int, int], *, where: str) -> np.ndarray:
    """Return the union of the shapes, (H, W) bool.

    Args:
        shapes: what to draw.
        hw: height and width.
        where: file and image, for the error.

    Raises:
        UserError: a shape is no polygon, or a run length of another size.

    >>> draw_shapes([[[1.0, 1.0, 3.0, 1.0, 3.0, 3.0, 1.0, 3.0]]], (4, 4), where="a.json").sum()
    np.int64(4)
    """
    union = np.zeros(hw, bool)
    for shape in shapes:
        try:
            union |= _drawn(check_shape(shape, hw), hw)
        except ShapeError as error:
            raise UserError(
                f"{where}: expected polygons or run lengths, got {error}; correct or remove it", code="E-DATA-SHAPE"
            ) from error
    return union


def check_shape(shape: Any, hw: tuple[int, int]) -> Shape:
    """Return a shape if it can be drawn on an image of height and width `hw`.

    Raises:
        ShapeError: not a polygon, run length or mask; a number that is none; a coordinate far outside the image; run
            lengths that do not fill the image.
    """
    if isinstance(shape, np.ndarray):
        if shape.shape != hw:
            raise ShapeError(f"a mask of {_size(shape.shape)} on an image of {_size(hw)}")
        return shape
    if isinstance(shape, dict):
        size = shape.get("size")
        if not isinstance(size, list | tuple) or len(size) != 2 or not all(type(side) is int for side in size):
            raise ShapeError(f"a run length whose size is {_short(size)}, not [height, width]")
        if tuple(size) != hw:
            raise ShapeError(f"a run length of {size[1]}x{size[0]} on an image of {_size(hw)}")
        run_lengths_of(shape, hw)
        return shape
    if not isinstance(shape, list | tuple) or not shape:
        raise ShapeError(f"{_short(shape)} instead of polygons or a run length")
    for polygon in shape:
        if not isinstance(polygon, list | tuple):
            raise ShapeError(f"{_short(polygon)} instead of a polygon, a list of coordinates")
        if len(polygon) < 6 or len(polygon) % 2:
            raise ShapeError(f"a polygon of fewer than three corners, or of half a corner ({len(polygon)} numbers)")
        for place, value in enumerate(polygon):
            check_coordinate(value, hw[1 - place % 2])
    return shape  # type: ignore[return-value]


def check_coordinate(value: Any, side: int) -> float:
    """Return a coordinate, px, if it is a number in the image or at most the image's side outside of it.

    Tools let a polygon leave the image a little; what is drawn is clipped to the image.

    Raises:
        ShapeError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ShapeError(f"the coordinate {_short(value)}, not a number")
    if not -side <= value <= 2 * side:
        raise ShapeError(f"the coordinate {value:g}, far outside an image whose side is {side} px")
    return float(value)


def run_lengths_of(shape: dict[str, Any], hw: tuple[int, int]) -> np.ndarray:
    """Return the run lengths of a COCO run length, plain or compressed, (n,) int64, background first, column by column.

    Raises:
        ShapeError: no integers of 0 or more, or they do not add up to the image's pixels.
    """
    counts = shape.get("counts")
    runs = _decompressed(counts) if isinstance(counts, str | bytes) else counts
    if not isinstance(runs, list | tuple) or not all(_is_count(run) for run in runs):
        raise ShapeError("run lengths that are not integers of 0 or more")
    total = sum(int(run) for run in runs)
    if total != hw[0] * hw[1]:
        raise ShapeError(f"run lengths of {total} px in all on an image of {hw[0] * hw[1]} px")
    return np.array(runs, dtype=np.int64)


def _is_count(run: Any) -> bool:
    return not isinstance(run, bool) and isinstance(run, int | float) and run >= 0 and run == run // 1 < 2**53


def _decompressed(text: str | bytes) -> list[int]:
    """Undo COCO's compression: groups of five bits, lowest first; from the fourth number on, differences to the last but one."""
    symbols = text.encode("ascii", "replace") if isinstance(text, str) else text
    runs: list[int] = []
    number, bits = 0, 0
    for symbol in symbols:
        group = symbol - 48
        if not 0 <= group < 64 or bits > 60:
            raise ShapeError("a compressed run length with characters or numbers that are not allowed")
        number |= (group & 31) << bits
        bits += 5
        if not group & 32:
            number -= (1 << bits) if group & 16 else 0
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number, bits = 0, 0
    if bits:
        raise ShapeError("a compressed run length that is cut off")
    return runs


def _drawn(shape: Shape, hw: tuple[int, int]) -> np.ndarray:
    if isinstance(shape, np.ndarray):
        return shape
    if isinstance(shape, dict):
        runs = run_lengths_of(shape, hw)
        columns: np.ndarray = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(hw[1], hw[0])
        return columns.T
    from pycocotools import mask as coco  # imported late, since few users need it

    decoded: np.ndarray = coco.decode(coco.merge(coco.frPyObjects([list(map(float, p)) for p in shape], *hw)))
    return decoded.astype(bool)


def area_of(shape: Shape) -> float:
    """Return the area of a checked shape, px: polygons by the shoelace formula, unclipped; run lengths and masks exactly."""
    if isinstance(shape, np.ndarray):
        return float(np.count_nonzero(shape))
    if isinstance(shape, dict):
        return float(run_lengths_of(shape, (shape["size"][0], shape["size"][1]))[1::2].sum())
    total = 0.0
    for polygon in shape:
        x, y = np.array(polygon[::2], float), np.array(polygon[1::2], float)
        total += abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return total


def fits_box(shape: Shape, box: Any) -> bool:
    """Return whether a box of an annotation, [x, y, width, height] in px, contains part of a checked shape.

    Tools round boxes, write them around several parts or leave them at 0: only a box that is not one, or that is next to
    the shape, contradicts it.
    """
    if not isinstance(box, list | tuple) or len(box) != 4:
        return False
    if any(isinstance(n, bool) or not isinstance(n, int | float) or not math.isfinite(n) for n in box):
        return False
    x, y, width, height = box
    if isinstance(shape, list) and width > 0 and height > 0:
        xs = [value for polygon in shape for value in polygon[::2]]
        ys = [value for polygon in shape for value in polygon[1::2]]
        apart_x = x > max(xs) + _TOLERANCE_PX or x + width < min(xs) - _TOLERANCE_PX
        apart_y = y > max(ys) + _TOLERANCE_PX or y + height < min(ys) - _TOLERANCE_PX
        return not (apart_x or apart_y)
    return bool(width >= 0 and height >= 0)


def labelme_shape(entry: dict[str, Any], hw: tuple[int, int], *, line_width: float = 0) -> Shape:
    """Return one entry of LabelMe's ``shapes``.

    Args:
        entry: with ``points`` and ``shape_type`` (polygon without).
        hw: height and width of the image.
        line_width: px at which lines and line strips are drawn; 0 refuses them, since a line covers no surface.

    Raises:
        ShapeError: what cannot be drawn, or contradicts itself.
    """
    kind = entry.get("shape_type") or "polygon"
    corners = entry.get("points")
    if not isinstance(corners, list) or not all(isinstance(point, list) and len(point) == 2 for point in corners):
        raise ShapeError(f"the points {_short(corners)}, not a list of [x, y]")
    points = [(check_coordinate(x, hw[1]), check_coordinate(y, hw[0])) for x, y in corners]
    if kind == "polygon":
        return check_shape([[value for point in points for value in point]], hw)
    if kind in ("rectangle", "rotation", "oriented_rectangle"):
        return [_rectangle(points)]
    if kind == "circle":
        return [_circle(points)]
    if kind == "mask":
        return _painted(entry.get("mask"), points, hw)
    if kind in ("line", "linestrip") and line_width:
        return _line(points, hw, line_width)
    if kind in ("line", "linestrip"):
        raise ShapeError(
            f"a {kind}, which covers no surface: draw it as a polygon, or set data.options={{line_width: PX}}"
        )
    raise ShapeError(
        f"a {_short(kind)}, which covers no surface (polygon, rectangle, circle and mask do): draw it as a polygon"
    )


def _rectangle(points: Sequence[tuple[float, float]]) -> list[float]:
    """Return the corners: of two opposite ones, or of all four in any order (a rectangle may be turned)."""
    if len(points) == 2:
        (x0, y0), (x1, y1) = points
        return [x0, y0, x1, y0, x1, y1, x0, y1]
    if len(points) != 4:
        raise ShapeError(f"a rectangle of {len(points)} points, not 2 or 4")
    x_mean, y_mean = (sum(values) / 4 for values in zip(*points, strict=True))
    ordered = sorted(points, key=lambda point: math.atan2(point[1] - y_mean, point[0] - x_mean))
    return [value for point in ordered for value in point]


def _circle(points: Sequence[tuple[float, float]]) -> list[float]:
    if len(points) != 2:
        raise ShapeError(f"a circle of {len(points)} points, not its centre and one on it")
    (x, y), (edge_x, edge_y) = points
    angles = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
    radius = math.hypot(edge_x - x, edge_y - y)
    corners: list[float] = np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], 1).ravel().tolist()
    return corners


def _line(points: Sequence[tuple[float, float]], hw: tuple[int, int], width: float) -> np.ndarray:
    """Draw a line strip as LabelMe's own converter does, with Pillow, at the given width."""
    if len(points) < 2:
        raise ShapeError(f"a line of {len(points)} points, not 2 or more")
    canvas = Image.new("1", (hw[1], hw[0]))
    ImageDraw.Draw(canvas).line(list(points), fill=1, width=max(1, int(width + 0.5)), joint="curve")
    return np.array(canvas, dtype=bool)


def _painted(mask: Any, points: Sequence[tuple[float, float]], hw: tuple[int, int]) -> np.ndarray:
    """Return a painted mask, a PNG of its box, at the image's size: whatever is not 0 is defect (LabelMe writes 0 and 1)."""
    if not isinstance(mask, str):
        raise ShapeError(f"a painted mask that is {_short(mask)}, not a PNG in base64")
    if len(points) != 2:
        raise ShapeError(f"a painted mask with {len(points)} points, not the 2 corners of its box")
    x0, x1 = sorted(int(point[0]) for point in points)
    y0, y1 = sorted(int(point[1]) for point in points)
    try:
        data = base64.b64decode("".join(mask.split()).removeprefix("data:image/png;base64,"), validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
            height, width = picture.height, picture.width
            # LabelMe's box holds its last row and column; some tools write the one after.
            if not (x1 - x0 <= width <= x1 - x0 + 1 and y1 - y0 <= height <= y1 - y0 + 1):
                raise ShapeError(f"a painted mask of {width}x{height} px in a box of {x1 - x0 + 1}x{y1 - y0 + 1} px")
            if x0 < 0 or y0 < 0 or y0 + height > hw[0] or x0 + width > hw[1]:
                raise ShapeError("a painted mask that leaves the image")
            if picture.mode not in _ONE_CHANNEL:
                raise ShapeError(f"a painted mask of mode {picture.mode}, not of one channel")
            part = np.asarray(picture) != 0
    except ShapeError:
        raise
    except (binascii.Error, Image.DecompressionBombError, *BROKEN) as error:
        raise ShapeError(f"a painted mask that is no PNG in base64 ({error})") from error
    complete = np.zeros(hw, bool)
    complete[y0 : y0 + height, x0 : x0 + width] = part
    return complete


def _size(hw: tuple[int, ...]) -> str:
    return f"{hw[1]}x{hw[0]}" if len(hw) == 2 else str(hw)


def _short(value: Any) -> str:
    """Return a value in at most 40 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else text[:37] + "..."
