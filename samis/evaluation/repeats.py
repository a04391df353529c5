"""Rows of one training that was repeated: other draws of the training images, or other seeds.

Their names differ in the last words only, ``"LoRA, 10 images, draw 2"``. In a table they are one line, mean and standard
deviation; in a comparison the median one of them represents all, so that no method gains from being tried more often.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from statistics import mean, stdev

from samis.evaluation.labels import number
from samis.evaluation.score_row import ScoreRow, direction

_REPEAT = re.compile(r", (draw|seed) \d+$")


def families(rows: Iterable[ScoreRow]) -> dict[str, list[ScoreRow]]:
    """Sort rows by method, repeats of one training together, in the order in which methods first appear.

    >>> from types import SimpleNamespace as Row
    >>> {name: len(of) for name, of in families([Row(name="LoRA, draw 1"), Row(name="Full"), Row(name="LoRA, draw 2")]).items()}
    {'LoRA': 2, 'Full': 1}
    """
    by_method: dict[str, list[ScoreRow]] = {}
    for row in rows:
        by_method.setdefault(_REPEAT.sub("", row.name), []).append(row)
    return by_method


def name_of(method: str, rows: Sequence[ScoreRow]) -> str:
    """Return what a table calls a method: a single row's own name, else the method with the number of its repeats."""
    if len(rows) == 1:
        return rows[0].name
    kind = _REPEAT.search(rows[0].name)
    return f"{method} ({len(rows)} {kind[1] if kind else 'run'}s)"


def median_row(rows: Sequence[ScoreRow], metric: str) -> ScoreRow:
    """Return the row of median value, the worse of the two middle ones of an even number."""
    sign = direction(metric, rows)
    ordered = sorted(rows, key=lambda row: sign * row.metrics[metric])
    return ordered[(len(ordered) - 1) // 2]


def mean_and_spread(rows: Sequence[ScoreRow], metric: str) -> tuple[str, str]:
    """Return the mean over repeats and ``± standard deviation`` (of a sample) as text, "" for a single row's spread."""
    values, protocol = [row.metrics[metric] for row in rows], rows[0].protocol
    spread = f"± {number(stdev(values), metric, protocol)}" if len(values) > 1 else ""
    return number(mean(values), metric, protocol), spread
