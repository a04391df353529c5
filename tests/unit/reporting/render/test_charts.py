"""Values of marks, bars and curves, against some worked out by hand."""

import pytest

from samis.evaluation.rows import choose
from samis.reporting.analysis.answer import answers
from samis.reporting.analysis.sentences import headline
from samis.reporting.render.charts import area_histogram, class_chart, gap_chart, plots


def test_the_gap_runs_from_left_to_right_for_errors_too(three_rows):
    (group,) = answers(three_rows, ["s_measure", "mae"]).values()
    s, mae = gap_chart(group).lanes
    assert [(mark.role, mark.x) for mark in s.marks] == [("zero_shot", 50), ("tuned", 80), ("best", 90)]
    assert s.gap == (50, 90) and s.gained == (50, 80) and s.text == "75 %"
    # the axis of MAE runs from 0.3 (left) to 0 (right): 0.3 -> 0, 0.1 -> 66.67, 0.05 -> 83.33
    assert [mark.x for mark in mae.marks] == pytest.approx([0, 66.67, 83.33]) and mae.text == "80 %"
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
    assert lane.gap is None and lane.text == "zero-shot level or ahead" and lane.gained == (50, 70)


def test_past_the_best_network_the_lane_says_by_how_much_and_not_a_share(make_row):
    values = (("zero_shot", 0.5), ("tuned", 0.8), ("baseline", 0.55))
    (group,) = answers([make_row(kind, {"s_measure": [v, v]}) for kind, v in values], ["s_measure"]).values()
    (lane,) = gap_chart(group).lanes
    assert lane.text == "ahead, +0.250" and "%" not in lane.interval


def test_headline_names_every_data_set_once(three_rows, make_row):
    assert headline(answers(three_rows, ["s_measure"])) == (
        "Tuning SAM closes 75 % of the gap to the best specialised network on steel (S 0.500 → 0.800, best 0.900)."
    )
    worse = [make_row(k, {"s_measure": [v, v]}, dataset="tile") for k, v in (("zero_shot", 0.6), ("tuned", 0.5))]
    text = headline(answers([*three_rows, *worse], ["s_measure"]))
    assert text.startswith("Tuning SAM makes it WORSE on tile (S 0.600 → 0.500); it closes 75 %")
    past = [
        make_row(k, {"s_measure": [v, v]}, dataset="rail")
        for k, v in (("zero_shot", 0.5), ("tuned", 0.8), ("baseline", 0.55))
    ]
    assert headline(answers(past, ["s_measure"])) == (
        "Tuning SAM goes past the best specialised network on rail (S 0.500 → 0.800, best 0.550)."
    )
    assert headline({}) == ""


def test_bars_by_class(make_row):
    classes = {"pit": {"n_images": 2.0, "mae": 0.05}, "scratch": {"n_images": 3.0, "mae": 0.2}}
    chart = class_chart(choose([make_row("tuned", {"mae": [0.1, 0.2]}, per_class=classes)], "mae"), "mae")
    assert [lane.label for lane in chart.lanes] == ["pit (2)", "scratch (3)"]
    assert [lane.marks[0].x for lane in chart.lanes] == pytest.approx([25, 100])  # of 0.2, the largest
    assert class_chart(choose([make_row("tuned", {"mae": [0.1]})], "mae"), "mae") is None


def test_curves_are_points_in_a_square_of_100(make_row):
    row = make_row("tuned", {"mae": [0.1]}, curves={"precision": [1.0, 0.5], "recall": [0.0, 1.0]})
    (plot,) = plots("steel", [row])
    assert plot.curves[0].points == "0.0,0.0 100.0,50.0"
    row.curves["f_measure"] = [0.25] * 256
    thinned = plots("steel", [row])[1].curves[0].points.split()
    assert len(thinned) == 129 and thinned[0] == "100.0,75.0" and thinned[-1] == "0.0,75.0"


def test_defect_areas_are_counted_with_the_means_of_their_images(make_row):
    row = make_row("tuned", {"s_measure": [0.2, 0.4, 0.9]})  # images i0, i1, i2
    chart = area_histogram(
        {"i0": 0.002, "i1": 0.0025, "i2": 0.02, "clean": 0.0}, choose([row], "s_measure"), "s_measure"
    )
    assert [(one.label, one.count) for one in chart.bins] == [("0.1–0.3 %", 2), ("0.3–1 %", 0), ("1–3 %", 1)]
    assert [one.means for one in chart.bins] == [[("tuned", "0.300")], [], [("tuned", "0.900")]]
    assert [one.width for one in chart.bins] == [100, 0, 50]
    assert area_histogram({"clean": 0.0}, choose([row], "s_measure"), "s_measure") is None
