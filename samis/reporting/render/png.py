"""Charts as PNG files, drawn with matplotlib; `samis.reporting.render.svg` draws the same charts in the page.

Colours are those of Okabe and Ito, which colour-blind readers can separate too; marks and dashes differ as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samis.core.files import replacing
from samis.reporting.analysis.chart import Axis, Lane, LaneChart, LineChart
from samis.reporting.analysis.charts import ROLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

COLOURS = {"zero_shot": "#E69F00", "tuned": "#0072B2", "best": "#009E73"}
MARKERS = {"zero_shot": "o", "tuned": "o", "best": "D"}
STYLES = ("-", "--", ":", "-.")
WIDTH_IN = 8.3
"""Width of a figure: at 100 dpi as wide as a README's column, so that 9 pt text stays readable."""
LANE_IN, TITLE_IN = 0.95, 0.4
"""Height of a lane, and of the title above a chart."""
SOFT = "#555555"


def new_figure(width: float, height: float, *, dpi: int = 160) -> Figure:
    """Return an empty figure on white, `width` by `height` inches, outside pyplot's global state."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    matplotlib.rcParams.update({"axes.grid": False, "font.family": "DejaVu Sans"})
    return Figure(figsize=(width, height), dpi=dpi, facecolor="white", layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG by rename, without a time or version in it, so that equal figures are equal files."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
    return path


def lanes_figure(charts: Sequence[LaneChart]) -> Figure:
    """Return a figure of charts of lanes, one below the other, two lanes side by side.

    Args:
        charts: at least one, each with at least one lane.
    """
    from matplotlib.lines import Line2D

    heights = [TITLE_IN + LANE_IN * -(-len(chart.lanes) // 2) for chart in charts]
    figure = new_figure(WIDTH_IN, sum(heights) + 0.3)
    handles = [
        Line2D([], [], color=COLOURS[role], marker=MARKERS[role], linewidth=1.2, label=name)
        for role, name in ROLES.items()
    ]
    figure.set_layout_engine("constrained", wspace=0.06)
    figure.legend(handles=handles, loc="outside lower left", ncols=3, frameon=False, fontsize=8)
    parts = figure.subfigures(len(charts), 1, squeeze=False, height_ratios=heights)
    for part, chart in zip(parts[:, 0], charts, strict=True):
        part.suptitle(chart.title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        axes = part.subplots(-(-len(chart.lanes) // 2), 2, squeeze=False).ravel()
        for axis, lane in zip(axes, chart.lanes, strict=False):
            _draw_lane(axis, lane)
        for axis in axes[len(chart.lanes) :]:
            axis.set_axis_off()
    return figure


def lines_figure(charts: Sequence[LineChart], *, title: str = "") -> Figure:
    """Return a figure of charts of curves side by side, with one legend.

    Args:
        charts: at least one.
        title: above them.
    """
    figure = new_figure(WIDTH_IN, 4.2 if len(charts) == 1 else 3.8)
    names: dict[str, Line2D] = {}
    for axis, chart in zip(figure.subplots(1, len(charts), squeeze=False)[0], charts, strict=True):
        for curve in chart.curves:
            (line,) = axis.plot(
                curve.xs, curve.ys, STYLES[curve.dash], color=COLOURS[curve.role], label=curve.name, linewidth=1.6
            )
            names.setdefault(curve.name, line)
        _set_axis(axis, chart.x, horizontal=True)
        _set_axis(axis, chart.y, horizontal=False)
        axis.grid(color="#e6e6e6", linewidth=0.6)
        axis.set_title(chart.title, fontsize=9, loc="left")
    figure.legend(list(names.values()), list(names), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
    return figure


def draw_lanes(charts: Sequence[LaneChart], path: str | Path) -> Path:
    """Write `lanes_figure` as PNG; return its path."""
    return save_figure(lanes_figure(charts), path)


def draw_lines(charts: Sequence[LineChart], path: str | Path, *, title: str = "") -> Path:
    """Write `lines_figure` as PNG; return its path."""
    return save_figure(lines_figure(charts, title=title), path)


def _set_axis(axes: Axes, axis: Axis, *, horizontal: bool) -> None:
    margin = 0.01 * (axis.end - axis.start)
    if horizontal:
        axes.set_xlim(axis.start - margin, axis.end + margin)
        axes.set_xticks(axis.ticks, axis.tick_texts)
        axes.set_xlabel(axis.label)
    else:
        axes.set_ylim(axis.start - margin, axis.end + margin)
        axes.set_yticks(axis.ticks, axis.tick_texts)
        axes.set_ylabel(axis.label)


def _draw_lane(axes: Axes, lane: Lane) -> None:
    """Draw the stretches of the gap, the marks with their values, and below them the intervals."""
    _set_axis(axes, lane.axis, horizontal=True)
    axes.set_ylim(-1.6, 1.4)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.set_title(lane.label, loc="left", fontsize=9, fontweight="bold", pad=2)
    share = f"{lane.text} ({lane.interval})" if lane.interval else lane.text
    axes.set_title(share, loc="right", fontsize=8, color=SOFT, pad=2)
    if lane.gap:
        axes.plot(lane.gap, (0, 0), ":", color=SOFT, linewidth=1.2, zorder=1, gid="gap")
    if lane.gained:
        axes.plot(lane.gained, (0, 0), "-", color=COLOURS["tuned"], linewidth=3.5, zorder=1, gid="gained")
    order = sorted(lane.marks, key=lambda mark: lane.axis.place(mark.value))
    for position, mark in enumerate(order):
        colour = COLOURS[mark.role]
        axes.plot(
            [mark.value],
            [0],
            MARKERS[mark.role],
            color=colour,
            markeredgecolor="white",
            markersize=8,
            gid=f"mark-{mark.role}",
        )
        if mark.low is not None and mark.high is not None:
            axes.plot(
                (mark.low, mark.high), (-1.2, -1.2), "-", color=colour, linewidth=2.2, gid=f"interval-{mark.role}"
            )
        # the outer values extend outwards and the middle one is below, so that they do not overlap where marks do
        side = {0: "right", len(order) - 1: "left"}.get(position, "center") if len(order) > 1 else "center"
        shift = {"right": (3, 6), "left": (-3, 6), "center": (0, -11 if len(order) > 1 else 6)}[side]
        side = _inside(lane.axis.place(mark.value), side)
        axes.annotate(
            mark.text, (mark.value, 0), shift, textcoords="offset points", ha=side, fontsize=7.5, color=colour,
            gid=f"value-{mark.role}",
        )  # fmt: skip


def _inside(place: float, side: str) -> str:
    """Return the alignment of a value's text that keeps it within its lane."""
    if place < 0.06 and side == "right":
        return "center"
    return "center" if place > 0.94 and side == "left" else side
