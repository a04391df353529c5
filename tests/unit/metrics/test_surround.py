"""A truth's surround against scipy's exact distances and its choice among equally near pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from samis.metrics.surround import surround_of
from samis.metrics.truth import MaskFields, TruthFields


def masks() -> list[np.ndarray]:
    """Return specks, blobs, ellipses and one pixel in each corner, of many sizes."""
    rng = np.random.default_rng(0)
    masks = []
    for turn in range(120):
        hw = tuple(rng.integers(1, 60, 2))
        if turn % 3 == 0:
            mask = rng.random(hw) < (0.01, 0.1, 0.5, 0.95)[turn // 3 % 4]
        elif turn % 3 == 1:
            mask = cv2.GaussianBlur(rng.random(hw), (0, 0), 2) > 0.5
        else:
            drawn = np.zeros(hw, np.uint8)
            centre = (int(rng.integers(hw[1])), int(rng.integers(hw[0])))
            cv2.ellipse(drawn, centre, (hw[1] // 4 + 1, hw[0] // 3 + 1), float(rng.integers(180)), 0, 360, 1, -1)
            mask = drawn > 0
        masks.append(mask)
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        masks.append(np.zeros((40, 30), bool))
        masks[-1][corner] = True
    long = np.zeros((3, 700), bool)  # further than the weights differ from 2
    long[1, 4] = True
    return [mask for mask in [*masks, long, np.ones((5, 7), bool)] if mask.any()]


@pytest.mark.parametrize("part", range(4))
def test_distances_and_nearest_pixels_are_those_of_scipy(part: int) -> None:
    checked = 0
    for mask in masks()[part::4]:
        surround = surround_of(mask.view(np.uint8))
        distance, (rows, cols) = distance_transform_edt(~mask, return_indices=True)
        expected = np.where(mask, 0, 2 - 0.5 ** (distance / 5))
        np.testing.assert_allclose(surround.weights, expected, rtol=0, atol=1e-14)
        top, left = surround.window[0].start, surround.window[1].start
        width = surround.window[1].stop - left
        wide = cv2.dilate(mask.view(np.uint8), np.ones((7, 7), np.uint8)) > 0
        assert {*np.flatnonzero(wide[surround.window] & ~mask[surround.window])} <= {*surround.near.tolist()}
        y, x = surround.near // width + top, surround.near % width + left
        np.testing.assert_array_equal(surround.nearest // width + top, rows[y, x])
        np.testing.assert_array_equal(surround.nearest % width + left, cols[y, x])
        np.testing.assert_array_equal(surround.inside, np.flatnonzero(mask[surround.window]))
        checked += len(y)
    assert checked > 1000


def test_a_centroid_is_the_mean_of_the_pixels() -> None:
    for mask in masks():
        assert MaskFields(mask).centroid_yx == pytest.approx(np.argwhere(mask).mean(axis=0), rel=1e-14, abs=1e-14)


def test_a_plain_mask_and_one_with_class_numbers_differ() -> None:
    values = np.zeros((20, 20), np.uint8)
    values[:5] = 255
    assert TruthFields(values).raw is values
    assert (TruthFields(values, ignore_value=255).fields().area, TruthFields(values * 0).fields().area) == (0, 0)
