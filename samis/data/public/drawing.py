"""Seeded drawing on grey canvases: textures, shapes and marks of which the drawn data sets consist.

Every function takes a ``numpy.random.Generator`` and works on float32 arrays in [0, 1]; nothing here is read from a file.
"""

from __future__ import annotations

import cv2
import numpy as np

cv2.setNumThreads(0)  # data workers are processes already

Array = np.ndarray
Rng = np.random.Generator


def noise(rng: Rng, hw: tuple[int, int], cells_y: float, cells_x: float) -> Array:
    """Return (H, W) smooth value noise with about the given number of cells per side, mean 0, standard deviation 1."""
    grid = rng.standard_normal((max(2, round(cells_y)), max(2, round(cells_x)))).astype(np.float32)
    field = cv2.resize(grid, (hw[1], hw[0]), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / (field.std() + 1e-6)


def fractal(rng: Rng, hw: tuple[int, int], *, roughness: float | None = None) -> Array:
    """Return (H, W) noise summed over octaves, standard deviation 1; a larger `roughness` in [0, 1] keeps more fine detail."""
    keep = rng.uniform(0.35, 0.9) if roughness is None else roughness
    total = np.zeros(hw, np.float32)
    cells, strength = rng.uniform(1.5, 4), 1.0
    while cells < max(hw) / 2:
        total += strength * noise(rng, hw, cells, cells)
        cells, strength = cells * 2.1, strength * keep
    return total / (total.std() + 1e-6)


def streaks(rng: Rng, hw: tuple[int, int], *, along: float | None = None) -> Array:
    """Return (H, W) brushed or rolled texture along the vertical axis, standard deviation 1; `along` = cells down the length."""
    along = rng.choice([2, 4, 8, 20]) if along is None else along
    across = rng.uniform(0.1, 0.7) * hw[1]
    field = noise(rng, hw, along, across) + rng.uniform(0, 1.2) * noise(rng, hw, 2, across / rng.uniform(3, 10))
    return field / (field.std() + 1e-6)


def lighting(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return (H, W) additive light: a slope, a glare spot and darker corners, each sometimes."""
    y, x = np.mgrid[: hw[0], : hw[1]].astype(np.float32)
    y, x = y / hw[0] - 0.5, x / hw[1] - 0.5
    light = np.zeros(hw, np.float32)
    if rng.random() < 0.6:
        light += rng.normal(0, 0.16) * x + rng.normal(0, 0.16) * y
    if rng.random() < 0.25:
        far = (x - rng.uniform(-0.6, 0.6)) ** 2 + (y - rng.uniform(-0.6, 0.6)) ** 2
        light += rng.uniform(-0.2, 0.3) * np.exp(-far / rng.uniform(0.02, 0.3))
    if rng.random() < 0.25:
        light -= rng.uniform(0.1, 0.6) * (x**2 + y**2)
    return light


def blob(rng: Rng, hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> Array:
    """Return (H, W) bool: a closed outline about a centre, from round to ragged, stretched and turned."""
    return filled(hw, blob_outline(rng, radius) + centre_xy)


def blob_outline(rng: Rng, radius: float) -> Array:
    """Return the (48, 2) points of a blob's outline about (0, 0), px."""
    steps = 48
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    outline = np.ones(steps)
    wobble = rng.uniform(0, 0.35)
    for k in range(1, rng.integers(2, 9)):
        outline += wobble / k * rng.standard_normal() * np.cos(k * angle + rng.uniform(0, 6.28))
    outline = np.clip(outline, 0.2, 2.5) * radius
    stretch = np.exp(rng.normal(0, 0.45))
    points = np.stack([outline * np.cos(angle) * stretch, outline * np.sin(angle) / stretch], 1)
    return _turn(points, rng.uniform(0, np.pi))


def polygon(rng: Rng, hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> Array:
    """Return (H, W) bool: a polygon of 3 to 8 corners, rectangles among them."""
    return filled(hw, polygon_outline(rng, radius) + centre_xy)


def polygon_outline(rng: Rng, radius: float) -> Array:
    """Return the (N, 2) corners of a polygon about (0, 0), px."""
    if rng.random() < 0.4:
        aspect = np.exp(rng.normal(0, 0.7))
        corners = (
            np.array([[-aspect, -1 / aspect], [aspect, -1 / aspect], [aspect, 1 / aspect], [-aspect, 1 / aspect]]) * 0.8
        )
    else:
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        corners = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.6, 1.2, (len(angle), 1))
    return _turn(corners * radius, rng.uniform(0, np.pi))


def curve(
    rng: Rng, hw: tuple[int, int], centre_xy: tuple[float, float], length: float, *, crooked: float | None = None
) -> Array:
    """Return (H, W) bool: a line of varying width, straight to crooked; scratches, cracks, fibres."""
    bend = rng.choice([0.0, 0.02, 0.1, 0.35]) if crooked is None else crooked
    steps = max(6, int(length / 4))
    heading = rng.uniform(0, np.pi) if rng.random() < 0.5 else rng.choice([0, np.pi / 2]) + rng.normal(0, 0.06)
    turns = heading + np.cumsum(rng.normal(0, bend, steps))
    path = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1) * (length / steps), axis=0)
    path += np.asarray(centre_xy) - path.mean(0)
    widest = max(
        1.0,
        rng.choice([0.006, 0.01, 0.016, 0.03, 0.06, 0.1], p=[0.19, 0.19, 0.19, 0.19, 0.16, 0.08])
        * max(hw)
        * rng.uniform(0.7, 1.3),
    )
    width = widest * np.clip(
        1 + 0.4 * np.interp(np.arange(steps), np.linspace(0, steps, 6), rng.standard_normal(6)), 0.4, 2
    )
    if rng.random() < 0.5:
        width *= np.sin(np.linspace(0.15, np.pi - 0.15, steps)) ** 0.5
    mask = np.zeros(hw, np.uint8)
    points = np.round(path * 8).astype(np.int32)
    for i in range(steps - 1):
        cv2.line(mask, points[i].tolist(), points[i + 1].tolist(), 1, max(1, round(float(width[i]))), shift=3)
    return mask.astype(bool)


def rough_patch(rng: Rng, hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> Array:
    """Return (H, W) bool: a patch with fractal edges and islets, like rust, scale or rolled-in residue."""
    y, x = np.mgrid[: hw[0], : hw[1]].astype(np.float32)
    stretch = np.exp(rng.normal(0, 0.5))
    far = np.hypot((x - centre_xy[0]) * stretch, (y - centre_xy[1]) / stretch) / radius
    field = 1 - far + rng.uniform(0.15, 0.5) * fractal(rng, hw, roughness=rng.uniform(0.3, 0.6))
    return field > 0


def ring(rng: Rng, hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> Array:
    """Return (H, W) bool: a blob with a hole."""
    outer = blob(rng, hw, centre_xy, radius).astype(np.uint8)
    width = max(1, int(radius * rng.uniform(0.15, 0.5)))
    return (
        outer - cv2.erode(outer, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1)))
    ).astype(bool)


def soft(mask: Array, blur_px: float) -> Array:
    """Return the mask as (H, W) float32 opacity with edges softened by a Gaussian of the given standard deviation."""
    opacity = mask.astype(np.float32)
    return cv2.GaussianBlur(opacity, (0, 0), blur_px) if blur_px > 0.2 else opacity


def camera(rng: Rng, field: Array, *, strength: float = 1.0) -> Array:
    """Return (H, W) uint8: the field seen by a camera, with gamma, blur, grain, JPEG and a random contrast."""
    if rng.random() < 0.4:
        field = cv2.GaussianBlur(field, (0, 0), rng.uniform(0.3, 1.0) * strength)
    grain = rng.uniform(0, 0.05) if rng.random() < 0.85 else rng.uniform(0.05, 0.09)
    field = field + grain * strength * rng.standard_normal(field.shape, dtype=np.float32)
    if rng.random() < 0.3:
        field = (field - field.mean()) * rng.uniform(0.5, 2.5) + rng.uniform(0.2, 0.75)
    field = np.clip(field, 0, 1) ** np.exp(rng.normal(0, 0.2))
    grey = (field * 255).astype(np.uint8)
    if rng.random() < 0.3:
        coded = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))])[1]
        return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE))
    return grey


def _turn(points: Array, angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[c, s], [-s, c]]))


def filled(hw: tuple[int, int], points: Array) -> Array:
    """Return (H, W) bool: the inside of an outline of (N, 2) points (x, y), px, its boundary included."""
    mask = np.zeros(hw, np.uint8)
    cv2.fillPoly(mask, [np.round(points * 8).astype(np.int32)], 1, shift=3)
    return mask.astype(bool)
