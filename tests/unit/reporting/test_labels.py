"""The report's idea of "better" is the metrics' own."""

from __future__ import annotations

import math

from samis.metrics import DIRECTIONS
from samis.reporting.labels import DEFAULT_METRICS, LABELS, higher_is_better, number, signed


def test_directions_agree_with_the_metrics():
    assert DIRECTIONS
    assert {name: higher_is_better(name) for name in DIRECTIONS} == {
        name: sign > 0 for name, sign in DIRECTIONS.items()
    }
    assert set(LABELS) - {"defect_recall"} <= set(DIRECTIONS) and set(DEFAULT_METRICS) <= set(DIRECTIONS)


def test_numbers():
    assert number(math.nan, "s_measure") == "–" and number(math.inf, "mae") == "–"
    assert signed(-0.0004, "s_measure") == "0.000" and signed(-0.04, "s_measure") == "-0.040"
