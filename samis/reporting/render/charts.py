"""The page's charts as numbers: what to draw, where (in per cent), and the words that stand for it.

The page's template turns them into inline SVG whose positions are per cent of the width, so that a chart fits any screen
while its text keeps its size. Kinds of rows are told apart by colour, and by shape or dash as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from samis.evaluation.labels import label, number, value_of
from samis.evaluation.rows import SPECIALISED, Chosen
from samis.evaluation.score_row import ScoreRow, direction
from samis.reporting.analysis.answer import Answer
from samis.reporting.analysis.answer_tables import gap_or_lead
from samis.reporting.analysis.gap import LEVEL
from samis.reporting.analysis.table import column

ROLES = {"zero_shot": "zero-shot SAM", "tuned": "tuned SAM", "best": "best specialised"}
"""The three rows a gap is made of -> what the page calls them."""
AREA_EDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Edges of the defect-area histogram, as shares of the image; about three steps a decade."""
POINTS = 128
"""A curve is drawn with this many points at most."""


@dataclass
class Mark:
    """One value in a chart.

    Attributes:
        role: key of ``ROLES``. name: the row's name. text: the value as printed.
        x: position or length, per cent of the width. low_x, high_x: ends of its interval, or None.
    """

    role: str
    name: str
    text: str
    x: float
    low_x: float | None = None
    high_x: float | None = None


@dataclass
class Lane:
    """Marks on one line of a chart.

    Attributes:
        label: what stands before it. marks: its values. text: the gap closed. interval: its interval.
        description: all of it in words.
        gap, gained: ends of the stretch from zero-shot to best, and to tuned, per cent of the width; None if not to the right.
    """

    label: str
    marks: list[Mark]
    text: str = ""
    interval: str = ""
    description: str = ""
    gap: tuple[float, float] | None = None
    gained: tuple[float, float] | None = None


@dataclass
class Chart:
    """Lanes under a title.

    Attributes:
        title: its heading. lanes: from top to bottom. note: a sentence below. bars: whether marks are bars, not points.
    """

    title: str
    lanes: list[Lane]
    note: str = ""
    bars: bool = False


@dataclass
class Curve:
    """One line of a plot: its row, its kind's role, a dash number, and SVG points in a square of 100."""

    name: str
    role: str
    dash: int
    points: str


@dataclass
class Plot:
    """Curves over one axis; both axes run from 0 to 1, but for a threshold's, from 0 to 255.

    Attributes:
        title: its heading. x_label, y_label: the axes. x_end: the right end's value. description: in words.
    """

    title: str
    x_label: str
    y_label: str
    x_end: str
    curves: list[Curve]
    description: str


@dataclass
class Bin:
    """One bar of a histogram.

    Attributes:
        label: its range. count: images in it. width: of the bar, in per cent of the longest.
        means: role and mean of the metric over these images, as printed. description: all of it in words.
    """

    label: str
    count: int
    width: float
    means: list[tuple[str, str]]
    description: str


@dataclass
class Histogram:
    """Counts by range under a title, with a note below."""

    title: str
    bins: list[Bin]
    note: str


def gap_chart(group: Sequence[Answer]) -> Chart:
    """Lay out one data set's gap: a lane per metric, on which right is better."""
    lanes = []
    for answer in group:
        rows = answer.chosen.by_role
        bounds = [bound for row in rows.values() for bound in _bounds(row, answer.metric)]
        better = direction(answer.metric, rows.values()) > 0
        left, right = (0.0, 1.0) if better else (_round_up(max(bounds)), 0.0)
        marks = [_mark(role, row, answer.metric, left, right) for role, row in rows.items()]
        cell = gap_or_lead(answer)
        closed, interval = cell.text, cell.interval
        words = ", ".join(f"{ROLES[mark.role]} {mark.text} ({mark.name})" for mark in marks)
        described = f"{label(answer.metric)}: {words}; gap closed: {closed} {interval}".rstrip()
        gap = None if closed == LEVEL else _stretch(marks, "zero_shot", "best")
        gained = _stretch(marks, "zero_shot", "tuned")
        lanes.append(
            Lane(column(answer.metric, answer.chosen.present), marks, closed, interval, described, gap, gained)
        )
    return Chart(group[0].title, lanes)


def class_chart(chosen: Chosen, metric: str) -> Chart | None:
    """Lay out one metric's means by defect class as bars; None if no row tells classes apart."""
    rows = {role: row for role, row in chosen.by_role.items() if row.per_class}
    sizes = {name: int(v.get("n_images", 0)) for row in rows.values() for name, v in row.per_class.items()}
    names = sorted(name for name in sizes if any(metric in row.per_class.get(name, {}) for row in rows.values()))
    values = {
        (role, name): row.per_class[name][metric]
        for role, row in rows.items()
        for name in names
        if _finite(row.per_class.get(name, {}).get(metric))
    }
    if not values:
        return None
    top = 1.0 if direction(metric, rows.values()) > 0 else _round_up(max(values.values()))
    lanes = []
    for name in names:
        marks = [
            Mark(
                role,
                row.name,
                number(values[role, name], metric, row.protocol),
                100 * max(0.0, values[role, name]) / top,
            )
            for role, row in rows.items()
            if (role, name) in values
        ]
        words = ", ".join(f"{ROLES[mark.role]} {mark.text}" for mark in marks)
        lanes.append(Lane(f"{name} ({sizes[name]})", marks, description=f"{name}, {sizes[name]} images: {words}"))
    named = "; ".join(f"{ROLES[role]}: {row.name}" for role, row in rows.items())
    return Chart(
        f"{column(metric, chosen.present)} by class",
        lanes,
        f"Images in brackets. Bars end at {top:g}. {named}.",
        bars=True,
    )


def plots(title: str, rows: Sequence[ScoreRow]) -> list[Plot]:
    """Lay out precision over recall, and F- and E-measure over the threshold, as far as rows have the curves."""
    thresholds = [value / 255 for value in range(255, -1, -1)]
    wanted = (
        ("Precision over recall", "recall", "recall", "precision"),
        ("F-measure over the threshold", "", "threshold", "f_measure"),
        ("E-measure over the threshold", "", "threshold", "e_measure"),
    )
    found = []
    for name, x_key, x_label, y_key in wanted:
        able = [row for row in rows if row.curves.get(y_key) and (not x_key or row.curves.get(x_key))]
        curves, seen, words = [], dict[str, int](), []
        for row in able:
            role = "best" if row.kind in SPECIALISED else row.kind
            xs = row.curves[x_key] if x_key else thresholds
            curves.append(Curve(row.name, role, seen.get(role, 0) % 4, _points(xs, row.curves[y_key])))
            seen[role] = seen.get(role, 0) + 1
            middle = len(row.curves[y_key]) // 2
            at = f" at recall {row.curves[x_key][middle]:.2f}" if x_key else ""
            words.append(f"{row.name} {row.curves[y_key][middle]:.2f}{at}")
        if curves:
            y_label = y_key.replace("f_measure", "F-measure").replace("e_measure", "E-measure")
            described = f"{title}, {name}. {y_label.capitalize()} at threshold 127: {'; '.join(words)}"
            found.append(Plot(name, x_label, y_label, "1" if x_key else "255", curves, described))
    return found


def area_histogram(areas: Mapping[str, float], chosen: Chosen, metric: str) -> Histogram | None:
    """Count images by the share of them that is defective, with each row's mean of one metric in every bin.

    Args:
        areas: image id -> share of its pixels that are defective, in (0, 1]; images without a defect are left out.
        chosen: the rows whose means are given.
        metric: of those means.

    Returns:
        The histogram, or None without any defect.
    """
    areas = {key: area for key, area in areas.items() if area > 0}
    if not areas:
        return None
    values = {
        role: {str(image["id"]): image[metric] for image in row.images if _finite(image.get(metric))}
        for role, row in chosen.by_role.items()
    }
    protocol = chosen.present[0].protocol if chosen.present else ""
    members = {edges: [key for key, a in areas.items() if edges[0] < a <= edges[1]] for edges in pairwise(AREA_EDGES)}
    filled = [position for position, ids in enumerate(members.values()) if ids]
    top = max(map(len, members.values()))
    bins = []
    for (low, high), ids in list(members.items())[filled[0] : filled[-1] + 1]:
        means = []
        for role, table in values.items():
            inside = [table[key] for key in ids if key in table]
            if inside:
                means.append((role, number(sum(inside) / len(inside), metric, protocol)))
        text = f"< {100 * high:g} %" if low == 0 else f"{100 * low:g}–{100 * high:g} %"
        words = "".join(f", {ROLES[role]} {text_}" for role, text_ in means)
        described = f"{text} of the image: {len(ids)} images{words}"
        bins.append(Bin(text, len(ids), 100 * len(ids) / top, means, described))
    better = column(metric, chosen.present)
    note = f"Images by the share of their pixels that is defective; below each bar the mean {better} of each row."
    return Histogram("Defect area", bins, note)


def _mark(role: str, row: ScoreRow, metric: str, left: float, right: float) -> Mark:
    def place(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - left) / (right - left))), 2)

    low, high = _bounds(row, metric)
    ends = sorted((place(low), place(high)))
    value = row.metrics[metric]
    return Mark(role, row.name, value_of(row, metric), place(value), *(ends if low < high else (None, None)))


def _stretch(marks: Sequence[Mark], start: str, end: str) -> tuple[float, float] | None:
    places = {mark.role: mark.x for mark in marks}
    if start not in places or places.get(end, -1.0) <= places[start]:
        return None
    return places[start], places[end]


def _bounds(row: ScoreRow, metric: str) -> tuple[float, float]:
    value = row.metrics[metric]
    low, high = row.intervals.get(metric) or (value, value)
    return (low, high) if _finite(low) and _finite(high) else (value, value)


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 3, 5 times a power of ten, for an axis' end.

    >>> _round_up(0.17), _round_up(0.3), _round_up(0.0)
    (0.2, 0.3, 1.0)
    """
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(float(f"{step * power:.3g}") for step in (1, 2, 3, 5, 10) if value <= step * power * (1 + 1e-9))


def _points(xs: Sequence[float], ys: Sequence[float]) -> str:
    step = max(1, math.ceil(len(ys) / POINTS))
    kept = sorted({*range(0, len(ys), step), len(ys) - 1})
    pairs = [(xs[i], ys[i]) for i in kept if _finite(xs[i]) and _finite(ys[i])]
    return " ".join(f"{100 * x:.1f},{100 - 100 * y:.1f}" for x, y in pairs)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
