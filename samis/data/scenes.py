"""Drawn scenes for promptable pretraining: class-agnostic objects on many surfaces, with the mask of each.

Nothing here is a real image or a defect data set. A scene is a background and one to eight objects (blobs, polygons,
scratches, rough patches, stains, rings, clusters of one kind) that differ from it in brightness or texture, in either
polarity, down to a low contrast; objects overlap, and some carry a part of their own, so that one point may mean several
masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from samis.data import drawing

Array = np.ndarray
Rng = np.random.Generator
SHAPES = {
    "blob": drawing.blob,
    "polygon": drawing.polygon,
    "rough_patch": drawing.rough_patch,
    "ring": drawing.ring,
    "stain": drawing.stain,
}


@dataclass(frozen=True)
class Scene:
    """One drawn picture.

    Attributes:
        image: (H, W) uint8.
        objects: (K, H, W) bool, what of each object is visible; a part is its own object besides.
        salient: (H, W) bool, the union of all objects: the answer to the empty prompt.
    """

    image: Array
    objects: Array
    salient: Array


def draw_scene(rng: Rng, side: int) -> Scene:
    """Draw one scene of `side` x `side` pixels; the same generator state gives the same scene."""
    hw = (side, side)
    field = drawing.background(rng, hw)
    masks: list[Array] = []
    # One look for most objects of a scene, as defects of one surface share their cause.
    look = _look(rng)
    count = int(rng.choice([1, 2, 3, 4, 6, 8], p=[0.26, 0.24, 0.2, 0.14, 0.1, 0.06]))
    template = _shape_kind(rng)
    for _ in range(count):
        kind = template if rng.random() < 0.7 else _shape_kind(rng)
        mask = _draw_shape(rng, kind, hw)
        if mask.sum() < 12 * (side / 256) ** 2 + 4 or mask.mean() > 0.6:
            continue
        own = look if rng.random() < 0.75 else _look(rng)
        field = _paint(rng, field, mask, own)
        for i, before in enumerate(masks):
            masks[i] = before & ~mask
        masks.append(mask)
        if rng.random() < 0.15 and mask.sum() > 300:
            part = _part(rng, mask)
            if part.sum() > 20:
                field = _paint(rng, field, part, _look(rng))
                masks.append(part)
    image = drawing.camera(rng, field, strength=side / 256)
    seen = [mask for mask in masks if mask.sum() >= 8]
    objects = np.stack(seen) if seen else np.zeros((0, *hw), bool)
    return Scene(image, objects, np.asarray(objects.any(axis=0)))


def _shape_kind(rng: Rng) -> str:
    return str(
        rng.choice(
            ["blob", "polygon", "rough_patch", "ring", "curve", "cluster", "stain"],
            p=[0.21, 0.08, 0.18, 0.04, 0.28, 0.07, 0.14],
        )
    )


def _draw_shape(rng: Rng, kind: str, hw: tuple[int, int]) -> Array:
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
    return SHAPES[kind](rng, hw, centre, radius)


@dataclass(frozen=True)
class _Look:
    shift: float
    texture: float
    smooth: float
    rim: float
    blur: float


def _look(rng: Rng) -> _Look:
    """Draw how an object differs from what it lies on: brightness (either sign), texture, rim, softness."""
    shift = float(rng.choice([-1, 1])) * float(np.exp(rng.uniform(np.log(0.08), np.log(0.5))))
    textured = rng.random() < 0.45
    if textured and rng.random() < 0.25:
        shift = 0.0
    return _Look(
        shift=shift,
        texture=float(rng.uniform(0.03, 0.15)) if textured or shift == 0 else 0.0,
        smooth=float(rng.uniform(0.5, 1)) if rng.random() < 0.3 else 0.0,
        rim=float(rng.normal(0, 0.15)) if rng.random() < 0.15 else 0.0,
        blur=float(rng.choice([0.3, 0.8, 1.5, 3.0, 5.0], p=[0.3, 0.33, 0.2, 0.1, 0.07])),
    )


def _paint(rng: Rng, field: Array, mask: Array, look: _Look) -> Array:
    scale = max(field.shape) / 256
    opacity = drawing.soft(mask, look.blur * scale)
    # A mark that differs less than the surface does by itself could not be told from it.
    shift = np.sign(look.shift) * max(abs(look.shift), float(field.std())) if look.shift else 0.0
    inner = field + shift
    if look.smooth:
        inner = inner + look.smooth * (float(field[mask].mean()) - field)
    if look.texture:
        surface = (
            drawing.fractal(rng, field.shape)
            if rng.random() < 0.7
            else drawing.turned(rng, drawing.streaks(rng, field.shape))
        )
        inner = inner + look.texture * surface
    if rng.random() < 0.35:  # a shade across the object: part of it fades into the surface
        inner = field + (inner - field) * (1 + 0.5 * drawing.noise(rng, field.shape, 2, 2)).clip(0.4, 1.6)
    if look.rim:
        edge = opacity * (1 - opacity) * 4
        inner = inner + look.rim * edge
        return (field * (1 - opacity) + inner * opacity + 0.3 * look.rim * edge).astype(np.float32)
    return (field * (1 - opacity) + inner * opacity).astype(np.float32)


def _part(rng: Rng, whole: Array) -> Array:
    """Return a piece of an object: a smaller blob about one of its pixels, kept inside."""
    rows, columns = np.nonzero(whole)
    pick = rng.integers(len(rows))
    size = np.sqrt(whole.sum()) * rng.uniform(0.2, 0.5)
    return drawing.blob(rng, whole.shape, (float(columns[pick]), float(rows[pick])), float(size)) & whole
