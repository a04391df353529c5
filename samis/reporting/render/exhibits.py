"""Choose the images of the page's gallery and pack them: image, truth, and the maps of the chosen rows."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from samis.evaluation.labels import label, number, signed
from samis.evaluation.rows import Chosen
from samis.evaluation.score_row import direction
from samis.reporting.render.overlay import TRUTH_RGB, boundary, is_long, overlaid

SIDE_PX = 320
"""Longest side of a picture in the page; of a long one (a rail), that goes across it, ``LONG_SIDE_PX``."""
LONG_SIDE_PX = 960
QUALITY = 62
"""WebP quality: steel at 200 px takes about 5 kB."""
MOST_BYTES = 12_000_000
"""The galleries of all data sets together stay below this; the last images of each are left out first."""


@dataclass
class Exhibit:
    """One image of the gallery.

    Attributes:
        id: its id.
        group: title of its data set.
        class_name: kind of defect.
        area: share of its pixels that are defective.
        hw: height and width of the pictures, px.
        views: ``image``, ``truth`` and the roles of the rows -> picture as a data URI.
        names: role -> row's name.
        scores: role -> value as printed.
        tuned: the metric of the tuned row, turned so that more is better; NaN if there is none.
        gain: how much better the tuned row is than zero-shot; NaN if one is missing.
        gain_text: the gain as printed.
    """

    id: str
    group: str
    class_name: str
    area: float
    hw: tuple[int, int]
    views: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)
    scores: dict[str, str] = field(default_factory=dict)
    tuned: float = math.nan
    gain: float = math.nan
    gain_text: str = ""

    @property
    def size(self) -> int:
        """Bytes of its pictures in the page."""
        return sum(map(len, self.views.values()))


@dataclass
class Ranked:
    """One image's value and gain, both turned so that more is better; NaN where unknown."""

    id: str
    class_name: str
    tuned: float
    gain: float


def rank(chosen: Chosen, metric: str) -> list[Ranked]:
    """List the images in the gallery's order: best gain, worst failure, second best gain, and so on.

    A failure is an image on which the tuned row is bad. Without a tuned row the last of the chosen rows takes its place,
    and without gains the best images take that of the largest gains. Images without the metric (defect-free ones) are left out.

    Args:
        chosen: the rows compared.
        metric: by which they are ordered.
    """
    subject = chosen.tuned or (chosen.present[-1] if chosen.present else None)
    if subject is None:
        return []
    sign = direction(metric, chosen.present)
    before = {}
    if chosen.zero_shot and chosen.zero_shot is not subject:
        before = {str(image["id"]): image.get(metric) for image in chosen.zero_shot.images}
    ranked = []
    for image in subject.images:
        value = image.get(metric)
        if not isinstance(value, int | float) or not math.isfinite(value):
            continue
        first = before.get(str(image["id"]))
        gain = sign * (value - first) if isinstance(first, int | float) else math.nan
        ranked.append(Ranked(str(image["id"]), str(image.get("class_name", "")), sign * value, gain))
    gains = sorted(ranked, key=lambda one: (-(one.tuned if math.isnan(one.gain) else one.gain), one.id))
    failures = sorted(ranked, key=lambda one: (one.tuned, one.id))
    order = [one for pair in zip(gains, failures, strict=True) for one in pair]
    return list({one.id: one for one in order}.values())


def spread(ranked: Sequence[Ranked], count: int) -> list[Ranked]:
    """Keep `count` images: two thirds from the front, the rest so that every class has its share.

    >>> names = [Ranked(str(n), "scratch" if n < 8 else "pit", 0.0, 0.0) for n in range(10)]
    >>> [one.id for one in spread(names, 4)]
    ['0', '1', '2', '8']
    """
    kept = list(ranked[: count - count // 3])
    rest = list(ranked[len(kept) :])
    while rest and len(kept) < count:
        shown = [one.class_name for one in kept]
        rarest = min(rest, key=lambda one: shown.count(one.class_name))
        kept.append(rarest)
        rest.remove(rarest)
    chosen = {one.id for one in kept}
    return [one for one in ranked if one.id in chosen]


def pack(
    chosen: Chosen,
    metric: str,
    group: str,
    read: Callable[[str], tuple[np.ndarray, np.ndarray | None]],
    maps: Mapping[str, Callable[[str, tuple[int, int]], np.ndarray]],
    *,
    count: int,
    most_bytes: int = MOST_BYTES,
) -> list[Exhibit]:
    """Draw one data set's gallery.

    Args:
        chosen: the rows compared.
        metric: gives the order, and is printed under the pictures.
        group: the data set's title.
        read: image id -> image (H, W, 3) uint8 and mask (H, W) bool or None.
        maps: role -> reader of a map, from image id and (H, W), as (H, W) uint8.
        count: how many images.
        most_bytes: of all pictures together; the last ones are left out.
    """
    rows = {role: row for role, row in chosen.by_role.items() if role in maps}
    tables = {role: {str(image["id"]): image.get(metric) for image in row.images} for role, row in rows.items()}
    exhibits: list[Exhibit] = []
    total = 0
    for one in spread(rank(chosen, metric), count):
        image, mask = read(one.id)
        pictures = {"image": image, "truth": _truth(image, mask)}
        pictures |= {role: _overlay(image, mask, maps[role](one.id, image.shape[:2])) for role in rows}
        shown = {name: _thumbnail(picture) for name, picture in pictures.items()}
        scores = {}
        for role, table in tables.items():
            value = table.get(one.id)
            text = number(value, metric, rows[role].protocol) if isinstance(value, int | float) else ""
            scores[role] = f"{label(metric)} {text}" if text else ""
        sign = direction(metric, chosen.present)
        exhibit = Exhibit(
            one.id,
            group,
            one.class_name,
            0.0 if mask is None else float(mask.mean()),
            next(iter(shown.values())).shape[:2],
            {name: data_uri(picture) for name, picture in shown.items()},
            {role: row.name for role, row in rows.items()},
            scores,
            one.tuned,
            one.gain,
            "" if math.isnan(one.gain) else f"{label(metric)} {signed(sign * one.gain, metric)}",
        )
        total += exhibit.size
        if exhibits and total > most_bytes:
            break
        exhibits.append(exhibit)
    return exhibits


def data_uri(picture: np.ndarray) -> str:
    """Return an (H, W, 3) uint8 picture as a WebP data URI."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    """Shrink a picture to the page's size; a long upright one is turned.

    Only pictures for the eye are resized here; what is scored goes through ``samis.core.geometry``.
    """
    from PIL import Image

    side = LONG_SIDE_PX if is_long(picture) else SIDE_PX
    if is_long(picture) and picture.shape[0] > picture.shape[1]:
        picture = np.rot90(picture)
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _truth(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Draw the truth as a cyan tint on the grey image."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    if mask is not None:
        grey = np.where(mask[..., None], 0.35 * grey + 0.65 * np.array(TRUTH_RGB), grey)
    return grey.round().astype(np.uint8)


def _overlay(image: np.ndarray, mask: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """Draw a map as an orange tint on the grey image, with the truth's boundary in cyan."""
    picture = (255 * overlaid(image, values)).round().astype(np.uint8)
    if mask is not None:
        # as wide as one pixel of the page, so that it is still visible after shrinking
        width = max(1, round(max(image.shape[:2]) / (LONG_SIDE_PX if is_long(image) else SIDE_PX)))
        picture[boundary(mask, width)] = TRUTH_RGB
    return picture
