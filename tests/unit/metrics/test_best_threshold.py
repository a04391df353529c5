"""The threshold search against trying every threshold by hand."""

import numpy as np
import pytest
import torch

from samis.contracts import Batch
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
        found = [values > k / LEVELS for values, _ in pairs]
        curve.append(np.mean([(f & t).sum() / (f | t).sum() for f, (_, t) in zip(found, pairs, strict=True)]))
    best = search.best()
    assert best["iou"] == pytest.approx(max(curve), abs=1e-12)
    assert curve[round(best["value"] * LEVELS)] == pytest.approx(max(curve), abs=1e-12)
    assert best["images"] == 4


def test_takes_the_middle_of_a_plateau_and_leaves_clean_images_out():
    search = ThresholdSearch()
    search.add(np.ones((2, 2), np.float32), np.zeros((2, 2), bool))
    assert search.best() is None
    search.add(np.array([[0.25, 0.75]], np.float32), np.array([[False, True]]))
    # 0.25 = 64 / 256 is not above itself: k = 64 .. 191 are equally good.
    assert search.best() == {"value": (64 + 64) / 256, "iou": 1.0, "images": 1}


def test_is_searched_over_batches():
    values, truth = pair(0)

    class Fixed:
        def predict(self, batch):
            return [torch.from_numpy(values), torch.from_numpy(values)]

    batch = Batch(["a", "b"], torch.zeros(2, 3, 1, 1), [], truths=[truth, None])
    alone = ThresholdSearch()
    alone.add(values, truth)
    assert search_threshold(Fixed(), [batch]) == alone.best()
