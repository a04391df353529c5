"""How much of the gap between zero-shot SAM and the best specialised network tuning closes, per metric, with intervals.

gap closed = (tuned - zero-shot) / (best - zero-shot). 0: tuning changed nothing; 1: as good as the best specialised
network; above 1: better than it; below 0: worse than zero-shot. For an error such as MAE both differences are negative
and the ratio reads the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from samis.errors import UserError
from samis.evaluation.intervals import flip_test, percentiles, resampled_means
from samis.evaluation.labels import label, number, signed
from samis.evaluation.rows import has
from samis.evaluation.score_row import ScoreRow, direction

LEVEL = "zero-shot level or ahead"
"""Text in place of the share where the best specialised network is not clearly ahead of zero-shot."""
NO_COMPARATOR = "no fair comparator yet"
"""Text in place of the share where no specialised network that was trained to a plateau was scored on the same images."""
CLEAN = "clean"
"""Class of defect-free images, which have a rule of their own and are not in the means."""


@dataclass(frozen=True)
class Difference:
    """Tuned minus zero-shot in one metric.

    Attributes:
        metric: its name.
        value: the difference, raw: negative is an improvement where lower is better.
        sign: 1 if more of the metric is better, -1 if less is.
        interval: its 95 % paired percentile bootstrap over images; None without per-image rows.
        p_value: two-sided, of a paired sign-flip test of the mean; None without per-image rows.
        n_images: images paired; 0 without per-image rows.
        protocol: of the rows.
    """

    metric: str
    value: float
    sign: int
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    n_images: int = 0
    protocol: str = ""

    @property
    def better(self) -> bool:
        """Whether the second row is better than the first."""
        return self.sign * self.value > 0

    @property
    def worse(self) -> bool:
        """Whether the second row is worse than the first."""
        return self.value != 0 and not self.better

    def __str__(self) -> str:
        text = signed(self.value, self.metric, self.protocol)
        if self.interval:
            text += f" [{', '.join(signed(bound, self.metric, self.protocol) for bound in self.interval)}]"
        return text


@dataclass(frozen=True)
class Gap:
    """The gap closed in one metric.

    Attributes:
        metric: its name.
        zero_shot: name and value of the zero-shot row.
        tuned: name and value of the tuned row.
        best: name and value of the specialised row.
        closed: share of the gap that is closed, 1 = all of it; None where zero-shot is level with or ahead of the best.
        interval: its 95 % paired percentile bootstrap over images, or None.
        n_images: images paired; 0 without per-image rows.
        note: why `closed` or `interval` is None; empty otherwise.
        protocol: of the rows.
    """

    metric: str
    zero_shot: tuple[str, float]
    tuned: tuple[str, float]
    best: tuple[str, float]
    closed: float | None
    interval: tuple[float, float] | None = None
    n_images: int = 0
    note: str = ""
    protocol: str = ""

    @property
    def percent(self) -> str:
        """The share in per cent with its interval, or ``LEVEL``."""
        if self.closed is None:
            return LEVEL
        text = f"{percent(self.closed)} %"
        return f"{text} [{percent(self.interval[0])}, {percent(self.interval[1])}]" if self.interval else text

    def __str__(self) -> str:
        zero_shot, tuned, best = (
            f"{name} {number(value, self.metric, self.protocol)}"
            for name, value in (self.zero_shot, self.tuned, self.best)
        )
        names = f"{zero_shot} -> {tuned}, best specialised {best}"
        return f"{label(self.metric)}: {names}: {'' if self.closed is None else 'gap closed '}{self.percent}"


def percent(share: float) -> str:
    """Print a share in per cent, never as minus zero.

    >>> percent(0.834), percent(-0.001)
    ('83', '0')
    """
    return f"{round(100 * share):d}"


def gap_closed(zero_shot: ScoreRow, tuned: ScoreRow, best: ScoreRow, *, metric: str = "s_measure") -> Gap:
    """Compute the share of the gap that tuning closes.

    The interval needs the per-image rows of all three (``ScoreRow.images``) and is paired by image id. Where they show that
    the gap itself is not clear of zero, no share is computed: a ratio over almost nothing has no meaning.

    Args:
        zero_shot: SAM before tuning.
        tuned: SAM after tuning.
        best: the specialised network to reach.
        metric: one that all three rows have.

    Raises:
        UserError: the rows differ in data set, split, protocol, data or in having seen the ground truth, one lacks the
            metric, or their per-image rows name different images.

    Example:
        >>> def row(kind, value):
        ...     return ScoreRow(kind, kind, "mt", "test", 78, "grid", None, False, "pysod", {"mae": value}, {"mae": -1})
        >>> gap_closed(row("zero_shot", 0.30), row("tuned", 0.12), row("baseline", 0.06), metric="mae").percent
        '75 %'
    """
    rows = (zero_shot, tuned, best)
    check_comparable(rows, metric)
    low, mid, high = (row.metrics[metric] for row in rows)
    sign = direction(metric, rows)
    first, second, third = ((row.name, row.metrics[metric]) for row in rows)
    make = partial(Gap, metric, first, second, third, protocol=best.protocol)
    if sign * (high - low) <= 0:
        note = f"{zero_shot.name} is level with or ahead of {best.name}"
        return make(None, note=note)
    closed = (mid - low) / (high - low)
    paired, note = paired_values(rows, metric)
    if paired is None:
        return make(closed, note=note)
    means = resampled_means(paired)
    gaps = sign * (means[:, 2] - means[:, 0])
    if np.mean(gaps <= 0) >= 0.025:
        note = f"the lead of {best.name} over {zero_shot.name} is not clear of zero"
        return make(None, n_images=paired.shape[1], note=note)
    interval = percentiles(sign * (means[:, 1] - means[:, 0]) / gaps)
    return make(closed, interval, paired.shape[1])


def difference(first: ScoreRow, second: ScoreRow, *, metric: str = "s_measure") -> Difference:
    """Compute second - first with a paired interval and test, both over images and seeded.

    Args:
        first: the row that is subtracted.
        second: the other row.
        metric: one that both have.

    Raises:
        UserError: as `gap_closed`.
    """
    check_comparable((first, second), metric)
    value, sign = second.metrics[metric] - first.metrics[metric], direction(metric, (first, second))
    paired, _ = paired_values((first, second), metric)
    if paired is None:
        return Difference(metric, value, sign, protocol=first.protocol)
    means = resampled_means(paired)
    interval = percentiles(means[:, 1] - means[:, 0])
    p_value = flip_test(paired[1] - paired[0])
    return Difference(metric, value, sign, interval, p_value, paired.shape[1], first.protocol)


def check_comparable(rows: Sequence[ScoreRow], metric: str) -> None:
    """Check that rows may be subtracted from each other.

    Args:
        rows: at least two.
        metric: one that all must have.

    Raises:
        UserError: naming the two rows and what differs.
    """
    keys = ("data set", "split", "protocol", "oracle (saw the ground truth)", "data fingerprint")
    first = rows[0]
    for row in rows:
        if not has(row, metric):
            known = ", ".join(row.metrics) or "none"
            raise UserError(
                f"row {row.name!r}: has no metric {metric!r}, only {known}; score it again", code="E-ROW-METRIC-MISSING"
            )
        for key, one, other in zip(keys, first.table, row.table, strict=True):
            if one != other:
                raise UserError(
                    f"rows {first.name!r} and {row.name!r} cannot be compared: {key} is {one!r} in one, {other!r} in the "
                    "other; score both on the same images in the same way",
                    code="E-ROW-NOT-COMPARABLE",
                )


def paired_values(rows: Sequence[ScoreRow], metric: str) -> tuple[np.ndarray | None, str]:
    """Line up per-image values of several rows by image id; images without a value in one of them are left out.

    Args:
        rows: at least one.
        metric: whose values.

    Returns:
        (rows, images) float64 and "", or None and the reason: there are no per-image rows, or a row's value is not the
        mean of them, with or without the defect-free images (pooled and curve metrics are not; a CSV of another run
        would not be either).

    Raises:
        UserError: the rows' per-image rows name different images.
    """
    for row in rows:
        if not row.images:
            return None, f"no interval: {row.name} has no per-image rows"
    tables = [{str(image["id"]): image for image in row.images} for row in rows]
    if len({frozenset(table) for table in tables}) > 1:  # only some rows may have defect-free images too
        tables = [{key: each for key, each in table.items() if each.get("class_name") != CLEAN} for table in tables]
    ids = sorted(tables[0])
    for row, table in zip(rows, tables, strict=True):
        odd = sorted(set(ids) ^ set(table))
        if odd:
            raise UserError(
                f"rows {rows[0].name!r} and {row.name!r}: {len(odd)} images are in only one of their per-image tables, first "
                f"{odd[0]!r}; score both again",
                code="E-ROW-IMAGES-DIFFER",
            )
    values = np.array([[_value(table[key], metric) for key in ids] for table in tables])
    present = np.isfinite(values).all(axis=0)
    defective = np.array([tables[0][key].get("class_name") != CLEAN for key in ids])
    means = np.array([row.metrics[metric] for row in rows])
    for chosen in (values[:, present & defective], values[:, present]):
        if chosen.shape[1] >= 2 and np.abs(chosen.mean(axis=1) - means).max() < 1e-4:
            return chosen, ""
    return None, f"no interval: {label(metric)} is not the mean of per-image values"


def _value(image: Mapping[str, Any], metric: str) -> float:
    value = image.get(metric)
    return float(value) if isinstance(value, int | float) else math.nan
