"""Read score rows with their per-image rows, sort them into comparable groups, and choose the rows to compare."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samis.core.cells import plain_text
from samis.errors import RowError, text_of
from samis.evaluation.labels import DEFAULT_METRICS, SHOWN_IF_MEASURED
from samis.evaluation.repeats import families, median_row
from samis.evaluation.score_row import ScoreRow, check_images, direction, read_row

SPECIALISED = ("baseline", "saved_maps")
"""Kinds of the specialised networks."""

TableKey = tuple[str, str, str, str]
"""Data set, split, protocol, data fingerprint."""


def read_measured(places: Iterable[str | Path]) -> dict[Path, ScoreRow]:
    """Read rows from files and folders, each with the per-image CSV next to it if there is one.

    Two rows of one table that share a name get their file's stem added, so that the lines of a report differ.

    Args:
        places: JSON files, or folders searched with all their subfolders.

    Returns:
        Rows by file, sorted within each folder; a file named twice is read once.

    Raises:
        ValueError: if a place does not exist, a folder holds no row, or a file is none.
    """
    rows: dict[Path, ScoreRow] = {}
    for place in map(Path, places):
        if place.is_dir():
            files = sorted(path for path in place.rglob("*.json") if not path.name.startswith("."))
            if not files:
                raise RowError(
                    f"{place}: expected score rows (*.json) in here, found none; write some with samis score",
                    code="E-ROW-MISSING",
                )
        elif place.exists():
            files = [place]
        else:
            raise RowError(
                f"{place}: expected a score row or a folder of them, found nothing; check the path",
                code="E-ROW-MISSING",
            )
        for path in files:
            path = path.resolve()
            if path not in rows:
                rows[path] = _read(path)
    _tell_apart(rows)
    return rows


def _read(path: Path) -> ScoreRow:
    try:
        row = read_row(path)
    except (TypeError, ValueError) as error:  # a key is missing, or a value is not what it should be
        if str(path) in str(error):
            raise
        raise RowError(
            f"{path}: not a score row ({text_of(error)}); write it again with samis score", code="E-ROW-FORMAT"
        ) from error
    table = path.with_suffix(".csv")
    if table.exists():
        check_images(row, table)
        row.images = read_images(table)
    return row


def read_images(path: str | Path) -> list[dict[str, Any]]:
    """Read a per-image CSV; an empty cell means that the image has no such number.

    Raises:
        ValueError: if the file has no column ``id``, is cut off, or names an image twice.
    """
    images: list[dict[str, Any]] = []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if "id" not in (reader.fieldnames or []):
            raise RowError(
                f"{path}: expected a per-image table with a column 'id'; write it with samis score", code="E-ROW-IMAGES"
            )
        for line in reader:
            if None in line or None in line.values():
                raise RowError(
                    f"{path}: line {reader.line_num} has another number of cells than the head; score again",
                    code="E-ROW-IMAGES",
                )
            images.append({plain_text(key): _cell(key, cell) for key, cell in line.items() if cell != ""})
    seen: set[str] = set()
    for image in images:
        if image["id"] in seen:
            raise RowError(f"{path}: image {image['id']!r} is here twice; score again", code="E-ROW-IMAGES")
        seen.add(image["id"])
    return images


def _cell(key: str, text: str) -> Any:
    if key in ("id", "class_name"):
        return plain_text(text)
    try:
        return float(text)
    except ValueError:
        return plain_text(text)


def _tell_apart(rows: dict[Path, ScoreRow]) -> None:
    names = [(row.table, row.name) for row in rows.values()]
    for path, row in rows.items():
        if names.count((row.table, row.name)) > 1:
            row.name = f"{row.name} ({path.stem})"


def table_key(row: ScoreRow) -> TableKey:
    """Return what rows must share to be under one title (oracle rows too, in a table of their own)."""
    dataset, split, protocol, _, fingerprint = row.table
    return dataset, split, protocol, fingerprint


def group_rows(rows: Iterable[ScoreRow]) -> dict[TableKey, list[ScoreRow]]:
    """Sort rows into groups of the same data set, split, protocol and data; test splits come first."""
    groups: dict[TableKey, list[ScoreRow]] = {}
    for row in rows:
        groups.setdefault(table_key(row), []).append(row)
    return dict(sorted(groups.items(), key=lambda item: (item[0][1] != "test", item[0])))


def group_metrics(rows: Sequence[ScoreRow], wanted: Sequence[str] | None = None) -> list[str]:
    """Return the metrics to show of one group: the wanted ones, else its protocol's columns.

    Where rows do not have them all, as where a few metrics were requested, all that they have are shown.
    """
    known = list(dict.fromkeys(metric for row in rows for metric in row.metrics))
    usual = [metric for metric in DEFAULT_METRICS.get(rows[0].protocol, ()) if metric in known]
    if len(usual) < len(DEFAULT_METRICS.get(rows[0].protocol, ())):
        usual += [metric for metric in known if metric not in usual]
    extra = [metric for metric in SHOWN_IF_MEASURED if metric in known and metric not in usual]
    usual += extra if usual else []
    return list(wanted or usual or known)


def title(key: TableKey, rows: Sequence[ScoreRow], *, ambiguous: bool = False) -> str:
    """Name a group, e.g. ``"sd_saliency_900 (test, 360 images)"``.

    Args:
        key: the group.
        rows: its rows.
        ambiguous: whether another group shares data set and split; then protocol and data are named as well.
    """
    dataset, split, protocol, fingerprint = key
    more = f", protocol {protocol}, data {fingerprint[:8] or 'unknown'}" if ambiguous else ""
    return f"{dataset} ({split}, {rows[0].n_images} images{more})"


@dataclass(frozen=True)
class Chosen:
    """The rows that the gap of one metric is about; None where there is no such row.

    Attributes:
        zero_shot: best zero-shot row without ground truth.
        tuned: best tuned row.
        best: best specialised row, trained to a plateau here or scored from published maps.
    """

    zero_shot: ScoreRow | None
    tuned: ScoreRow | None
    best: ScoreRow | None

    @property
    def present(self) -> list[ScoreRow]:
        """The rows there are, in order."""
        return list(self.by_role.values())

    @property
    def by_role(self) -> dict[str, ScoreRow]:
        """The rows there are, by ``"zero_shot"``, ``"tuned"`` and ``"best"``."""
        rows = {"zero_shot": self.zero_shot, "tuned": self.tuned, "best": self.best}
        return {role: row for role, row in rows.items() if row is not None}


def best_row(rows: Iterable[ScoreRow], metric: str, kinds: Sequence[str]) -> ScoreRow | None:
    """Return the best non-oracle row of some kinds by one metric, the first of equals; None if no row has it.

    A row all of whose maps are empty, or full, is passed over: where defects are small, answering nothing has the best MAE. So
    is one of a small budget (``ScoreRow.budget``), which says nothing about what its method can do. A training that was
    repeated with other draws or seeds is represented by its median row.
    """
    fair = [row for row in rows if not row.oracle and not row.budget and not row.degenerate]
    fitting = [row for row in fair if row.kind in kinds and has(row, metric)]
    tables = dict.fromkeys(row.table for row in fitting)
    repeated = [families(row for row in fitting if row.table == table) for table in tables]
    medians = [median_row(repeats, metric) for of_table in repeated for repeats in of_table.values()]
    sign = direction(metric, medians) if medians else 1
    return max(medians, key=lambda row: sign * row.metrics[metric], default=None)


def has(row: ScoreRow, metric: str) -> bool:
    """Return whether a row has a finite value of a metric."""
    value = row.metrics.get(metric)
    return value is not None and math.isfinite(value)


def choose(rows: Sequence[ScoreRow], metric: str, *, tuned: str | None = None) -> Chosen:
    """Choose the best row of each kind by one metric; oracle rows are left out.

    Args:
        rows: one group of `group_rows`.
        metric: what decides.
        tuned: name of the tuned row to take instead of the best one (as when validation chose it).

    Raises:
        ValueError: if the rows are of several data sets, splits, protocols or data.
    """
    if len({table_key(row) for row in rows}) > 1:
        raise RowError(
            "expected rows of one data set, split and protocol to choose from; sort them with group_rows first",
            code="E-ROW-SEVERAL",
        )
    candidates = [row for row in rows if row.kind == "tuned" and tuned in (None, row.name)]
    return Chosen(
        best_row(rows, metric, ("zero_shot",)),
        best_row(candidates, metric, ("tuned",)),
        best_row(rows, metric, SPECIALISED),
    )
