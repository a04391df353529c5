"""Prompts for a drawn scene: boxes, points and clicks on its objects, with the soft mask that each should give."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from pretraining.scenes import SMALL, Scene, SmallObjects, draw_scene
from pretraining.shapes import random_pixels, window_of

Array = np.ndarray
Rng = np.random.Generator


@dataclass(frozen=True)
class PromptMix:
    """How many prompts each scene has.

    Attributes:
        boxes: prompts that are a box.
        points: prompts that are a single point.
        clicks: prompts that are several points.
        clicks_each: points of a prompt of several points.
        jitter: standard deviation of a box side, as a share of the box's size.
        grid_px: side of a cell of the target mask, frame pixels.
    """

    boxes: int = 3
    points: int = 2
    clicks: int = 1
    clicks_each: int = 3
    jitter: float = 0.06
    grid_px: int = 2

    @property
    def prompts(self) -> int:
        """Prompts of a scene without the empty prompt."""
        return self.boxes + self.points + self.clicks


@dataclass(frozen=True)
class PromptedScene:
    """One scene with its prompts; coordinates are frame pixels (x, y).

    Attributes:
        image: (S, S) uint8.
        gain: (3,) float32, factor of R, G and B: a few scenes have a tint.
        boxes_xyxy: (boxes, 4) float32.
        points_xy: (points, 1, 2) float32.
        clicks_xy: (clicks, N, 2) float32.
        clicks_labels: (clicks, N) int64, 1 on the object, 0 off it.
        targets: (boxes + points + clicks, c, c) uint8, 255 times the share of each cell that belongs to the object.
        salient: (1, c, c) uint8, the same for the union of all objects: the target of the empty prompt.
    """

    image: Array
    gain: Array
    boxes_xyxy: Array
    points_xy: Array
    clicks_xy: Array
    clicks_labels: Array
    targets: Array
    salient: Array


def draw_prompts(rng: Rng, side: int, mix: PromptMix, *, small: SmallObjects = SMALL) -> PromptedScene:
    """Draw a scene that has an object, its prompts and their target masks.

    Args:
        rng: the same state gives the same scene.
        side: of the scene, px.
        mix: how many prompts of each kind.
        small: how often objects are small.
    """
    scene = draw_scene(rng, side, small=small)
    while not len(scene.objects):
        scene = draw_scene(rng, side, small=small)
    gain = np.ones(3, np.float32)
    if rng.random() < 0.15:
        gain = rng.uniform(0.8, 1.2, 3).astype(np.float32)
    cells = side // mix.grid_px
    objects = [_Object(mask, cells) for mask in scene.objects]
    prompted = [objects[k] for k in rng.integers(len(objects), size=mix.prompts)]
    of_box, of_point = prompted[: mix.boxes], prompted[mix.boxes : mix.boxes + mix.points]
    points = [_inside(rng, each, 1) for each in of_point]
    clicked = [_clicks(rng, each, mix.clicks_each) for each in prompted[mix.boxes + mix.points :]]
    return PromptedScene(
        image=scene.image,
        gain=gain,
        boxes_xyxy=_stacked([_box(rng, each, mix.jitter) for each in of_box], (4,)),
        points_xy=_stacked(points, (1, 2)),
        clicks_xy=_stacked([xy for xy, _ in clicked], (mix.clicks_each, 2)),
        clicks_labels=_stacked([labels for _, labels in clicked], (mix.clicks_each,), np.int64),
        targets=_stacked([each.target for each in prompted], (cells, cells), np.uint8),
        salient=_union(scene, objects, cells)[None],
    )


class _Object:
    """What the prompts need of an object, each computed once."""

    def __init__(self, mask: Array, cells: int) -> None:
        self.mask, self.cells = mask, cells
        self.window = window_of(mask)

    @cached_property
    def target(self) -> Array:
        """(c, c) uint8 shares. An object that fills no cell by half is scaled up to fill its fullest one.

        Else the threshold of one half would make the target empty, and no prediction would be right.
        """
        shares = _cells(self.mask, self.cells)
        most = int(shares.max())
        return np.asarray((shares * (255.0 / most)).astype(np.uint8)) if 0 < most < 128 else shares

    @cached_property
    def innermost_xy(self) -> tuple[int, int]:
        """The pixel that is farthest from the outside; the border of the picture counts as outside."""
        inside = np.pad(self.mask[self.window.slices].view(np.uint8), 1)
        depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = divmod(int(depth.argmax()), depth.shape[1])
        return x + self.window.x0, y + self.window.y0

    @cached_property
    def near(self) -> tuple[Array, Array] | None:
        """Rows and columns of the pixels off the object, at most 15 px away on both axes; None where there are none."""
        around = self.window.grown(15, self.mask.shape)
        inside = self.mask[around.slices].view(np.uint8)
        off = np.flatnonzero(np.greater(cv2.dilate(inside, np.ones((31, 31), np.uint8)), inside))
        if not len(off):
            return None
        rows, columns = np.divmod(off, around.x1 - around.x0)
        return rows + around.y0, columns + around.x0


def _stacked(arrays: list[Array], shape: tuple[int, ...], dtype: type = np.float32) -> Array:
    return np.stack(arrays) if arrays else np.zeros((0, *shape), dtype)


def _cells(mask: Array, cells: int) -> Array:
    return np.asarray(cv2.resize(mask.view(np.uint8) * np.uint8(255), (cells, cells), interpolation=cv2.INTER_AREA))


def _union(scene: Scene, objects: list[_Object], cells: int) -> Array:
    """Return the shares of the union, small objects scaled up as in their own targets."""
    shares = _cells(scene.salient, cells)
    for each in objects:
        if each.window.y1 - each.window.y0 <= 16 and each.window.x1 - each.window.x0 <= 16:
            shares = np.maximum(shares, each.target)
    return shares


def _box(rng: Rng, of: _Object, jitter: float) -> Array:
    window = of.window
    box = np.array([window.x0, window.y0, window.x1, window.y1], np.float32)
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2, np.float32)
    shift = rng.normal(0, jitter, 4).clip(-0.15, 0.15) * size
    return np.clip(box + shift, 0, of.mask.shape[0]).astype(np.float32)


def _inside(rng: Rng, of: _Object, count: int) -> Array:
    """Return (count, 2) float32 points on the object; half of the time its innermost point first."""
    points = random_pixels(rng, of.mask, of.window, count)
    if rng.random() < 0.5:
        points[0] = of.innermost_xy
    return points


def _clicks(rng: Rng, of: _Object, count: int) -> tuple[Array, Array]:
    """Return several points and their labels: on the object, and sometimes just off it."""
    points, labels = _inside(rng, of, count), np.ones(count, np.int64)
    for k in range(1, count):
        if rng.random() < 0.4 and of.near is not None:
            rows, columns = of.near
            at = rng.integers(len(rows))
            points[k], labels[k] = (columns[at], rows[at]), 0
    return points, labels
