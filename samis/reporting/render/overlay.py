"""Draw a panel picture: image, truth and one column per segmenter, for the best, median and worst images of a row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from samis.errors import UserError
from samis.evaluation.labels import label, number
from samis.reporting.analysis.gap import CLEAN
from samis.reporting.render.png import WIDTH_IN, new_figure, save_figure

TRUTH_COLOUR = "#00E5FF"
TRUTH_RGB = (0, 200, 230)
MAP_COLOUR = (1.0, 0.43, 0.0)
MAP_STRENGTH = 0.65
LONG = 2.5
"""An image this many times longer than wide takes the whole width of the picture, turned if it is upright."""


@dataclass
class PanelRow:
    """One image of the panel.

    Attributes:
        id: its id.
        caption: text at its left, e.g. ``"worst"``.
        class_name: kind of defect.
        image: (H, W, 3) uint8.
        mask: (H, W) bool truth, or None.
        maps: column name -> (H, W) uint8 map.
        scores: column name -> text under the map, e.g. ``"S 0.93"``.
    """

    id: str
    caption: str
    class_name: str
    image: np.ndarray
    mask: np.ndarray | None
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    scores: dict[str, str] = field(default_factory=dict)


def choose_images(
    images: Sequence[Mapping[str, object]], metric: str, *, direction: int, each: int = 1
) -> list[tuple[str, str]]:
    """Choose the best, median and worst images by one metric; defect-free images are left out.

    Args:
        images: per-image rows of one score row.
        metric: by which they are chosen.
        direction: 1 if more of it is better, -1 if less is.
        each: how many of each sort, at most a third of the images.

    Returns:
        (image id, "best" | "median" | "worst"), each image once.

    Raises:
        UserError: no image has the metric.

    Example:
        >>> choose_images([{"id": "a", "mae": 0.1}, {"id": "b", "mae": 0.3}, {"id": "c", "mae": 0.2}], "mae", direction=-1)
        [('a', 'best'), ('c', 'median'), ('b', 'worst')]
    """
    scored = []
    for image in images:
        value = image.get(metric)
        if isinstance(value, int | float) and math.isfinite(value) and image.get("class_name") != CLEAN:
            scored.append((-direction * value, str(image["id"])))
    if not scored:
        raise UserError(
            f"the row has no per-image values of {metric!r} to choose images by; score it again", code="E-ROW-PER-IMAGE"
        )
    ids = [name for _, name in sorted(scored)]
    each = max(1, min(each, len(ids) // 3))
    middle = max(0, (len(ids) - each) // 2)
    picked = [(name, "best") for name in ids[:each]]
    picked += [(name, "median") for name in ids[middle : middle + each]]
    picked += [(name, "worst") for name in ids[-each:]]
    return list({name: (name, sort) for name, sort in reversed(picked)}.values())[::-1]


def score_text(images: Sequence[Mapping[str, object]], image_id: str, metric: str, protocol: str = "") -> str:
    """Return what a row scored on one image, e.g. ``"S 0.931"``; "" if it is not known.

    Args:
        images: per-image rows of one score row.
        image_id: the image.
        metric: which number.
        protocol: of the row, for the decimals.
    """
    value = next((image.get(metric) for image in images if image["id"] == image_id), None)
    return f"{label(metric)} {number(value, metric, protocol)}" if isinstance(value, int | float) else ""


def read_map(folder: str | Path, image_id: str, *, hw: tuple[int, int]) -> np.ndarray:
    """Read one 8-bit map, ``<folder>/<id>.png``, as (H, W) uint8.

    Args:
        folder: a row's folder of maps, as samis score writes it.
        image_id: the image.
        hw: the image's height and width.

    Raises:
        UserError: the map is missing, unreadable or of another size.
    """
    from PIL import Image

    path = Path(folder) / f"{image_id}.png"
    try:
        with Image.open(path) as file:
            values = np.asarray(file.convert("L"))
    except (OSError, SyntaxError) as error:
        raise UserError(
            f"{path}: the map of image {image_id!r} cannot be read ({error}); write maps with samis score --save-maps",
            code="E-ROW-MAP",
        ) from error
    if values.shape != hw:
        raise UserError(
            f"{path}: has {values.shape[0]}x{values.shape[1]} px (height x width), its image {hw[0]}x{hw[1]}; write maps with "
            "samis score --save-maps",
            code="E-ROW-MAP-SIZE",
        )
    return values


def overlaid(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Tint an image where a map is high.

    Args:
        image: (H, W, 3) uint8; shown in grey.
        values: (H, W) uint8 map.

    Returns:
        (H, W, 3) float64 in [0, 1].
    """
    grey = np.repeat(image.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    strength = MAP_STRENGTH * values[..., None] / 255
    return (1 - strength) * grey + strength * np.array(MAP_COLOUR)


def boundary(mask: np.ndarray, width: int) -> np.ndarray:
    """Return the pixels just outside a mask, so that a map under the truth stays visible.

    Args:
        mask: (H, W) bool.
        width: of the boundary, px.

    >>> boundary(np.eye(3, dtype=bool), 1).astype(int).tolist()
    [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    grown = mask
    for _ in range(width):
        padded = np.pad(grown, 1)
        grown = padded[1:-1, 1:-1] | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown & ~mask


def is_long(image: np.ndarray) -> bool:
    """Return whether an image, (H, W, ...), is so long that it needs the whole width of a page."""
    height, width = image.shape[:2]
    return max(height, width) > LONG * min(height, width)


def draw_panel(rows: Sequence[PanelRow], columns: Sequence[str], path: str | Path, *, title: str = "") -> Path:
    """Draw image | truth | one column per segmenter; the truth's outline is drawn over every map.

    Long images (rails) go across the page instead, turned if they are upright, with their maps below them.

    Args:
        rows: the images, each with a map per column.
        columns: segmenter names, keys of ``PanelRow.maps``.
        path: the PNG to write.
        title: above the picture.

    Raises:
        ValueError: if there is no image or no column.
    """
    if not rows or not columns:
        raise ValueError("expected at least one image and one folder of maps for the panel")
    names = ["image", "truth", *columns]
    across = all(is_long(row.image) for row in rows)
    cell = WIDTH_IN if across else (WIDTH_IN - 0.3) / len(names)
    heights = [0.95 * cell * _shown_height(row.image) + 0.22 for row in rows]
    if across:
        heights = [height for height in heights for _ in names]
    figure = new_figure(WIDTH_IN, sum(heights) + 0.75, dpi=120)
    figure.set_layout_engine("constrained", h_pad=0.03, hspace=0.0)
    axes = figure.subplots(len(heights), 1 if across else len(names), squeeze=False, height_ratios=heights)
    for panels, row in zip(axes.reshape(len(rows), len(names)), rows, strict=True):
        _draw_row(panels, row, names, across=across)
    if not across:
        for axis, name in zip(axes[0], names, strict=True):
            axis.set_title(_wrapped(name, max(14, int(cell * 13))), fontsize=8.5)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    return save_figure(figure, path)


def _shown_height(image: np.ndarray) -> float:
    """Return an image's height over its width as it is shown: an upright long one is turned."""
    height, width = image.shape[:2]
    return width / height if height > LONG * width else height / width


def _draw_row(panels: np.ndarray, row: PanelRow, names: Sequence[str], *, across: bool) -> None:
    mask = np.zeros(row.image.shape[:2], bool) if row.mask is None else row.mask
    turn = row.image.shape[0] > LONG * row.image.shape[1]
    pictures = [row.image / 255, np.repeat(mask[..., None].astype(float), 3, axis=2)]
    pictures += [overlaid(row.image, row.maps[name]) for name in names[2:]]
    texts = [f"{row.id} ({row.class_name})", "not known" if row.mask is None else f"{100 * mask.mean():.2g} % defect"]
    texts += [row.scores.get(name, "") for name in names[2:]]
    for position, (axis, picture, text) in enumerate(zip(panels, pictures, texts, strict=True)):
        axis.imshow(np.rot90(picture) if turn else picture, interpolation="nearest")
        if position > 1 and mask.any() and not mask.all():
            axis.contour(np.rot90(mask) if turn else mask, levels=[0.5], colors=TRUTH_COLOUR, linewidths=0.8)
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
        if across:
            name = row.caption if position == 0 else names[position]
            weight = "bold" if position == 0 else "normal"
            axis.set_title(", ".join(filter(None, (name, text))), fontsize=8, loc="left", pad=2, fontweight=weight)
        else:
            axis.set_xlabel(text, fontsize=7.5, labelpad=2)
    if not across:
        panels[0].set_ylabel(row.caption, fontsize=9, fontweight="bold")


def _wrapped(text: str, width: int) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width)[:3])
