"""Maps scored at once against the same maps scored one by one (which the references hold)."""

from __future__ import annotations

import numpy as np
import pytest

from samis.metrics import OPTIONAL, PROTOCOLS, Pair, TruthFields, find_metrics
from samis.metrics.base import score_pair, score_pairs
from samis.metrics.float_pair import make_pair

NAMES = [*PROTOCOLS["pysod"], *OPTIONAL["pysod"]]


def pairs(protocol: str = "pysod") -> list[Pair]:
    """Return maps of many sizes and kinds: few values (ties at thresholds), constant ones, floats; empty and full truths."""
    rng = np.random.default_rng(0)
    made = []
    for turn in range(90):
        hw = tuple(rng.integers(1, 30, 2))
        truth = rng.random(hw) < (0.0, 0.05, 0.4, 1.0)[turn % 4]
        if turn % 3 == 0:
            truth = np.zeros(hw, bool)
            truth[: hw[0] // 2, : hw[1] // 3] = True
        levels = rng.choice(256, (1, 2, 3, 200)[turn // 4 % 4], replace=False).astype(np.uint8)
        values = rng.choice(levels, hw)
        if turn % 5 == 0:
            values = np.where(truth, levels[-1], levels[0])
        if turn % 11 == 0:
            values = values.astype(np.float64) / 300
        made.append(make_pair(values, TruthFields(truth), protocol=protocol))
    return made


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_at_once_as_one_by_one(protocol: str) -> None:
    parts = find_metrics(NAMES if protocol == "pysod" else None, protocol)
    together, alone = score_pairs(pairs(protocol), parts), [score_pair(pair, parts) for pair in pairs(protocol)]
    assert len(together) == len(alone) == 90
    for index, (one, other) in enumerate(zip(together, alone, strict=True)):
        assert (one.parts, one.protocol) == (parts, protocol)
        for kind in ("values", "curves", "totals"):
            mine, expected = getattr(one, kind), getattr(other, kind)
            assert [*mine] == [*expected], index
            for name in expected:
                np.testing.assert_allclose(mine[name], expected[name], rtol=0, atol=1e-12, err_msg=f"{index} {name}")


def test_each_value_is_a_number_of_its_own() -> None:
    scores = score_pairs(pairs(), find_metrics())
    assert {type(value) for each in scores for value in each.values.values()} == {float}
    assert {curve.shape for each in scores for curve in each.curves.values()} == {(256,)}
