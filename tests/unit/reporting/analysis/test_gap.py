"""The gap closed, by hand: values, directions, intervals, and rows that must not be subtracted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from samis.errors import UserError
from samis.evaluation.intervals import flip_test, resampled_means
from samis.reporting.analysis.gap import difference, gap_closed, paired_values


def test_share_of_the_gap_higher_is_better(three_rows):
    gap = gap_closed(*three_rows, metric="s_measure")
    assert gap.closed == pytest.approx((0.8 - 0.5) / (0.9 - 0.5))
    assert gap.n_images == 4
    low, high = gap.interval
    assert low <= gap.closed <= high


def test_share_of_the_gap_lower_is_better(three_rows):
    gap = gap_closed(*three_rows, metric="mae")
    assert gap.closed == pytest.approx((0.1 - 0.3) / (0.05 - 0.3))
    assert gap.interval[0] <= 0.8 <= gap.interval[1]


@pytest.mark.parametrize(("metric", "values"), [("s_measure", (0.5, 0.4, 0.9)), ("mae", (0.3, 0.35, 0.1))])
def test_worse_than_zero_shot_is_negative(make_row, metric, values):
    rows = [
        make_row(kind, metrics={metric: v}) for kind, v in zip(("zero_shot", "tuned", "baseline"), values, strict=True)
    ]
    assert gap_closed(*rows, metric=metric).closed == pytest.approx(-0.25)
    gain = difference(*rows[:2], metric=metric)
    assert gain.worse and not gain.better


@pytest.mark.parametrize(("metric", "values"), [("s_measure", (0.9, 0.95, 0.9)), ("mae", (0.05, 0.02, 0.06))])
def test_no_gap_instead_of_a_wild_number(make_row, metric, values):
    rows = [
        make_row(kind, metrics={metric: v}) for kind, v in zip(("zero_shot", "tuned", "baseline"), values, strict=True)
    ]
    gap = gap_closed(*rows, metric=metric)
    assert gap.closed is None and gap.interval is None
    assert gap.percent == "zero-shot level or ahead"
    assert "level with or ahead" in gap.note


def test_interval_left_out_where_the_gap_is_not_clear_of_zero(make_row):
    zero = make_row("zero_shot", {"s_measure": [0.1, 0.9, 0.5, 0.5]})
    tuned = make_row("tuned", {"s_measure": [0.6, 0.6, 0.5, 0.5]})
    best = make_row("baseline", {"s_measure": [0.9, 0.2, 0.5, 0.5]})
    gap = gap_closed(zero, tuned, best)
    assert gap.closed is None and gap.percent == "zero-shot level or ahead" and "not clear of zero" in gap.note


def test_same_share_on_every_image_has_a_point_interval(make_row):
    zero, best = [0.2, 0.4, 0.6], [0.6, 0.8, 1.0]
    tuned = [z + 0.1 for z in zero]
    rows = [make_row(k, {"s_measure": v}) for k, v in (("zero_shot", zero), ("tuned", tuned), ("baseline", best))]
    assert gap_closed(*rows).interval == pytest.approx((0.25, 0.25))


def test_intervals_are_scipys_95_percent(make_row):
    """Of the difference and of the gap, paired; half the step from a 95 % to a 90 % interval is the tolerance."""
    rng = np.random.default_rng(2)
    zero = rng.uniform(0.3, 0.5, 80)
    tuned, best = zero + rng.uniform(0, 0.3, 80), zero + rng.uniform(0.2, 0.5, 80)
    rows = [
        make_row(kind, {"s_measure": list(v)})
        for kind, v in (("zero_shot", zero), ("tuned", tuned), ("baseline", best))
    ]
    options = {"paired": True, "vectorized": False, "method": "percentile", "n_resamples": 10_000, "random_state": 0}
    for interval, statistic, values in (
        (difference(*rows[:2]).interval, lambda z, t: np.mean(t) - np.mean(z), (zero, tuned)),
        (
            gap_closed(*rows).interval,
            lambda z, t, b: (np.mean(t) - np.mean(z)) / (np.mean(b) - np.mean(z)),
            (zero, tuned, best),
        ),
    ):
        result = bootstrap(values, statistic, **options)
        step = (1.96 - 1.645) * result.standard_error
        assert interval == pytest.approx(tuple(result.confidence_interval), abs=0.5 * step)


def test_images_are_paired_by_id_not_by_order(three_rows):
    before = gap_closed(*three_rows)
    three_rows[1].images.reverse()
    assert gap_closed(*three_rows) == before


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"dataset": "rail"}, "data set"),
        ({"split": "val"}, "split"),
        ({"protocol": "published"}, "protocol"),
        ({"oracle": True}, "oracle"),
        ({"provenance": {"data_fingerprint": "0"}}, "data fingerprint"),
        ({"provenance": {}}, "data fingerprint"),
    ],
)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_refuses_rows_that_differ(three_rows, change, key, position):
    for name, value in change.items():
        setattr(three_rows[position], name, value)
    with pytest.raises(UserError, match="E-ROW-NOT-COMPARABLE") as error:
        gap_closed(*three_rows)
    assert key in str(error.value) and "\n" not in str(error.value)


def test_refuses_a_missing_or_undefined_metric(three_rows):
    with pytest.raises(UserError, match=r"'iou'.*s_measure, mae.*E-ROW-METRIC-MISSING"):
        gap_closed(*three_rows, metric="iou")
    three_rows[0].metrics["s_measure"] = math.nan
    with pytest.raises(UserError, match=r"s_measure.*E-ROW-METRIC-MISSING"):
        gap_closed(*three_rows)


def test_refuses_per_image_rows_of_other_images(three_rows):
    three_rows[1].images[0]["id"] = "other"
    with pytest.raises(UserError, match=r"2 images.*'i0'.*E-ROW-IMAGES-DIFFER"):
        gap_closed(*three_rows)


def test_no_interval_without_per_image_rows_or_from_stale_ones(three_rows):
    three_rows[2].images = []
    gap = gap_closed(*three_rows)
    assert gap.closed == pytest.approx(0.75) and gap.interval is None and "baseline has no per-image rows" in gap.note
    assert difference(*three_rows[:2]).n_images == 4

    three_rows[1].metrics["s_measure"] = 0.7  # no longer the mean of its per-image table
    gain = difference(*three_rows[:2])
    assert gain.value == pytest.approx(0.2) and gain.interval is None and gain.p_value is None


def test_defect_free_images_have_no_part(three_rows):
    expected = gap_closed(*three_rows)
    for row in three_rows:
        row.images.append({"id": "free", "class_name": "clean", "s_measure": 0.0})
        row.images.append({"id": "free2", "class_name": "clean"})
    assert gap_closed(*three_rows) == expected


def test_rows_with_and_without_clean_images_are_paired(three_rows):
    expected = gap_closed(*three_rows)
    three_rows[1].images.append({"id": "free", "class_name": "clean", "kept_clean": 1.0})
    assert gap_closed(*three_rows) == expected


def test_metrics_over_all_images_are_paired_too(make_row):
    rows = [make_row(k, {"false_alarms_50": v}) for k, v in (("zero_shot", [2.0, 4.0]), ("tuned", [1.0, 2.0]))]
    for row in rows:
        row.images[1]["class_name"] = "clean"
    values, note = paired_values(rows, "false_alarms_50")
    assert values.tolist() == [[2, 4], [1, 2]] and note == ""


def test_flip_test_by_hand():
    # All 8 sign patterns of (1, 1, 1) have |mean| >= 1 in 2 cases: p = 1/4.
    assert flip_test(np.ones(3), flips=20_000) == pytest.approx(0.25, abs=0.01)
    assert flip_test(np.zeros(5)) == 1.0
    assert flip_test(np.ones(40)) < 0.001


def test_resampled_means_are_paired_and_seeded():
    values = np.array([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]])
    means = resampled_means(values)
    assert means.shape == (2000, 2)
    assert np.allclose(means[:, 1] - means[:, 0], 1)
    assert np.array_equal(means, resampled_means(values))


def test_prints_itself(three_rows):
    text = str(gap_closed(*three_rows))
    assert text.startswith("S: zero_shot 0.500 -> tuned 0.800, best specialised baseline 0.900: gap closed 75 % [")
