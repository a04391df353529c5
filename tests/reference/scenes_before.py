"""Drawn scenes and their questions as commit 31d036d drew them: the reference of ``pretraining.scenes``' speed and statistics.

A copy of ``draw_scene`` and ``_prompted`` with the brushes that only they used; not part of the product.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

Array = np.ndarray
Rng = np.random.Generator


def noise(rng: Rng, hw: tuple[int, int], cells_y: float, cells_x: float) -> Array:
    """Return (H, W) smooth value noise with about the given number of cells per side, mean 0, deviation 1."""
    grid = rng.standard_normal((max(2, round(cells_y)), max(2, round(cells_x)))).astype(np.float32)
    field = cv2.resize(grid, (hw[1], hw[0]), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / (field.std() + 1e-6)


def fractal(rng: Rng, hw: tuple[int, int], *, roughness: float | None = None) -> Array:
    """Return (H, W) noise summed over octaves, deviation 1; a larger `roughness` in [0, 1] keeps more fine detail."""
    keep = rng.uniform(0.35, 0.9) if roughness is None else roughness
    total = np.zeros(hw, np.float32)
    cells, strength = rng.uniform(1.5, 4), 1.0
    while cells < max(hw) / 2:
        total += strength * noise(rng, hw, cells, cells)
        cells, strength = cells * 2.1, strength * keep
    return total / (total.std() + 1e-6)


def streaks(rng: Rng, hw: tuple[int, int], *, along: float | None = None) -> Array:
    """Return (H, W) brushed or rolled texture along the vertical axis, deviation 1; `along` = cells down the length."""
    along = rng.choice([2, 4, 8, 20]) if along is None else along
    across = rng.uniform(0.1, 0.7) * hw[1]
    field = noise(rng, hw, along, across) + rng.uniform(0, 1.2) * noise(rng, hw, 2, across / rng.uniform(3, 10))
    return field / (field.std() + 1e-6)


def waves(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return (H, W) stripes or a weave of random pitch and direction, deviation about 1."""
    y, x = np.mgrid[: hw[0], : hw[1]].astype(np.float32)
    field = np.zeros(hw, np.float32)
    turn = rng.uniform(0, np.pi)
    for k in range(rng.integers(1, 3)):
        angle = turn + k * np.pi / 2
        pitch = rng.uniform(4, max(hw) / 4)
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / pitch) + rng.uniform(0, 6.28))
        field += np.sign(wave) * np.abs(wave) ** rng.uniform(0.3, 1.5)
    return field


def turned(rng: Rng, field: Array) -> Array:
    """Return the texture turned by a random multiple of 90 degrees or, one time in three, by any angle."""
    if rng.random() < 0.33:
        height, width = field.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(0, 360), 1.45)
        return cv2.warpAffine(field, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    return field.T.copy() if field.shape[0] == field.shape[1] and rng.random() < 0.5 else field


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


def background(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return (H, W) surface of a random kind: plain, grainy, cloudy, brushed, rolled, striped, banded."""
    field = np.full(hw, rng.uniform(0.15, 0.85), np.float32) + lighting(rng, hw)
    kind = rng.random()
    if kind < 0.3:
        field += rng.uniform(0.01, 0.08) * fractal(rng, hw)
    elif kind < 0.7:
        field += turned(rng, rng.uniform(0.01, 0.09) * streaks(rng, hw))
    elif kind < 0.78:
        field += turned(rng, rng.uniform(0.01, 0.08) * waves(rng, hw))
    elif kind < 0.88:
        field += turned(rng, rng.uniform(0.05, 0.25) * noise(rng, hw, 2, rng.uniform(4, 14)))
    if rng.random() < 0.4:
        field += rng.uniform(0.005, 0.05) * fractal(rng, hw)
    return field


def blob(rng: Rng, hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> Array:
    """Return (H, W) bool: a closed outline about a centre, from round to ragged, stretched and turned."""
    steps = 48
    angle = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    outline = np.ones(steps)
    wobble = rng.uniform(0, 0.35)
    for k in range(1, rng.integers(2, 9)):
        outline += wobble / k * rng.standard_normal() * np.cos(k * angle + rng.uniform(0, 6.28))
    outline = np.clip(outline, 0.2, 2.5) * radius
    stretch = np.exp(rng.normal(0, 0.45))
    points = np.stack([outline * np.cos(angle) * stretch, outline * np.sin(angle) / stretch], 1)
    return _filled(hw, _turn(points, rng.uniform(0, np.pi)) + centre_xy)


def polygon(rng: Rng, hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> Array:
    """Return (H, W) bool: a polygon of 3 to 8 corners, rectangles among them."""
    if rng.random() < 0.4:
        aspect = np.exp(rng.normal(0, 0.7))
        corners = (
            np.array([[-aspect, -1 / aspect], [aspect, -1 / aspect], [aspect, 1 / aspect], [-aspect, 1 / aspect]]) * 0.8
        )
    else:
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        corners = np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.6, 1.2, (len(angle), 1))
    return _filled(hw, _turn(corners * radius, rng.uniform(0, np.pi)) + centre_xy)


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
    """Return (H, W) bool: a patch with fractal rims and islets, like rust, scale or rolled-in residue."""
    y, x = np.mgrid[: hw[0], : hw[1]].astype(np.float32)
    stretch = np.exp(rng.normal(0, 0.5))
    far = np.hypot((x - centre_xy[0]) * stretch, (y - centre_xy[1]) / stretch) / radius
    field = 1 - far + rng.uniform(0.15, 0.5) * fractal(rng, hw, roughness=rng.uniform(0.3, 0.6))
    return field > 0


def stain(rng: Rng, hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> Array:
    """Return (H, W) bool: a large ragged area with bays and holes, like scale, oil or an oxide patch."""
    y, x = np.mgrid[: hw[0], : hw[1]].astype(np.float32)
    stretch = np.exp(rng.normal(0, 0.4))
    far = np.hypot((x - centre_xy[0]) * stretch, (y - centre_xy[1]) / stretch) / radius
    field = 1 - far + rng.uniform(0.4, 1.0) * fractal(rng, hw, roughness=rng.uniform(0.2, 0.45))
    return cv2.GaussianBlur(field, (0, 0), rng.uniform(0.005, 0.02) * max(hw)) > 0


def ring(rng: Rng, hw: tuple[int, int], centre_xy: tuple[float, float], radius: float) -> Array:
    """Return (H, W) bool: a blob with a hole."""
    outer = blob(rng, hw, centre_xy, radius).astype(np.uint8)
    rim = max(1, int(radius * rng.uniform(0.15, 0.5)))
    return (outer - cv2.erode(outer, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim + 1, 2 * rim + 1)))).astype(
        bool
    )


def soft(mask: Array, blur_px: float) -> Array:
    """Return the mask as (H, W) float32 opacity with rims softened by a Gaussian of the given deviation."""
    opacity = mask.astype(np.float32)
    return cv2.GaussianBlur(opacity, (0, 0), blur_px) if blur_px > 0.2 else opacity


def camera(rng: Rng, field: Array, *, strength: float = 1.0) -> Array:
    """Return (H, W) uint8: the field seen by a camera, with gamma, blur, grain, JPEG and a contrast of its own."""
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
    return points @ np.array([[c, s], [-s, c]])


def _filled(hw: tuple[int, int], points: Array) -> Array:
    mask = np.zeros(hw, np.uint8)
    cv2.fillPoly(mask, [np.round(points * 8).astype(np.int32)], 1, shift=3)
    return mask.astype(bool)


SHAPES = {
    "blob": blob,
    "polygon": polygon,
    "rough_patch": rough_patch,
    "ring": ring,
    "stain": stain,
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
    field = background(rng, hw)
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
    image = camera(rng, field, strength=side / 256)
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
        return curve(rng, hw, centre, side * rng.uniform(0.1, 1.3))
    if kind == "cluster":
        mask = np.zeros(hw, bool)
        for _ in range(rng.integers(3, 9)):
            spot = (centre[0] + rng.normal(0, radius), centre[1] + rng.normal(0, radius))
            mask |= blob(rng, hw, spot, max(1.5, radius * rng.uniform(0.1, 0.4)))
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
    opacity = soft(mask, look.blur * scale)
    # A mark that differs less than the surface does by itself could not be told from it.
    shift = np.sign(look.shift) * max(abs(look.shift), float(field.std())) if look.shift else 0.0
    inner = field + shift
    if look.smooth:
        inner = inner + look.smooth * (float(field[mask].mean()) - field)
    if look.texture:
        surface = fractal(rng, field.shape) if rng.random() < 0.7 else turned(rng, streaks(rng, field.shape))
        inner = inner + look.texture * surface
    if rng.random() < 0.35:  # a shade across the object: part of it fades into the surface
        inner = field + (inner - field) * (1 + 0.5 * noise(rng, field.shape, 2, 2)).clip(0.4, 1.6)
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
    return blob(rng, whole.shape, (float(columns[pick]), float(rows[pick])), float(size)) & whole


@dataclass(frozen=True)
class PromptMix:
    """How many questions are asked about each scene.

    Attributes:
        boxes, points, clicks: prompts of each group: boxes, single points, several points.
        clicks_each: points of a prompt of the third group.
        jitter: deviation of a box side, as a share of the box's size.
        grid_px: frame pixels a cell of the answer covers.
    """

    boxes: int = 3
    points: int = 2
    clicks: int = 1
    clicks_each: int = 3
    jitter: float = 0.06
    grid_px: int = 2


def prompted(rng: Rng, side: int, mix: PromptMix) -> dict[str, Array]:
    """Draw one scene that has an object, and its questions and answers."""
    scene = draw_scene(rng, side)
    while not len(scene.objects):
        scene = draw_scene(rng, side)
    image = np.repeat(scene.image[..., None], 3, axis=2)
    if rng.random() < 0.15:
        image = np.clip(image * rng.uniform(0.8, 1.2, 3), 0, 255).astype(np.uint8)
    cells = side // mix.grid_px
    picked = rng.integers(len(scene.objects), size=mix.boxes + mix.points + mix.clicks)
    answers = np.stack([_cells(scene.objects[k], cells) for k in picked])
    of_box, of_point, of_clicks = np.split(picked, [mix.boxes, mix.boxes + mix.points])
    points = np.stack([_inside(rng, scene.objects[k], 1) for k in of_point])
    clicked = [_clicks(rng, scene.objects[k], mix.clicks_each) for k in of_clicks]
    return {
        "image": image,
        "boxes_xyxy": np.stack([_box(rng, scene.objects[k], mix.jitter) for k in of_box]),
        "points_xy": points,
        "clicks_xy": np.stack([xy for xy, _ in clicked]),
        "clicks_labels": np.stack([labels for _, labels in clicked]),
        "answers": answers,
        "salient": _cells(scene.salient, cells)[None],
    }


def _cells(mask: Array, cells: int) -> Array:
    return cv2.resize(mask.astype(np.uint8) * 255, (cells, cells), interpolation=cv2.INTER_AREA)


def _box(rng: Rng, mask: Array, jitter: float) -> Array:
    rows, columns = np.nonzero(mask)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2, np.float32)
    shift = rng.normal(0, jitter, 4).clip(-0.15, 0.15) * size
    return np.clip(box + shift, 0, mask.shape[0]).astype(np.float32)


def _inside(rng: Rng, mask: Array, count: int) -> Array:
    """Return (count, 2) float32 points on the object; half of the time its innermost point first."""
    rows, columns = np.nonzero(mask)
    picks = rng.integers(len(rows), size=count)
    points = np.stack([columns[picks], rows[picks]], 1).astype(np.float32)
    if rng.random() < 0.5:
        depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        points[0] = (x, y)
    return points


def _clicks(rng: Rng, mask: Array, count: int) -> tuple[Array, Array]:
    """Return several points and their labels: on the object, and sometimes just off it."""
    points, labels = _inside(rng, mask, count), np.ones(count, np.int64)
    reach = cv2.dilate(mask.astype(np.uint8), np.ones((31, 31), np.uint8)).astype(bool) & ~mask
    rows, columns = np.nonzero(reach)
    for k in range(1, count):
        if len(rows) and rng.random() < 0.4:
            pick = rng.integers(len(rows))
            points[k], labels[k] = (columns[pick], rows[pick]), 0
    return points, labels
