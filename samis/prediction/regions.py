"""Defect regions of a predicted mask: connected parts with area, box, centroid, score, length, width and outline.

Coordinates are file pixels from the upper left corner of the image; pixel (0, 0) covers [0, 1) x [0, 1). Length and width
are the sides of the smallest rotated rectangle around the region. For a straight scratch that is its length and width;
for a curved or branched crack the width is that of the whole bend. Skeleton length, largest and mean width are measured along
the region itself (``samis.prediction.skeleton``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np

from samis.prediction.skeleton import measure_crack

COLUMNS = (
    "image", "region", "area_px", "area_mm2", "box_x_px", "box_y_px", "box_w_px", "box_h_px", "centroid_x_px",
    "centroid_y_px", "score", "length_px", "width_px", "length_mm", "width_mm", "angle_deg",
    "skeleton_px", "max_width_px", "mean_width_px", "skeleton_mm", "max_width_mm", "mean_width_mm",
)  # fmt: skip
"""Columns of the table of regions."""
LENGTHS = ("length", "width", "skeleton", "max_width", "mean_width")
"""Measures that are in pixels, and in millimetres where the scale is known."""


@dataclass(frozen=True)
class Region:
    """One 8-connected part of a mask.

    Attributes:
        area_px: number of pixels.
        box_xywh: upright box around it.
        centroid_xy: mean of its pixels' centres.
        score: mean of the map over its pixels, in [0, 1].
        length_px: longer side of the smallest rotated rectangle around it.
        width_px: shorter side of that rectangle.
        angle_deg: direction of the longer side, in (-90, 90], 0 along x, positive downwards.
        polygon_xy: its outer boundary along pixel edges, (x, y) corners; holes are not in it.
        rle: run lengths of the region in the whole image, column by column, background first (COCO's order).
        skeleton_px: length along itself, of all branches; None of a region too large to be measured so.
        max_width_px: diameter of the largest circle inside; None likewise.
        mean_width_px: area / length along itself; None likewise.
    """

    area_px: int
    box_xywh: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    score: float
    length_px: float
    width_px: float
    angle_deg: float
    polygon_xy: list[list[int]]
    rle: list[int]
    skeleton_px: float | None = None
    max_width_px: float | None = None
    mean_width_px: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)


def find_regions(mask: np.ndarray, values: np.ndarray, *, min_area_px: int = 0) -> list[Region]:
    """Measure the connected parts of a mask, from the upper left down.

    Args:
        mask: (H, W) bool.
        values: (H, W) float map in [0, 1], for the scores.
        min_area_px: smaller parts are left out.

    >>> one = np.zeros((4, 6), bool); one[1, 2:5] = True
    >>> region, = find_regions(one, one * 0.75)
    >>> region.area_px, region.box_xywh, region.centroid_xy, region.score, region.length_px, region.width_px
    (3, (2, 1, 3, 1), (3.5, 1.5), 0.75, 3.0, 1.0)
    """
    count, labels, stats, centroids = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    regions = []
    for index in range(1, count):
        x, y, w, h, area = (int(value) for value in stats[index])
        if area < min_area_px:
            continue
        part = labels[y : y + h, x : x + w] == index
        outline = outline_xy(part) + np.array([x, y])
        length, width, angle = _extent(outline)
        crack = measure_crack(part)
        cx, cy = (float(value) + 0.5 for value in centroids[index])
        regions.append(
            Region(
                area_px=area,
                box_xywh=(x, y, w, h),
                centroid_xy=(round(cx, 3), round(cy, 3)),
                score=round(float(values[y : y + h, x : x + w][part].mean()), 6),
                length_px=round(length, 3),
                width_px=round(width, 3),
                angle_deg=round(angle, 2),
                polygon_xy=outline.tolist(),
                rle=run_lengths(part, (x, y), mask.shape),
                skeleton_px=round(crack.length, 3) if crack else None,
                max_width_px=round(crack.max_width, 3) if crack else None,
                mean_width_px=round(crack.mean_width, 3) if crack else None,
            )
        )
    return regions


def kept_mask(regions: Sequence[Region], shape: tuple[int, int]) -> np.ndarray:
    """Return the (H, W) bool mask that holds just these regions.

    Args:
        regions: from ``find_regions``.
        shape: (H, W) of the mask.
    """
    height, width = shape
    flat = np.zeros(height * width, bool)
    for region in regions:
        edges = np.cumsum(region.rle)
        for start, end in zip(edges[::2], edges[1::2], strict=False):
            flat[start:end] = True
    return flat.reshape(width, height).T


def outline_xy(part: np.ndarray) -> np.ndarray:
    """Return the corners (N, 2) of a connected part's outer boundary, along its pixels' edges.

    OpenCV's contours run through pixel centres, which loses half a pixel on each side. In a picture enlarged twice they
    run through both halves of each boundary pixel, and rounding those up gives the edges.

    >>> outline_xy(np.ones((2, 3), bool)).tolist()
    [[0, 0], [0, 2], [3, 2], [3, 0]]
    """
    twice: np.ndarray = part.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, _ = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = (contours[0][:, 0].astype(np.int64) + 1) // 2
    points = points[(points != np.roll(points, 1, axis=0)).any(1)]
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    corners: np.ndarray = points[turns != 0]
    return corners


def run_lengths(part: np.ndarray, corner_xy: tuple[int, int], shape: tuple[int, ...]) -> list[int]:
    """Return the run lengths of a part placed into an image of `shape`, column by column, background first.

    Args:
        part: (h, w) bool, one region within its box.
        corner_xy: upper left corner of the box, file pixels.
        shape: (H, W) of the whole image.

    >>> run_lengths(np.ones((2, 1), bool), (1, 1), (4, 3))
    [5, 2, 5]
    """
    columns, rows = np.nonzero(part.T)
    places = (columns + corner_xy[0]) * shape[0] + rows + corner_xy[1]
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts, ends = places[np.r_[0, breaks + 1]], places[np.r_[breaks, len(places) - 1]] + 1
    edges = np.stack([starts, ends], axis=1).ravel()
    lengths: list[int] = np.diff(np.r_[0, edges, shape[0] * shape[1]]).tolist()
    return lengths if lengths[-1] else lengths[:-1]


def table_rows(
    image: str, regions: Sequence[dict[str, Any]], *, mm_per_px: float | None = None
) -> list[dict[str, Any]]:
    """Return the lines of the table of regions for one image; millimetres stay empty without a scale.

    Args:
        image: file name in the table.
        regions: each as ``Region.as_dict`` returns it.
        mm_per_px: scale of the photo, mm.
    """
    rows = []
    for number, region in enumerate(regions, 1):
        box, centroid = region["box_xywh"], region["centroid_xy"]
        plain = {name: value for name, value in region.items() if name in COLUMNS and value is not None}
        placed = dict(zip(COLUMNS[4:10], [*box, *centroid], strict=True))
        row = {"image": image, "region": number, **plain, **placed, **in_mm(region, mm_per_px)}
        rows.append({name: row.get(name, "") for name in COLUMNS})
    return rows


def in_mm(region: Mapping[str, Any], mm_per_px: float | None) -> dict[str, float]:
    """Return a region's area and lengths in millimetres; nothing without a scale.

    Args:
        region: as ``Region.as_dict`` returns it.
        mm_per_px: scale of the photo, mm; None: not known.

    >>> in_mm({"area_px": 8, "length_px": 4.0, "skeleton_px": None}, 0.5)
    {'area_mm2': 2.0, 'length_mm': 2.0}
    """
    if not mm_per_px:
        return {}
    known = {name: region.get(f"{name}_px") for name in LENGTHS}
    lengths = {f"{name}_mm": value * mm_per_px for name, value in known.items() if value is not None}
    return {"area_mm2": region["area_px"] * mm_per_px**2, **lengths}


def _extent(outline: np.ndarray) -> tuple[float, float, float]:
    """Return length, width and direction of the smallest rotated rectangle around corners (N, 2)."""
    _, (w, h), angle = cv2.minAreaRect(outline.astype(np.float32))
    if w < h:
        w, h, angle = h, w, angle + 90
    angle = (angle + 90) % 180 - 90
    return float(w), float(h), 90.0 if angle == -90 else float(angle)
