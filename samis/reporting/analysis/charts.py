"""The charts of a report, built from score rows as numbers (`samis.reporting.analysis.chart`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from samis.evaluation.labels import label, number, value_of
from samis.evaluation.rows import SPECIALISED, Chosen, best_row, has
from samis.evaluation.score_row import ScoreRow, direction
from samis.reporting.analysis.answer import Answer
from samis.reporting.analysis.answer_tables import gap_or_lead
from samis.reporting.analysis.chart import (
    Axis,
    Bin,
    Curve,
    Histogram,
    Lane,
    LaneChart,
    LineChart,
    Mark,
    axis_to,
    round_up,
)
from samis.reporting.analysis.gap import LEVEL
from samis.reporting.analysis.table import column

ROLES = {"zero_shot": "zero-shot SAM", "tuned": "tuned SAM", "best": "best specialised"}
"""The three rows a gap is made of -> their names in the report."""
AREA_EDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Edges of the defect-area histogram, as shares of the image; about three steps a decade."""
POINTS = 128
"""A curve has about this many points at most."""
DASHES = 4
"""Number of dash patterns."""
MOST_PER_ROLE = 4
"""Largest number of rows of one role in a chart of curves."""
KINDS = (("zero_shot",), ("tuned",), SPECIALISED)
"""Kinds of rows by role."""
UNIT = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
THRESHOLDS = Axis("threshold", 0.0, 255.0, (0.0, 64.0, 128.0, 192.0, 255.0))


def gap_chart(group: Sequence[Answer]) -> LaneChart:
    """Return one data set's gap: a lane for each metric, on which right is better."""
    lanes = []
    for answer in group:
        rows = answer.chosen.by_role
        bounds = [bound for row in rows.values() for bound in _bounds(row, answer.metric)]
        better = direction(answer.metric, rows.values()) > 0
        axis = axis_to(1.0 if better else round_up(max(bounds)), reverse=not better)
        marks = [_mark(role, row, answer.metric) for role, row in rows.items()]
        cell = gap_or_lead(answer)
        values = ", ".join(f"{ROLES[mark.role]} {mark.text} ({mark.name})" for mark in marks)
        lanes.append(
            Lane(
                column(answer.metric, answer.chosen.present),
                axis,
                marks,
                cell.text,
                cell.interval,
                f"{label(answer.metric)}: {values}; gap closed: {cell.text} {cell.interval}".rstrip(),
                gap=None if cell.text == LEVEL else _stretch(axis, marks, "zero_shot", "best"),
                gained=_stretch(axis, marks, "zero_shot", "tuned"),
            )
        )
    return LaneChart(group[0].title, lanes)


def class_chart(chosen: Chosen, metric: str) -> LaneChart | None:
    """Return one metric's means by defect class as bars; None if no row has classes.

    Args:
        chosen: the rows compared.
        metric: whose means.
    """
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
    axis = axis_to(1.0 if direction(metric, rows.values()) > 0 else round_up(max(values.values())))
    lanes = []
    for name in names:
        marks = [
            Mark(role, row.name, values[role, name], number(values[role, name], metric, row.protocol))
            for role, row in rows.items()
            if (role, name) in values
        ]
        described = ", ".join(f"{ROLES[mark.role]} {mark.text}" for mark in marks)
        lanes.append(
            Lane(f"{name} ({sizes[name]})", axis, marks, description=f"{name}, {sizes[name]} images: {described}")
        )
    named = "; ".join(f"{ROLES[role]}: {row.name}" for role, row in rows.items())
    return LaneChart(f"{column(metric, chosen.present)} by class", lanes, f"Images in brackets. {named}.", bars=True)


def notable_rows(rows: Sequence[ScoreRow], metric: str) -> list[ScoreRow]:
    """Return the best few non-oracle rows of each role by one metric, best first, so that a chart can be read.

    Args:
        rows: one group of rows.
        metric: by which the best are chosen.
    """
    notable: list[ScoreRow] = []
    for kinds in KINDS:
        rest = [row for row in rows if row.kind in kinds and not row.oracle and has(row, metric)]
        for _ in range(min(MOST_PER_ROLE, len(rest))):
            best = best_row(rest, metric, kinds)
            rest = [row for row in rest if row is not best]
            notable += [best] if best else []
    return notable


def precision_recall_chart(title: str, rows: Sequence[ScoreRow]) -> LineChart | None:
    """Return precision over recall at 256 thresholds, means over images; None if no row has both curves.

    Args:
        title: of the group, for the description.
        rows: the rows to draw; those without the curves are left out.
    """
    able = [row for row in rows if row.curves.get("precision") and row.curves.get("recall")]
    curves = _curves([(row, row.curves["recall"], row.curves["precision"]) for row in able])
    middle = len(able[0].curves["recall"]) // 2 if able else 0
    values = [
        f"{row.name} {row.curves['precision'][middle]:.2f} at recall {row.curves['recall'][middle]:.2f}" for row in able
    ]
    described = f"{title}, precision over recall. Precision at threshold 127: {'; '.join(values)}"
    axes = Axis("recall", 0.0, 1.0, UNIT), Axis("precision", 0.0, 1.0, UNIT)
    return LineChart("Precision over recall", *axes, curves, described) if curves else None


def threshold_charts(title: str, rows: Sequence[ScoreRow]) -> list[LineChart]:
    """Return F- and E-measure over the threshold, means over images, those that some row has.

    Args:
        title: of the group, for the description.
        rows: the rows to draw; those without the curve are left out.
    """
    charts = []
    for key, name in (("f_measure", "F-measure"), ("e_measure", "E-measure")):
        able = [row for row in rows if row.curves.get(key)]
        curves = _curves([(row, range(255, -1, -1), row.curves[key]) for row in able])
        values = [f"{row.name} {row.curves[key][len(row.curves[key]) // 2]:.2f}" for row in able]
        heading = f"{name} over the threshold"
        described = f"{title}, {heading}. {name} at threshold 127: {'; '.join(values)}"
        if curves:
            charts.append(LineChart(heading, THRESHOLDS, Axis(name, 0.0, 1.0, UNIT), curves, described))
    return charts


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
    bins = []
    for (low, high), ids in list(members.items())[filled[0] : filled[-1] + 1]:
        means = []
        for role, table in values.items():
            inside = [table[key] for key in ids if key in table]
            if inside:
                means.append((role, number(sum(inside) / len(inside), metric, protocol)))
        text = f"< {100 * high:g} %" if low == 0 else f"{100 * low:g}–{100 * high:g} %"
        described = "".join(f", {ROLES[role]} {mean}" for role, mean in means)
        bins.append(Bin(text, len(ids), means, f"{text} of the image: {len(ids)} images{described}"))
    better = column(metric, chosen.present)
    note = f"Images by the share of their pixels that is defective; below each bar the mean {better} of each row."
    axis = axis_to(round_up(max(map(len, members.values()))), label="images", whole=True)
    return Histogram("Defect area", axis, bins, note)


def _mark(role: str, row: ScoreRow, metric: str) -> Mark:
    low, high = _bounds(row, metric)
    return Mark(role, row.name, row.metrics[metric], value_of(row, metric), *((low, high) if low < high else ()))


def _stretch(axis: Axis, marks: Sequence[Mark], start: str, end: str) -> tuple[float, float] | None:
    """Return the values of two roles if the second one is to the right of the first."""
    values = {mark.role: mark.value for mark in marks}
    if start not in values or end not in values or axis.place(values[end]) <= axis.place(values[start]):
        return None
    return values[start], values[end]


def _bounds(row: ScoreRow, metric: str) -> tuple[float, float]:
    value = row.metrics[metric]
    low, high = row.intervals.get(metric) or (value, value)
    return (low, high) if _finite(low) and _finite(high) else (value, value)


def _curves(lines: Sequence[tuple[ScoreRow, Sequence[float], Sequence[float]]]) -> list[Curve]:
    """Return rows' curves, thinned, each row of a role with the next dash pattern."""
    curves, seen = [], dict[str, int]()
    for row, xs, ys in lines:
        role = "best" if row.kind in SPECIALISED else row.kind
        step = max(1, math.ceil(len(ys) / POINTS))
        kept = sorted({*range(0, len(ys), step), len(ys) - 1})
        kept = [i for i in kept if _finite(xs[i]) and _finite(ys[i])]
        curves.append(
            Curve(
                row.name,
                role,
                seen.get(role, 0) % DASHES,
                tuple(float(xs[i]) for i in kept),
                tuple(float(ys[i]) for i in kept),
            )
        )
        seen[role] = seen.get(role, 0) + 1
    return curves


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
