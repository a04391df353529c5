"""Metrics hold for any pair of map and mask: range, the perfect map is best, symmetry, flips, order, and the reference."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samis.metrics import DIRECTIONS, PROTOCOLS, score_image, stack_scores, summarise, summarise_stack

FEW = settings(max_examples=40, deadline=None, derandomize=True)
COUNTED = ["mae", "iou", "f_measure", "e_measure", "overlap_ratio"]
"""Metrics that see how many pixels have which value, and not where."""


@st.composite
def masks(draw: st.DrawFn, *, least: int = 1) -> np.ndarray:
    """Masks of 1 to 30 pixels a side: noise, blobs, or all of one value."""
    hw = draw(st.tuples(st.integers(least, 30), st.integers(least, 30)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "box", "box", "one value"]))
    mask = np.zeros(hw, bool)
    if kind == "noise":
        mask = rng.random(hw) < draw(st.sampled_from([0.02, 0.3, 0.9]))
    elif kind == "box":
        y, x = sorted(rng.integers(0, hw[0] + 1, 2)), sorted(rng.integers(0, hw[1] + 1, 2))
        mask[y[0] : y[1], x[0] : x[1]] = True
    elif draw(st.booleans()):
        mask[:] = True
    return mask


@st.composite
def pairs(draw: st.DrawFn, *, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Maps with the masks they are scored by: noise of any range, few values, or near the truth."""
    mask = draw(masks(least=least))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = sorted(draw(st.tuples(st.integers(0, 255), st.integers(0, 255))))
    noise = rng.integers(low, high + 1, mask.shape)
    near = np.where(rng.random(mask.shape) < 0.1, noise, mask * 255)
    chosen = draw(st.sampled_from([noise, near, np.full(mask.shape, low)]))
    return chosen.astype(np.uint8), mask


@FEW
@given(pairs().filter(lambda pair: pair[1].size > 1), st.sampled_from(sorted(PROTOCOLS)))
def test_every_number_is_finite_and_in_its_range(pair: tuple[np.ndarray, np.ndarray], protocol: str) -> None:
    values, mask = pair
    scores = score_image(values, mask, protocol=protocol)
    most = mask.size / max(1, mask.size - 1)  # E divides by one pixel less than there are
    numbers = scores.values | summarise([scores])
    assert numbers
    for name, value in numbers.items():
        if np.isnan(value) and not mask.any():
            continue
        limit = np.inf if name.startswith("false_alarms") else most if name.startswith("e_") else 1
        assert -1e-9 <= value <= limit + 1e-6, (name, value)
    for name, curve in scores.curves.items():
        assert curve.shape == (256,) and (curve >= -1e-9).all() and (curve <= most + 1e-6).all(), name


@FEW
@given(pairs(least=4))
def test_no_map_is_better_than_the_truth(pair: tuple[np.ndarray, np.ndarray]) -> None:
    values, mask = pair
    if mask.all() or not mask.any():
        return
    perfect, other = (score_image(image, mask) for image in (mask.astype(np.uint8) * 255, values))
    best, got = (scores.values | summarise([scores]) for scores in (perfect, other))
    for name in ("iou", "f_max", "f_adaptive", "overlap_ratio", "s_measure", "weighted_f"):
        assert best[name] == pytest.approx(1, abs=1e-5), name
    assert best["mae"] == 0
    compared = [
        name for name in best if name in DIRECTIONS and name != "pratt"
    ]  # it sees outlines, whatever they enclose
    assert len(compared) > 8
    for name in compared:
        assert DIRECTIONS[name] * best[name] >= DIRECTIONS[name] * got[name] - 1e-5, name


@FEW
@given(masks(least=2), st.data())
def test_overlap_and_error_of_two_masks_do_not_ask_which_is_the_truth(first: np.ndarray, data: st.DataObject) -> None:
    second = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(first.ravel()).reshape(first.shape)
    if first.all() or not first.any():
        return
    one = score_image(first.astype(np.uint8) * 255, second).values
    other = score_image(second.astype(np.uint8) * 255, first).values
    assert one["mae"] == pytest.approx((first ^ second).mean(), abs=1e-12)
    assert one["iou"] == pytest.approx((first & second).sum() / (first | second).sum(), abs=1e-12)
    for name in ("mae", "iou", "overlap_ratio"):
        assert one[name] == pytest.approx(other[name], abs=1e-12), name


MOVES = {
    "left and right": np.fliplr,
    "up and down": np.flipud,
    "a quarter turn": np.rot90,
    "rows and columns": np.transpose,
}


@pytest.mark.parametrize("move", MOVES)
@settings(FEW, max_examples=20)
@given(pairs(least=2))
def test_what_counts_pixels_does_not_see_flips_and_turns(move: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    values, mask = (np.ascontiguousarray(MOVES[move](array)) for array in pair)
    moved, still = score_image(values, mask, COUNTED), score_image(*pair, COUNTED)
    assert moved.values.keys() == still.values.keys()
    for name, value in still.values.items():
        assert moved.values[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name
    for name, curve in still.curves.items():
        np.testing.assert_allclose(moved.curves[name], curve, atol=1e-12, rtol=0)


@FEW
@given(st.lists(pairs(least=3), min_size=2, max_size=6), st.integers(0, 99), st.sampled_from(sorted(PROTOCOLS)))
def test_order_and_batches_change_nothing(
    images: list[tuple[np.ndarray, np.ndarray]], seed: int, protocol: str
) -> None:
    scores = [score_image(values, mask, protocol=protocol) for values, mask in images]
    whole = summarise(scores)
    order = np.random.default_rng(seed).permutation(len(scores))
    assert summarise([scores[i] for i in order]) == pytest.approx(whole, abs=1e-12, nan_ok=True)
    assert summarise_stack(stack_scores(scores), order) == pytest.approx(whole, abs=1e-12, nan_ok=True)
    for name in set(scores[0].values) & set(whole):
        each = [score.values[name] for score in scores if name in score.values]
        assert whole[name] == pytest.approx(np.mean(each), abs=1e-12, nan_ok=True), name


@settings(FEW, max_examples=8)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_any_batches_of_the_torch_metric_give_the_same(sizes: list[int], seed: int) -> None:
    from samis.metrics.accumulate import ProtocolMetric

    rng = np.random.default_rng(seed)
    maps = torch.from_numpy(rng.integers(0, 256, (sum(sizes), 12, 9), dtype=np.uint8))
    truths = torch.from_numpy(rng.random((sum(sizes), 12, 9)) < 0.3)
    metric = ProtocolMetric()
    for some_maps, some_truths in zip(maps.split(sizes), truths.split(sizes), strict=True):
        metric.update(some_maps, some_truths)
    alone = summarise([score_image(m.numpy(), t.numpy()) for m, t in zip(maps, truths, strict=True)])
    assert {name: float(value) for name, value in metric.compute().items()} == pytest.approx(alone, abs=1e-12)


@FEW
@given(pairs(least=2))
def test_agrees_with_pysodmetrics(pair: tuple[np.ndarray, np.ndarray]) -> None:
    pysod = pytest.importorskip("py_sod_metrics", reason="pip install pysodmetrics==1.6.2")
    values, mask = pair
    truth = mask.astype(np.uint8) * 255
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = [pysod.MAE(), pysod.Smeasure(), pysod.WeightedFmeasure(), pysod.Fmeasure(), pysod.Emeasure()]
        for metric in reference:
            metric.step(values, truth)
        mae, s, weighted, f, e = (metric.get_results() for metric in reference)
    ours = score_image(values, mask)
    assert ours.values["mae"] == pytest.approx(mae["mae"], abs=1e-12)
    assert ours.values["weighted_f"] == pytest.approx(weighted["wfm"], abs=1e-9)
    if not np.isnan(s["sm"]):  # the reference has no number where the centroid lies in the last row or column
        assert ours.values["s_measure"] == pytest.approx(s["sm"], abs=1e-12)
    assert ours.values["f_adaptive"] == pytest.approx(f["fm"]["adp"], abs=1e-12)
    assert ours.values["e_adaptive"] == pytest.approx(e["em"]["adp"], abs=1e-12)
    np.testing.assert_allclose(ours.curves["f_measure"], f["fm"]["curve"], atol=1e-12, rtol=0)
    np.testing.assert_allclose(ours.curves["e_measure"], e["em"]["curve"], atol=1e-12, rtol=0)
