"""The threshold search against trying every threshold by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import hmean

from samis.core.contracts import Batch
from samis.metrics.best_threshold import LEVELS, ThresholdSearch, search_threshold


def pair(seed, shape=(23, 31)):
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, bool)
    truth[4:15, 6 : 20 + seed] = True
    return (0.3 * truth + 0.7 * rng.random(shape)).astype(np.float32), truth


def test_equals_every_threshold_tried_by_hand():
    pairs = [pair(seed) for seed in range(4)]
    search = ThresholdSearch()
    for values, truth in pairs:
        search.add(values, truth)
    curve = []
    for k in range(LEVELS):
        masks = [values > k / LEVELS for values, _ in pairs]
        curve.append(np.mean([(f & t).sum() / (f | t).sum() for f, (_, t) in zip(masks, pairs, strict=True)]))
    best = search.best()
    assert best["iou"] == pytest.approx(max(curve), abs=1e-12)
    assert curve[round(best["value"] * LEVELS)] == pytest.approx(max(curve), abs=1e-12)
    assert best["images"] == 4


def test_takes_the_middle_of_a_plateau():
    search = ThresholdSearch()
    search.add(np.array([[0.25, 0.75]], np.float32), np.array([[False, True]]))
    # 0.25 = 64 / 256 is not above itself: k = 64 .. 191 are equally good.
    assert search.best() == {"value": (64 + 64) / 256, "iou": 1.0, "images": 1}


def test_clean_images_count_as_much_as_defective_ones():
    rng = np.random.default_rng(3)
    pairs = [pair(seed) for seed in range(3)]
    clean = [(rng.random((9, 9)) * top).astype(np.float32) for top in (0.2, 0.74, 0.76, 0.78)]
    search = ThresholdSearch()
    for values in clean:
        search.add(values, np.zeros(values.shape, bool))
    assert search.best() is None  # without a defect no threshold is better than another
    for values, truth in pairs:
        search.add(values, truth)
    ious, kept, recall = [], [], []
    for k in range(LEVELS):
        each = [((v > k / LEVELS) & t).sum() / ((v > k / LEVELS) | t).sum() for v, t in pairs]
        ious.append(np.mean(each))
        recall.append(np.mean([iou >= 0.1 for iou in each]))
        kept.append(np.mean([not (values > k / LEVELS).any() for values in clean]))
    score = hmean(np.maximum([ious, kept], 1e-300))
    best = search.best()
    level = round(best["value"] * LEVELS)
    assert score[level] == pytest.approx(score.max(), abs=1e-12) and level != int(np.argmax(ious))
    assert best["iou"] == pytest.approx(ious[level], abs=1e-12)
    assert (best["kept_clean"], best["defect_recall"]) == (kept[level], pytest.approx(recall[level]))
    assert (best["images"], best["clean_images"]) == (3, 4)


def test_calling_nothing_defective_is_no_way_out():
    """A map that tells nothing apart: what keeps all clean images finds nothing, and is not chosen."""
    search = ThresholdSearch()
    noise = np.linspace(0.1, 0.9, 64, dtype=np.float32).reshape(8, 8)
    truth = np.zeros((8, 8), bool)
    truth[:2] = True  # where the map is lowest
    search.add(noise, truth)
    search.add(noise, np.zeros((8, 8), bool))
    best = search.best()
    assert best["iou"] == pytest.approx(0.25) and best["kept_clean"] == 0 and best["value"] < 0.1


def test_is_searched_over_batches():
    values, truth = pair(0)

    class Fixed:
        def predict(self, batch):
            return [torch.from_numpy(values), torch.from_numpy(values)]

    batch = Batch(["a", "b"], torch.zeros(2, 3, 1, 1), [], truths=[truth, None])
    alone = ThresholdSearch()
    alone.add(values, truth)
    assert search_threshold(Fixed(), [batch]) == alone.best()
