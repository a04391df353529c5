"""The page's SVG and the PNG show the same numbers: both are read back, each by its own ticks, and compared."""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from samis.reporting.analysis.answer import answers
from samis.reporting.analysis.charts import gap_chart, precision_recall_chart, threshold_charts
from samis.reporting.render.png import draw_lanes, draw_lines, lanes_figure, lines_figure
from samis.reporting.render.svg import draw_svg


@pytest.fixture
def lane_chart(three_rows):
    """Lanes of which more and of which less is better, with intervals."""
    for row, width in zip(three_rows, (0.02, 0.03, 0.01), strict=True):
        row.intervals = {name: (value - width, value + width) for name, value in row.metrics.items()}
    three_rows[1].name = 'tuned <b> & "co"'
    (group,) = answers(three_rows, ["s_measure", "mae"]).values()
    return gap_chart(group)


@pytest.fixture
def line_rows(make_row):
    rng = np.random.default_rng(0)
    rows = []
    for kind in ("zero_shot", "tuned", "baseline"):
        names = ("precision", "recall", "f_measure", "e_measure")
        curves = {name: np.sort(rng.random(256)).tolist() for name in names}
        rows.append(make_row(kind, {"mae": [0.1]}, curves=curves))
    return rows


def figures_of(chart) -> list[ElementTree.Element]:
    """Return the SVG elements of a chart's page form, from top to bottom."""
    return [ElementTree.fromstring(text) for text in re.findall(r"<svg .*?</svg>(?=\s*<)", draw_svg(chart), re.DOTALL)]


def percent(element: ElementTree.Element, name: str) -> float:
    return float(element.get(name).removesuffix("%"))


def by_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [each for each in root.iter() if name in (each.get("class") or "").split()]


def reader(ticks: list[tuple[float, float]]):
    """Return what turns places into values, by linear interpolation between printed ticks (place, value)."""
    places, values = zip(*sorted(ticks), strict=True)
    return lambda place: float(np.interp(place, places, values))


def svg_lane(root: ElementTree.Element) -> dict:
    ticks = [(percent(each, "x"), float(each.text)) for each in by_class(root, "tick")]
    value = reader(ticks)
    marks = {each.get("class").split()[1]: value(percent(each, "x")) for each in by_class(root, "mark")}
    bars = {
        each.get("class").split()[1]: (value(percent(each, "x1")), value(percent(each, "x2")))
        for each in by_class(root, "whisker")
    }
    stretches = {
        name: (value(percent(each, "x1")), value(percent(each, "x2")))
        for name, kind in (("gap", "span"), ("gained", "gained"))
        for each in by_class(root, kind)
    }
    return {"ticks": [text for _, text in sorted(ticks)], "marks": marks, "bars": bars, **stretches}


def png_lane(axes) -> dict:
    """Read a lane from what matplotlib will draw: pixels of the artists, by the pixels of the printed ticks."""
    start, end = sorted(axes.transData.transform((limit, 0))[0] for limit in axes.get_xlim())
    pixels = [(axes.transData.transform((tick, 0))[0], label.get_text()) for tick, label in
              zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)]  # fmt: skip
    value = reader([(place, float(text)) for place, text in pixels])
    lane: dict = {
        "ticks": [float(text) for place, text in sorted(pixels) if start <= place <= end],
        "marks": {},
        "bars": {},
    }
    for line in axes.lines:
        name, _, role = (line.get_gid() or "").partition("-")
        values = tuple(value(axes.transData.transform((x, 0))[0]) for x in line.get_xdata())
        if name == "mark":
            lane["marks"][role] = values[0]
        elif name == "interval":
            lane["bars"][role] = values
        else:
            lane[name] = values
    return lane


def test_gap_charts_show_the_same_marks_intervals_and_labels(lane_chart):
    figure = lanes_figure([lane_chart])
    figure.draw_without_rendering()
    roots, axes = figures_of(lane_chart), figure.get_axes()
    assert len(roots) == len(axes) == 2
    page = html.unescape(draw_svg(lane_chart))
    for root, axis, lane in zip(roots, axes, lane_chart.lanes, strict=True):
        svg, png = svg_lane(root), png_lane(axis)
        assert svg["ticks"] == png["ticks"] and len(svg["ticks"]) >= 4
        assert set(svg["marks"]) == set(png["marks"]) == set(svg["bars"]) == {"zero_shot", "tuned", "best"}
        ends = axis.get_xlim()
        close = {"abs": 2e-3 * abs(ends[1] - ends[0])}
        for role, value in svg["marks"].items():
            assert png["marks"][role] == pytest.approx(value, **close)
            assert png["bars"][role] == pytest.approx(svg["bars"][role], **close)
        assert png["gap"] == pytest.approx(svg["gap"], **close) and png["gained"] == pytest.approx(
            svg["gained"], **close
        )
        # printed in both: the lane's name, the share, and each value
        assert axis.get_title(loc="left") == lane.label and f">{lane.label}<" in page
        assert lane.text in axis.get_title(loc="right") and lane.text in page
        texts = {text.get_text() for text in axis.texts}
        assert texts == {mark.text for mark in lane.marks} and all(f"</i>{text} " in page for text in texts)
    s, mae = (svg_lane(root)["marks"] for root in roots)  # by hand, see three_rows
    assert s == pytest.approx({"zero_shot": 0.5, "tuned": 0.8, "best": 0.9}, abs=1e-3)
    assert mae == pytest.approx({"zero_shot": 0.3, "tuned": 0.1, "best": 0.05}, abs=1e-3)


def test_curves_show_the_same_points_ticks_and_names(line_rows):
    charts = [precision_recall_chart("steel", line_rows), *threshold_charts("steel", line_rows)]
    assert len(charts) == 3
    figure = lines_figure(charts, title="steel")
    figure.draw_without_rendering()
    for chart, axes in zip(charts, figure.get_axes(), strict=True):
        root = ElementTree.fromstring(re.search(r'<svg class="axes".*?</svg>\s*</svg>', draw_svg(chart), re.DOTALL)[0])
        x_ticks = [(percent(each, "x"), float(each.text)) for each in by_class(root, "x")]
        y_ticks = [(percent(each, "y"), float(each.text)) for each in by_class(root, "y")]
        assert [text for _, text in x_ticks] == [float(each.get_text()) for each in axes.get_xticklabels()]
        assert [text for _, text in y_ticks] == [float(each.get_text()) for each in axes.get_yticklabels()]
        to_x, to_y = reader(x_ticks), reader(y_ticks)
        lines = by_class(root, "curve")
        assert len(lines) == len(axes.lines) == 3
        for curve, line in zip(lines, axes.lines, strict=True):
            pairs = [tuple(map(float, pair.split(","))) for pair in curve.get("points").split()]
            assert len(pairs) == len(line.get_xdata()) == 129
            np.testing.assert_allclose([to_x(x) for x, _ in pairs], line.get_xdata(), atol=1e-4 * chart.x.end)
            np.testing.assert_allclose([to_y(y) for _, y in pairs], line.get_ydata(), atol=1e-4)
        page = draw_svg(chart)
        assert [line.get_label() for line in axes.lines] == re.findall(r"<span>(.*?)</span></li>", page)
        assert f"{axes.get_xlabel()} →" in page and f"{axes.get_ylabel()} ↑" in page


def test_files_are_written_whole_and_the_same_each_time(lane_chart, line_rows, tmp_path):
    first = draw_lanes([lane_chart, lane_chart], tmp_path / "figures" / "gap.png")
    second = draw_lanes([lane_chart, lane_chart], tmp_path / "again.png")
    assert first.read_bytes() == second.read_bytes()
    assert [path.name for path in first.parent.iterdir()] == ["gap.png"]  # nothing half-written is left
    lines = draw_lines(threshold_charts("steel", line_rows), tmp_path / "t.png", title="steel")
    with Image.open(lines) as image:
        assert image.size[0] == 1328 and np.ptp(np.asarray(image.convert("L"))) > 100
