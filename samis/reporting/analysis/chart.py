"""Charts as numbers: axes with ticks, marks, curves and their labels.

Every value is in the units of its axis; nothing is placed in px or per cent. `samis.reporting.render.svg` and
`samis.reporting.render.png` draw the same chart, so that a page and a picture show the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

DIVISIONS = {1: 4, 2: 4, 3: 3, 5: 5}
"""First digit of an axis' end -> into how many parts its ticks divide it."""


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: its title, "" for none.
        start: value at the left or lower end.
        end: value at the right or upper end; below `start` where less is better.
        ticks: values with a number, from start to end.
    """

    label: str
    start: float
    end: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Return the share of the way from start to end at which a value is, in [0, 1].

        >>> Axis("MAE", 0.5, 0.0, (0.5, 0.25, 0.0)).place(0.125)
        0.75
        """
        return min(1.0, max(0.0, (value - self.start) / (self.end - self.start)))

    @property
    def tick_texts(self) -> list[str]:
        """The ticks as printed."""
        return [f"{tick:.4g}" for tick in self.ticks]


@dataclass(frozen=True)
class Mark:
    """One value of a lane.

    Attributes:
        role: key of ``ROLES``.
        name: the row's name.
        value: the row's value.
        text: the value as printed.
        low: lower end of its interval; None without one.
        high: upper end of its interval; None without one.
    """

    role: str
    name: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Lane:
    """Marks on one horizontal axis.

    Attributes:
        label: name of the lane.
        axis: its axis.
        marks: its values.
        text: the gap closed, as printed.
        interval: the interval of the gap closed, as printed.
        description: the whole lane in words.
        gap: from zero-shot to the best specialised row; None where the best one is not ahead.
        gained: from zero-shot to the tuned row; None where that is not ahead.
    """

    label: str
    axis: Axis
    marks: list[Mark]
    text: str = ""
    interval: str = ""
    description: str = ""
    gap: tuple[float, float] | None = None
    gained: tuple[float, float] | None = None


@dataclass(frozen=True)
class LaneChart:
    """Lanes under a title.

    Attributes:
        title: its heading.
        lanes: from top to bottom.
        note: a sentence below.
        bars: whether the marks are bars from 0 on one axis for all lanes, not points.
    """

    title: str
    lanes: list[Lane]
    note: str = ""
    bars: bool = False


@dataclass(frozen=True)
class Curve:
    """One line of a plot.

    Attributes:
        name: the row's name.
        role: key of ``ROLES``.
        dash: number of its dash pattern, 0 to 3.
        xs: values on the x axis.
        ys: values on the y axis, as many.
    """

    name: str
    role: str
    dash: int
    xs: tuple[float, ...]
    ys: tuple[float, ...]


@dataclass(frozen=True)
class LineChart:
    """Curves over two axes.

    Attributes:
        title: its heading.
        x: the horizontal axis.
        y: the vertical axis.
        curves: its lines.
        description: the chart in words.
    """

    title: str
    x: Axis
    y: Axis
    curves: list[Curve]
    description: str


@dataclass(frozen=True)
class Bin:
    """One bar of a histogram.

    Attributes:
        label: its range.
        count: images in it.
        means: role and mean of the metric over these images, as printed.
        description: the bar in words.
    """

    label: str
    count: int
    means: list[tuple[str, str]]
    description: str


@dataclass(frozen=True)
class Histogram:
    """Counts by range.

    Attributes:
        title: its heading.
        axis: of the counts.
        bins: from top to bottom.
        note: a sentence below.
    """

    title: str
    axis: Axis
    bins: list[Bin]
    note: str


Drawing = LaneChart | LineChart | Histogram


def axis_to(end: float, *, label: str = "", reverse: bool = False, whole: bool = False) -> Axis:
    """Return an axis from 0 to `end` with a few round ticks.

    Args:
        end: from ``round_up``.
        label: title of the axis.
        reverse: whether 0 is at the right.
        whole: whether all ticks are whole numbers.

    >>> axis_to(1.0).ticks, axis_to(0.3, reverse=True).ticks, axis_to(10, whole=True).ticks
    ((0.0, 0.25, 0.5, 0.75, 1.0), (0.3, 0.2, 0.1, 0.0), (0.0, 2.0, 4.0, 6.0, 8.0, 10.0))
    """
    digit = round(end / 10.0 ** math.floor(math.log10(end) + 1e-9))
    parts = DIVISIONS.get(digit, 4)
    if whole and end % parts:
        parts = next(count for count in (5, 2, 1) if end % count == 0)
    ticks = tuple(float(f"{end * part / parts:.6g}") for part in range(parts + 1))
    return Axis(label, end, 0.0, ticks[::-1]) if reverse else Axis(label, 0.0, end, ticks)


def round_up(value: float) -> float:
    """Return the next of 1, 2, 3, 5 times a power of ten, for an axis' end.

    >>> round_up(0.17), round_up(0.3), round_up(0.0)
    (0.2, 0.3, 1.0)
    """
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(float(f"{step * power:.3g}") for step in (1, 2, 3, 5, 10) if value <= step * power * (1 + 1e-9))
