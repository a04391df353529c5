"""Charts as inline SVG of the page; `samis.reporting.render.png` draws the same charts as PNG files.

Horizontal positions are per cent of the width, so that a chart fits any screen while its text keeps its size.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from samis.evaluation.meanings import column_meaning
from samis.reporting.analysis.chart import Axis, Curve, Drawing, Histogram, LaneChart, LineChart
from samis.reporting.analysis.charts import ROLES
from samis.reporting.analysis.table import Table
from samis.reporting.render.templates import load_templates

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE = Path(__file__).with_name("page")
BAR_END = 0.84
"""Share of the width at which the longest bar ends; its value is printed to the right of it."""


def environment() -> Environment:
    """Return Jinja with the page's templates; every text from outside is escaped."""
    templates = load_templates(PAGE)
    templates.filters["unbroken"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    templates.tests["table"] = lambda item: isinstance(item, Table)
    templates.globals.update(
        roles=ROLES, shape=shape, at=at, bar_at=bar_at, ticks=ticks, points=points, meaning=column_meaning
    )
    return templates


def draw_svg(drawing: Drawing) -> str:
    """Return one chart as the page has it: a figure with its SVG."""
    return str(environment().get_template("charts.html").module.draw(drawing))  # type: ignore[attr-defined]


def shape(drawing: Drawing) -> str:
    """Return the name of the macro that draws a chart."""
    shapes = {LineChart: "plot", Histogram: "histogram"}
    return ("bars" if drawing.bars else "gap") if isinstance(drawing, LaneChart) else shapes[type(drawing)]


def at(axis: Axis, value: float) -> float:
    """Return where a value is, in per cent from the start of its axis."""
    return round(100 * axis.place(value), 2)


def bar_at(axis: Axis, value: float) -> float:
    """Return where a bar of some value ends, in per cent of the width."""
    return round(BAR_END * 100 * axis.place(value), 2)


def ticks(axis: Axis) -> list[tuple[float, str]]:
    """Return an axis' ticks and their texts."""
    return list(zip(axis.ticks, axis.tick_texts, strict=True))


def points(chart: LineChart, curve: Curve) -> str:
    """Return a curve as points of a polyline in a square of 100, y downwards."""
    pairs = zip(curve.xs, curve.ys, strict=True)
    return " ".join(f"{at(chart.x, x):g},{100 - at(chart.y, y):g}" for x, y in pairs)
