"""Length and width along a region on drawn strips of known size: straight, turned, bent, branched, closed."""

import cv2
import numpy as np
import pytest

from samis.prediction.regions import find_regions, table_rows
from samis.prediction.skeleton import measure_crack

SIDE = 260


def straight(length, width, degrees):
    """Return a strip whose pixels' centres are inside a turned rectangle."""
    centre, angle = SIDE / 2 + 0.3, np.deg2rad(degrees)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    along = (x - centre) * np.cos(angle) + (y - centre) * np.sin(angle)
    across = -(x - centre) * np.sin(angle) + (y - centre) * np.cos(angle)
    return (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)


def bent(radius, width, degrees):
    """Return a strip along an arc; 400 degrees is a closed ring."""
    centre = SIDE / 2 + 0.3
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    turn = np.arctan2(y - centre, x - centre)
    return (np.abs(np.hypot(x - centre, y - centre) - radius) <= width / 2) & (np.abs(turn) <= np.deg2rad(degrees) / 2)


@pytest.mark.parametrize("width", [2, 3, 4, 6, 9, 14, 20])
@pytest.mark.parametrize("length", [60, 150])
def test_a_straight_strip_at_any_angle(length, width):
    for degrees in range(0, 180, 15):
        part = straight(length, width, degrees)
        if cv2.connectedComponents(part.astype(np.uint8), connectivity=8)[0] != 2:
            continue
        found = measure_crack(part)
        assert found.length == pytest.approx(length, abs=3.6), degrees
        assert found.max_width == pytest.approx(width, abs=0.8), degrees
        assert found.mean_width == pytest.approx(part.sum() / length, rel=0.06), degrees


@pytest.mark.parametrize("degrees", [90, 180, 300])
@pytest.mark.parametrize(("radius", "width"), [(40, 3), (90, 2), (90, 9)])
def test_a_bent_crack_is_measured_along_itself(radius, width, degrees):
    """Its rotated rectangle is far shorter and wider: that of a half circle is 2 r long and r wide."""
    part = bent(radius, width, degrees)
    found = measure_crack(part)
    arc = radius * np.deg2rad(degrees)
    assert found.length == pytest.approx(arc, rel=0.03)
    assert found.max_width == pytest.approx(width, abs=0.7) and found.mean_width == pytest.approx(width, abs=0.2)
    (region,) = find_regions(part, part * 0.9)
    assert region.skeleton_px == pytest.approx(found.length, abs=1e-3)
    if degrees == 180:
        assert region.width_px > radius > 4 * region.max_width_px


def test_rings_branches_spots_and_single_pixels():
    ring = measure_crack(bent(60, 3, 400))
    assert ring.length == pytest.approx(2 * np.pi * 60, rel=0.02)
    branched = np.zeros((100, 100), bool)
    branched[48:52, 10:90] = True  # 80 long
    branched[10:50, 48:52] = True  # 40 from the axis of the other
    assert measure_crack(branched).length == pytest.approx(120, abs=3)
    y, x = np.mgrid[:60, :60]
    disc = measure_crack(np.hypot(x - 30, y - 30) <= 20)
    assert disc.length == pytest.approx(41, abs=3) and disc.max_width == pytest.approx(41, abs=3)
    assert measure_crack(np.ones((30, 30), bool)).length == pytest.approx(30, abs=2)
    one = measure_crack(np.ones((1, 1), bool))
    assert (one.length, one.max_width, one.mean_width) == (1, 1, 1)
    row = measure_crack(np.ones((1, 7), bool))
    assert (row.length, row.max_width, row.mean_width) == (7, 1, 1)


def test_a_rough_outline_adds_no_branches():
    rng = np.random.default_rng(0)
    soft = cv2.GaussianBlur(straight(200, 12, 20).astype(np.float32), (0, 0), 2)
    part = soft + 3 * (cv2.GaussianBlur(rng.random((SIDE, SIDE)).astype(np.float32), (0, 0), 4) - 0.5) > 0.5
    count, labels, stats, _ = cv2.connectedComponentsWithStats(part.astype(np.uint8), connectivity=8)
    largest = labels == 1 + np.argmax(stats[1:count, cv2.CC_STAT_AREA])
    assert measure_crack(largest).length == pytest.approx(200, rel=0.05)


def test_the_widest_place_is_found():
    part = straight(150, 3, 0)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    part |= np.hypot(x - 150, y - 130.3) <= 6
    found = measure_crack(part)
    assert found.max_width == pytest.approx(12, abs=1) and 3 < found.mean_width < 4.5
    assert found.length == pytest.approx(150, abs=4)


def test_the_table_has_pixels_and_millimetres():
    part = straight(100, 4, 30)
    (region,) = find_regions(part, part * 0.9)
    (row,) = table_rows("a.png", [region.as_dict()], mm_per_px=0.05)
    for name in ("skeleton", "max_width", "mean_width", "length", "width"):
        assert row[f"{name}_mm"] == pytest.approx(0.05 * row[f"{name}_px"])
    assert row["skeleton_mm"] == pytest.approx(5, abs=0.15) and row["mean_width_mm"] == pytest.approx(0.2, abs=0.02)
    (plain,) = table_rows("a.png", [region.as_dict()])
    assert plain["skeleton_mm"] == "" and plain["skeleton_px"] == region.skeleton_px


def test_one_that_is_too_large_is_left_empty(monkeypatch):
    monkeypatch.setattr("samis.prediction.skeleton.MOST_PX", 99)
    part = np.ones((10, 10), bool)
    assert measure_crack(part) is None
    (region,) = find_regions(part, part * 0.9)
    (row,) = table_rows("a.png", [region.as_dict()], mm_per_px=0.05)
    assert row["skeleton_px"] == row["skeleton_mm"] == "" and row["length_mm"] == 0.5
