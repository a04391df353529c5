"""Scores of whole images by hand and by numpy's sort; verdicts follow from them."""

import numpy as np
import pytest

from samis.decision.image_rules import DEFECTIVE, IMAGE_RULES, OK, image_scores, image_threshold, verdict_of
from samis.decision.image_search import ImageSearch


@pytest.mark.parametrize("shape", [(1, 1), (7, 9), (20, 30), (101, 100)])
def test_each_rule_is_what_sorting_says(shape):
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    mask = values > 0.8
    found = image_scores(values, mask)
    count = max(1, -(-values.size // 100))
    assert set(found) == set(IMAGE_RULES)
    assert found["max"] == values.max()
    assert found["top_1_percent_mean"] == pytest.approx(np.sort(values, axis=None)[::-1][:count].mean(), abs=1e-6)
    assert found["region_area"] == pytest.approx(mask.mean())


def test_dropped_regions_do_not_make_an_image_defective():
    values = np.zeros((10, 10), np.float32)
    values[0, 0], values[5:8, 5:8] = 0.9, 0.7
    mask = values > 0.5
    mask[0, 0] = False  # dropped as too small
    kept = image_scores(values, mask, threshold=0.5)
    assert kept["max"] == pytest.approx(0.7) and kept["region_area"] == 0.09
    none = image_scores(values, mask & False, threshold=0.5)
    assert none["max"] == 0.5 and verdict_of(none["max"], image_threshold("max", 0.5)) == OK
    assert verdict_of(kept["max"], image_threshold("max", 0.5)) == DEFECTIVE


def test_under_max_an_image_is_defective_where_a_pixel_is():
    rng = np.random.default_rng(1)
    verdicts = set()
    for _ in range(50):
        values = rng.random((4, 5)).astype(np.float32) * 0.55
        score = image_scores(values, values > 0.5)["max"]
        verdict = verdict_of(score, image_threshold("max", 0.5))
        assert (verdict == DEFECTIVE) == bool((values > 0.5).any())
        verdicts.add(verdict)
    assert verdicts == {OK, DEFECTIVE}


def test_the_threshold_with_the_best_balanced_accuracy_is_chosen():
    search, areas = ImageSearch(), []
    rng = np.random.default_rng(2)
    for number in range(40):
        defective = number % 2 == 0
        values = (rng.random((30, 30)) * 0.5).astype(np.float32)
        side = int(rng.integers(4, 9)) if defective else int(rng.integers(0, 6))
        values[:side, :side] = 0.9
        truth = np.zeros((30, 30), bool)
        truth[:4, :4] = defective
        search.add(values, truth)
        areas.append((float((values > 0.625).mean()), defective))
    found = search.best(0.625)
    assert set(found) == {"top_1_percent_mean", "region_area"}

    def errors(threshold):
        missed = np.mean([area <= threshold for area, defective in areas if defective])
        return missed + np.mean([area > threshold for area, defective in areas if not defective])

    best = min(errors(threshold) for threshold in np.linspace(0, 0.2, 2001))
    chosen = found["region_area"]
    assert (
        errors(chosen["value"])
        == pytest.approx(best)
        == pytest.approx(chosen["miss_rate"] + chosen["false_alarm_rate"])
    )
    assert 0 < best < 0.5
    only = ImageSearch()
    only.add(values, truth | True)
    assert only.best(0.5) == {} == ImageSearch().best(0.5)
