"""The report's idea of "better" is the metrics' own."""

from __future__ import annotations

import math

from samis.decision.verdicts import DIRECTIONS as VERDICTS
from samis.evaluation.labels import DEFAULT_METRICS, LABELS, number, signed
from samis.metrics import DIRECTIONS, METRICS, PROTOCOLS, directions_of


def test_every_label_is_of_a_number_that_metrics_compute():
    assert DIRECTIONS
    assert set(directions_of(LABELS)) | set(VERDICTS) == set(LABELS)
    for protocol, shown in DEFAULT_METRICS.items():
        assert set(shown) <= {
            n for name in PROTOCOLS[protocol] for n in (*METRICS[name].values, *METRICS[name].finished)
        }


def test_numbers():
    assert number(math.nan, "s_measure") == "–" and number(math.inf, "mae") == "–"
    assert signed(-0.0004, "s_measure") == "0.000" and signed(-0.04, "s_measure") == "-0.040"
