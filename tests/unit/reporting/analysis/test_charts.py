"""Values of marks, bars and curves, against some worked out by hand."""

from itertools import pairwise

import pytest

from samis.evaluation.rows import choose
from samis.reporting.analysis.answer import answers
from samis.reporting.analysis.chart import axis_to
from samis.reporting.analysis.charts import (
    area_histogram,
    class_chart,
    gap_chart,
    notable_rows,
    precision_recall_chart,
    threshold_charts,
)
from samis.reporting.analysis.sentences import gap_sentence


def test_the_gap_runs_from_left_to_right_for_errors_too(three_rows):
    (group,) = answers(three_rows, ["s_measure", "mae"]).values()
    s, mae = gap_chart(group).lanes
    values = [("zero_shot", 0.5), ("tuned", 0.8), ("best", 0.9)]
    assert [(mark.role, pytest.approx(mark.value)) for mark in s.marks] == values
    assert s.gap == pytest.approx((0.5, 0.9)) and s.gained == pytest.approx((0.5, 0.8)) and s.text == "75 %"
    assert s.axis.tick_texts == ["0", "0.25", "0.5", "0.75", "1"]
    # the axis of MAE runs from 0.3 (left) to 0 (right): 0.3 -> 0, 0.1 -> 0.6667, 0.05 -> 0.8333
    assert mae.axis.tick_texts == ["0.3", "0.2", "0.1", "0"] and mae.text == "80 %"
    assert [mae.axis.place(mark.value) for mark in mae.marks] == pytest.approx([0, 0.6667, 0.8333], abs=1e-4)
    assert "zero-shot SAM 0.500 (zero_shot), tuned SAM 0.800" in s.description and "gap closed: 75 %" in s.description


def test_no_gap_and_a_worse_tuning_draw_no_stretch(make_row):
    rows = [
        make_row(kind, {"s_measure": [v, v]}) for kind, v in (("zero_shot", 0.6), ("tuned", 0.5), ("baseline", 0.4))
    ]
    (group,) = answers(rows, ["s_measure"]).values()
    (lane,) = gap_chart(group).lanes
    assert lane.gap is None and lane.gained is None and lane.text == "zero-shot level or ahead"


def test_a_lead_not_clear_of_zero_draws_no_stretch_but_what_tuning_gained(make_row):
    values = {"zero_shot": [0.1, 0.9, 0.5], "tuned": [0.6, 0.9, 0.6], "baseline": [0.9, 0.2, 0.5]}
    (group,) = answers([make_row(kind, {"s_measure": v}) for kind, v in values.items()], ["s_measure"]).values()
    (lane,) = gap_chart(group).lanes
    assert lane.gap is None and lane.text == "zero-shot level or ahead" and lane.gained == pytest.approx((0.5, 0.7))


def test_past_the_best_network_the_lane_says_by_how_much_and_not_a_share(make_row):
    values = (("zero_shot", 0.5), ("tuned", 0.8), ("baseline", 0.55))
    (group,) = answers([make_row(kind, {"s_measure": [v, v]}) for kind, v in values], ["s_measure"]).values()
    (lane,) = gap_chart(group).lanes
    assert lane.text == "ahead, +0.250" and "%" not in lane.interval


def test_the_gap_sentence_names_every_data_set_once(three_rows, make_row):
    assert gap_sentence(answers(three_rows, ["s_measure"])) == (
        "Tuning SAM closes 75 % of the gap to the best specialised network on steel (S 0.500 → 0.800, best 0.900)."
    )
    worse = [make_row(k, {"s_measure": [v, v]}, dataset="tile") for k, v in (("zero_shot", 0.6), ("tuned", 0.5))]
    text = gap_sentence(answers([*three_rows, *worse], ["s_measure"]))
    assert text.startswith("Tuning SAM makes it WORSE on tile (S 0.600 → 0.500); it closes 75 %")
    past = [
        make_row(k, {"s_measure": [v, v]}, dataset="rail")
        for k, v in (("zero_shot", 0.5), ("tuned", 0.8), ("baseline", 0.55))
    ]
    assert gap_sentence(answers(past, ["s_measure"])) == (
        "Tuning SAM goes past the best specialised network on rail (S 0.500 → 0.800, best 0.550)."
    )
    assert gap_sentence({}) == ""


def test_bars_by_class(make_row):
    classes = {"pit": {"n_images": 2.0, "mae": 0.05}, "scratch": {"n_images": 3.0, "mae": 0.2}}
    chart = class_chart(choose([make_row("tuned", {"mae": [0.1, 0.2]}, per_class=classes)], "mae"), "mae")
    assert [lane.label for lane in chart.lanes] == ["pit (2)", "scratch (3)"]
    assert [lane.axis.place(lane.marks[0].value) for lane in chart.lanes] == pytest.approx([0.25, 1])  # of 0.2
    assert class_chart(choose([make_row("tuned", {"mae": [0.1]})], "mae"), "mae") is None


def test_curves_keep_their_values_and_few_of_256_points(make_row):
    row = make_row("tuned", {"mae": [0.1]}, curves={"precision": [1.0, 0.5], "recall": [0.0, 1.0]})
    (curve,) = precision_recall_chart("steel", [row]).curves
    assert (curve.xs, curve.ys) == ((0.0, 1.0), (1.0, 0.5))
    assert threshold_charts("steel", [row]) == []
    row.curves["f_measure"] = [n / 255 for n in range(256)]
    (chart,) = threshold_charts("steel", [row])
    (curve,) = chart.curves
    assert len(curve.xs) == 129 and (curve.xs[0], curve.xs[-1], curve.ys[0], curve.ys[-1]) == (255, 0, 0, 1)
    assert all(y == pytest.approx(1 - x / 255) for x, y in zip(curve.xs, curve.ys, strict=True))
    bare = make_row("baseline", {"mae": [0.1]})
    assert precision_recall_chart("steel", [bare]) is None


def test_only_the_best_few_are_drawn(make_row):
    rows = [make_row("zero_shot", metrics={"mae": m}, name=str(m)) for m in (0.5, 0.1, 0.3, 0.2, 0.4)]
    rows.append(make_row("zero_shot", metrics={"mae": 0.0}, name="oracle", oracle=True))
    assert [row.name for row in notable_rows(rows, "mae")] == ["0.1", "0.2", "0.3", "0.4"]


@pytest.mark.parametrize("end", [1, 2, 3, 5, 10, 20, 30, 50, 100, 2000])
def test_ticks_of_counts_are_whole_and_few(end):
    ticks = axis_to(end, whole=True).ticks
    assert all(tick == int(tick) for tick in ticks) and 2 <= len(ticks) <= 6
    assert (ticks[0], ticks[-1]) == (0, end)
    steps = {round(b - a, 9) for a, b in pairwise(ticks)}
    assert len(steps) == 1


def test_defect_areas_are_counted_with_the_means_of_their_images(make_row):
    row = make_row("tuned", {"s_measure": [0.2, 0.4, 0.9]})  # images i0, i1, i2
    chart = area_histogram(
        {"i0": 0.002, "i1": 0.0025, "i2": 0.02, "clean": 0.0}, choose([row], "s_measure"), "s_measure"
    )
    assert [(one.label, one.count) for one in chart.bins] == [("0.1–0.3 %", 2), ("0.3–1 %", 0), ("1–3 %", 1)]
    assert [one.means for one in chart.bins] == [[("tuned", "0.300")], [], [("tuned", "0.900")]]
    assert chart.axis.tick_texts == ["0", "1", "2"]  # images
    assert area_histogram({"clean": 0.0}, choose([row], "s_measure"), "s_measure") is None
