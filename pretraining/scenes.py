"""Drawn scenes for promptable pretraining: class-agnostic objects on many surfaces, with the mask of each.

Nothing here is a real image or a defect data set. A scene is a background and one to eight objects (blobs, polygons,
scratches, rough patches, stains, rings, clusters of one kind) that differ from it in brightness or texture, in either
polarity, down to a low contrast; objects overlap, and some have a part that is an object too, so that one point may mean
several masks. A share of the objects is small, 2 to 8 px long (``SmallObjects``).

Textures are crops of a bank (``pretraining.textures``), and an object is drawn inside its own window only: a scene takes a
quarter of the time of drawing all of it over the complete picture (``benchmarks/scenes.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pretraining.shapes import Window, draw_shape, draw_small, pick, random_pixels, shape_kind, window_of
from pretraining.surfaces import background, camera
from pretraining.textures import TextureBank, bank, mean_and_std
from samis.data.public import drawing

Array = np.ndarray
Rng = np.random.Generator


@dataclass(frozen=True)
class SmallObjects:
    """How often objects are small: a box of 2 to 8 px at its longer side, at any side of the scene.

    Attributes:
        share: chance that an object is small.
        scenes: chance of a scene of 2 to 12 objects that are mostly small.
        share_there: chance that an object of such a scene is small.
    """

    share: float = 0.08
    scenes: float = 0.1
    share_there: float = 0.8


SMALL = SmallObjects()
NO_SMALL = SmallObjects(0, 0, 0)
"""Only the small objects that the usual shapes give by chance."""


@dataclass(frozen=True)
class Scene:
    """One drawn picture.

    Attributes:
        image: (H, W) uint8.
        objects: (K, H, W) bool, what of each object is visible; a part is an object of its own too.
        salient: (H, W) bool, the union of all objects: the target of the empty prompt.
    """

    image: Array
    objects: Array
    salient: Array


@dataclass
class _Appearance:
    shift: float
    texture: float
    smooth: float
    edge: float
    blur: float


def draw_scene(rng: Rng, side: int, *, small: SmallObjects = SMALL) -> Scene:
    """Draw one scene of `side` x `side` pixels; the same generator state gives the same scene."""
    hw = (side, side)
    textures = bank(side)
    field = background(rng, textures, hw)
    masks: list[Array] = []
    least: list[int] = []
    # One appearance for most objects of a scene, as defects of one surface share their cause.
    appearance = _draw_appearance(rng)
    dotted = rng.random() < small.scenes
    chance = small.share_there if dotted else small.share
    count = int(rng.integers(2, 13)) if dotted else pick(rng, (1, 2, 3, 4, 6, 8), (0.26, 0.5, 0.7, 0.84, 0.94, 1))
    template = shape_kind(rng)
    for _ in range(count):
        tiny = rng.random() < chance
        mask = draw_small(rng, hw) if tiny else _draw_usual(rng, textures, template, hw)
        area = cv2.countNonZero(mask.view(np.uint8))
        if area < (2 if tiny else 12 * (side / 256) ** 2 + 4) or area > 0.6 * side * side:
            continue
        own = appearance if rng.random() < 0.75 else _draw_appearance(rng)
        window = window_of(mask)
        _paint(rng, textures, field, mask, window, _small_appearance(rng, own) if tiny else own)
        for before in masks:
            before[window.slices] &= ~mask[window.slices]
        masks.append(mask)
        least.append(2 if tiny else 8)
        if not tiny and rng.random() < 0.15 and area > 300:
            part = _part(rng, mask, window, area)
            if cv2.countNonZero(part.view(np.uint8)) > 20:
                _paint(rng, textures, field, part, window_of(part), _draw_appearance(rng))
                masks.append(part)
                least.append(8)
    image = camera(rng, textures, field, strength=side / 256)
    visible = [mask for mask, low in zip(masks, least, strict=True) if cv2.countNonZero(mask.view(np.uint8)) >= low]
    objects = np.stack(visible) if visible else np.zeros((0, *hw), bool)
    return Scene(image, objects, np.asarray(objects.any(axis=0)))


def _draw_usual(rng: Rng, textures: TextureBank, template: str, hw: tuple[int, int]) -> Array:
    return draw_shape(rng, textures, template if rng.random() < 0.7 else shape_kind(rng), hw)


def _draw_appearance(rng: Rng) -> _Appearance:
    """Draw how an object differs from the surface below it: brightness (either sign), texture, edge, softness."""
    shift = (-1 if rng.random() < 0.5 else 1) * float(np.exp(rng.uniform(np.log(0.08), np.log(0.5))))
    textured = rng.random() < 0.45
    if textured and rng.random() < 0.25:
        shift = 0.0
    return _Appearance(
        shift=shift,
        texture=rng.uniform(0.03, 0.15) if textured or shift == 0 else 0.0,
        smooth=rng.uniform(0.5, 1) if rng.random() < 0.3 else 0.0,
        edge=rng.normal(0, 0.15) if rng.random() < 0.15 else 0.0,
        blur=pick(rng, (0.3, 0.8, 1.5, 3.0, 5.0), (0.3, 0.63, 0.83, 0.93, 1)),
    )


def _small_appearance(rng: Rng, appearance: _Appearance) -> _Appearance:
    """Return the appearance of a small object, which texture or soft edges would make invisible."""
    sign = np.sign(appearance.shift) or (-1 if rng.random() < 0.5 else 1)
    return _Appearance(float(sign) * max(abs(appearance.shift), 0.12), 0.0, 0.0, 0.0, min(appearance.blur, 0.8))


def _paint(rng: Rng, textures: TextureBank, field: Array, mask: Array, window: Window, appearance: _Appearance) -> None:
    """Change `field` where the object is; its soft edge ends 4 standard deviations away, and so does the window."""
    blur = appearance.blur * max(field.shape) / 256
    around = window.grown(int(4 * blur) + 2, field.shape).slices
    under, inside = field[around], mask[around]
    opacity = drawing.soft(inside, blur)
    # A mark that differs less than the surface does by itself could not be distinguished from it.
    shift = np.sign(appearance.shift) * max(abs(appearance.shift), mean_and_std(field)[1]) if appearance.shift else 0.0
    change = np.full(under.shape, shift, np.float32)
    if appearance.smooth:
        mean = cv2.mean(under, inside.view(np.uint8))[0]
        change += np.float32(appearance.smooth) * (np.float32(mean) - under)
    if appearance.texture:
        kind = "fractal" if rng.random() < 0.7 else "streaks"
        change += np.float32(appearance.texture) * textures.crop(rng, kind, under.shape)
    if rng.random() < 0.35:  # a shade across the object: part of it fades into the surface
        shade = textures.crop(rng, "shade", field.shape)[around]
        change *= (1 + np.float32(0.5) * shade).clip(0.4, 1.6)
    if appearance.edge:
        edge = opacity * (1 - opacity) * np.float32(4)
        change += np.float32(appearance.edge) * edge
        under += np.float32(0.3 * appearance.edge) * edge
    under += change * opacity


def _part(rng: Rng, mask: Array, window: Window, area: int) -> Array:
    """Return a piece of an object: a smaller blob about one of its pixels, kept inside."""
    x, y = random_pixels(rng, mask, window, 1)[0].tolist()
    size = np.sqrt(area) * rng.uniform(0.2, 0.5)
    return np.asarray(drawing.blob(rng, mask.shape, (x, y), float(size)) & mask)
