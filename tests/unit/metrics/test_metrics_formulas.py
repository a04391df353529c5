"""Every formula on cases small enough to work out by hand."""

import numpy as np
import pytest

from samis.metrics import DIRECTIONS, METRICS, OPTIONAL, PROTOCOLS, Pair, TruthFields, find_metrics, score_image
from samis.metrics.aupro import area_under, region_overlaps
from samis.metrics.boundary_f import boundary_f, outline
from samis.metrics.image_level import auroc, average_precision
from samis.metrics.objects import object_ious
from samis.metrics.pratt import pratt
from samis.metrics.truth import gradient_edges

TRUTH = np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
MAP = np.array([[0, 0, 0, 0], [0, 255, 255, 204], [0, 255, 51, 0], [0, 0, 0, 0]], dtype=np.uint8)
"""Three hits, one weak miss (0.2), one false alarm (0.8): mean (3 + 0.2 + 0.8) / 16 = 0.25, adaptive threshold 0.5."""


def test_four_by_four_case():
    values = score_image(MAP, TRUTH).values
    assert values["mae"] == pytest.approx((0.8 + 0.8) / 16, abs=1e-12)
    precision = recall = 3 / 4
    assert values["precision"] == values["precision_adaptive"] == precision
    assert values["recall"] == values["recall_adaptive"] == recall
    assert values["f_adaptive"] == pytest.approx(1.3 * precision * recall / (0.3 * precision + recall), abs=1e-12)
    assert values["iou"] == values["iou_adaptive"] == values["overlap_ratio"] == 3 / 5
    assert values["dice"] == 6 / 8
    # every threshold 1..51 marks 5 of 4 + 1, 52..204 marks 3 + 1, 205..255 marks 3, threshold 0 marks all 16
    assert values["iou_mean"] == pytest.approx((51 * 4 / 5 + 153 * 3 / 5 + 51 * 3 / 4 + 4 / 16) / 256, abs=1e-12)
    assert values["precision_mean"] == pytest.approx((51 * 4 / 5 + 153 * 3 / 4 + 51 * 1 + 4 / 16) / 256, abs=1e-12)


def test_e_measure_by_hand():
    """Map and truth each mark 4 of 16, 3 in common: means 1/4, so x and y are 3/4 or -1/4."""
    agree, clash = 1.0, (2 * (0.75 * -0.25) / (0.75**2 + 0.25**2) + 1) ** 2 / 4
    expected = (3 * agree + 11 * agree + 2 * clash) / 15
    assert score_image(MAP, TRUTH).values["e_adaptive"] == pytest.approx(expected, abs=1e-12)


def test_s_measure_by_hand():
    """The centroid (1.5, 1.5) rounds to 2, so the upper left quadrant is 3 x 3 and holds the whole defect."""
    on, off = np.array([1, 1, 1, 0.2]), np.array([0.2] + [1.0] * 11)
    objects = [2 * m / (m * m + 1 + s) for m, s in ((x.mean(), x.std(ddof=1)) for x in (on, off))]
    region = np.array([0, 0, 0, 0, 1, 1, 0, 1, 0.2])
    truth = np.array([0, 0, 0, 0, 1, 1, 0, 1, 1.0])
    x, y = region.mean(), truth.mean()
    covariance = ((region - x) * (truth - y)).sum() / 8
    first = 4 * x * y * covariance / ((x * x + y * y) * (region.var(ddof=1) + truth.var(ddof=1)))
    # upper right: map 0, 0.8, 0 against no truth scores 0; the two lower ones are empty in both and score 1
    regions = first * 9 / 16 + 0 * 3 / 16 + 1 * 3 / 16 + 1 * 1 / 16
    expected = 0.5 * (objects[0] * 0.25 + objects[1] * 0.75) + 0.5 * regions
    assert score_image(MAP, TRUTH).values["s_measure"] == pytest.approx(expected, abs=1e-12)


def test_weighted_f_by_hand():
    """One defect pixel in the middle of 9 x 9, missed by half, and a false alarm 4 px from it."""
    truth, image = np.zeros((9, 9), bool), np.zeros((9, 9), np.uint8)
    truth[4, 4], image[4, 4], image[4, 0] = True, 51, 255
    missed = 0.8  # all pixels borrow this error, so blurring changes nothing
    false = 1.0 * (2 - 0.5 ** (4 / 5))
    recall, precision = 1 - missed, (1 - missed) / (1 - missed + false)
    expected = 2 * recall * precision / (recall + precision)
    assert score_image(image, truth).values["weighted_f"] == pytest.approx(expected, abs=1e-12)


def test_perfect_map():
    values = score_image(TRUTH.astype(np.uint8) * 255, TRUTH).values
    for name in ("f_adaptive", "weighted_f", "s_measure", "iou", "dice", "overlap_ratio", "pratt"):
        assert values[name] == pytest.approx(1, abs=1e-12), name
    assert values["mae"] == 0
    assert values["e_adaptive"] == pytest.approx(16 / 15, abs=1e-12)


def test_gradient_edges_is_a_band_with_a_hole_on_thin_lines():
    line = np.zeros((5, 5), bool)
    line[2] = True
    assert gradient_edges(line).tolist() == [[row in (1, 3)] * 5 for row in range(5)]
    assert gradient_edges(np.ones((1, 1), bool)).tolist() == [[False]]


def test_pratt_by_hand():
    """A vertical step moved by two columns: its band of two columns is 2 and 1 px from the truth's."""
    truth, image = np.zeros((4, 8), bool), np.zeros((4, 8), np.uint8)
    truth[:, 2:], image[:, 4:] = True, 255
    expected = (4 / (1 + 0.1 * 4) + 4 / (1 + 0.1 * 1)) / 8
    assert pratt(Pair(image, TruthFields(truth))) == pytest.approx(expected, abs=1e-12)
    assert pratt(Pair(255 - image, TruthFields(truth))) == pytest.approx(expected, abs=1e-12)  # blind to inversion


def test_pratt_without_detected_edge_counts_to_the_farthest_side():
    truth = np.zeros((3, 5), bool)
    truth[:, :1] = True
    distances = np.array([4.0, 4, 4, 3, 3, 3])  # columns 0 and 1, to the right side
    expected = (1 / (1 + 0.1 * distances**2)).sum() / 6
    assert pratt(Pair(np.zeros((3, 5), np.uint8), TruthFields(truth))) == pytest.approx(expected, abs=1e-12)


def test_outline_leaves_out_the_image_border():
    assert not outline(np.ones((4, 4), bool)).any()
    assert outline(TRUTH).tolist() == TRUTH.tolist()


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (2, 1.0), (3, 2 * (1 - 6 / 20) / 2)])
def test_boundary_f_tolerates_two_pixels(shift, expected):
    truth = np.zeros((30, 30), bool)
    truth[5:11, 5:11] = True
    score = boundary_f(np.roll(truth, shift, axis=0), truth)
    assert score == pytest.approx(expected, abs=1e-12)


def test_objects_small_large_missed_and_false():
    labels = np.zeros((4, 10), np.int32)
    labels[0, :4], labels[2:, 8:] = 1, 2
    detected = np.zeros((4, 10), bool)
    detected[0, :1] = detected[2:, 0:2] = True  # a quarter of the first, nothing of the second, one false alarm
    best, alarms = object_ious(detected, labels, np.array([4, 4]))
    assert best.tolist() == [0.25, 0.0]
    assert sorted(alarms.tolist()) == [0.0, 0.25]
    values = score_image(detected.astype(np.uint8) * 255, labels > 0, ["objects"], "inspection").values
    assert values == {"false_alarms_10": 1.0, "false_alarms_50": 2.0}


def test_image_level_by_hand():
    defective, clean = np.zeros(256), np.zeros(256)
    defective[[200, 100]], clean[[100, 50]] = 1, 1
    assert auroc(defective, clean) == (2 + 1.5) / 4
    assert average_precision(defective, clean) == pytest.approx((1 + 2 / 3) / 2, abs=1e-12)


def test_aupro_by_hand():
    truth = np.zeros((4, 8), bool)
    truth[0, 0] = truth[3, 4:] = True  # regions of 1 and 4 px
    image = np.zeros((4, 8), np.uint8)
    image[0, 0], image[3, 4:6] = 200, 100
    overlaps = region_overlaps(Pair(image, TruthFields(truth)))
    assert overlaps[[0, 55, 155, 255]].tolist() == [0, 1, 1.5, 2]
    # no false positive down to threshold 1, where the mean overlap is 0.75; then a line to (1, 1)
    at_limit = 0.75 + 0.25 * 0.3
    assert area_under(np.array([0.0, 0.0, 1.0]), np.array([0.5, 0.75, 1.0])) == pytest.approx((0.75 + at_limit) / 2)


def test_tables_agree_with_each_other():
    assert set().union(*PROTOCOLS.values(), *OPTIONAL.values()) == set(METRICS)
    for protocol in PROTOCOLS:
        parts = find_metrics(None, protocol)
        names = [name for part in parts for name in (*part.values, *part.finished)]
        assert len(names) == len(set(names))
        assert set(names) <= set(DIRECTIONS)
    assert DIRECTIONS["mae"] == -1
    assert DIRECTIONS["f_max"] == 1
