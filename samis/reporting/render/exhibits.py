"""Choose the images of the page's gallery and pack them: image, truth, and the maps of the chosen rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from samis.evaluation.labels import label, number, signed
from samis.evaluation.rows import Chosen
from samis.evaluation.score_row import direction
from samis.reporting.render.layers import map_layers, middle_of, photo_uri, truth_layers

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
        photo: data URI.
        layers: ``truth`` and the roles of the rows -> ``fill`` and ``outline``, transparent pictures over the photo.
        middle: where a line from top to bottom parts the defect into halves, in percent of the width.
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
    photo: str
    layers: dict[str, dict[str, str]]
    middle: float = 50.0
    names: dict[str, str] = field(default_factory=dict)
    scores: dict[str, str] = field(default_factory=dict)
    tuned: float = math.nan
    gain: float = math.nan
    gain_text: str = ""

    @property
    def size(self) -> int:
        """Bytes of its pictures in the page."""
        return len(self.photo) + sum(len(uri) for layer in self.layers.values() for uri in layer.values())


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
        photo, hw = photo_uri(image)
        layers = {role: map_layers(maps[role](one.id, image.shape[:2])) for role in rows}
        layers |= {"truth": truth_layers(mask)} if mask is not None else {}
        scores = {}
        for role, table in tables.items():
            value = table.get(one.id)
            text = number(value, metric, rows[role].protocol) if isinstance(value, int | float) else ""
            scores[role] = f"{label(metric)} {text}" if text else ""
        sign = direction(metric, chosen.present)
        exhibit = Exhibit(
            id=one.id,
            group=group,
            class_name=one.class_name,
            area=0.0 if mask is None else float(mask.mean()),
            hw=hw,
            photo=photo,
            layers=layers,
            middle=middle_of(mask),
            names={role: row.name for role, row in rows.items()},
            scores=scores,
            tuned=one.tuned,
            gain=one.gain,
            gain_text="" if math.isnan(one.gain) else f"{label(metric)} {signed(sign * one.gain, metric)}",
        )
        total += exhibit.size
        if exhibits and total > most_bytes:
            break
        exhibits.append(exhibit)
    return exhibits
