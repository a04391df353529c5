"""Length of the trainings behind score rows: minutes, steps, and the last validations, which show whether there is a plateau."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from samis.evaluation.labels import number, signed, value_of
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.table import Block, Cell, Line, Table

LAST = 3
RISE = 0.01
"""A run whose score grew by more than this over its last ``LAST`` validations is listed as still rising."""
METRIC = "s_measure"


def convergence_table(rows: Iterable[ScoreRow]) -> Table:
    """Build the table of rows that carry their run's validations (``provenance["validation_s_measure"]``), a block a data set.

    Args:
        rows: any; rows of noisy images repeat a training and are left out.
    """
    shown = [row for row in rows if _validations(row) and " +" not in row.split]
    table = Table(
        "",
        ["Training"],
        ["minutes", "steps", "epochs", f"last {LAST} validations, S", "change over them", "best at epoch", "test S"],
    )
    for dataset in dict.fromkeys(row.dataset for row in shown):
        table.blocks.append(Block(dataset, [_line(row) for row in shown if row.dataset == dataset]))
    rising = [f"{row.name} on {row.dataset}" for row in shown if change(_validations(row)) > RISE]
    table.note = f"Still rising by more than {RISE} at the end: {'; '.join(rising) or 'none'}."
    return table


def change(values: list[float]) -> float:
    """Return the last validation minus the first of the last three; of fewer, minus the first.

    >>> round(change([0.60, 0.65, 0.65, 0.70, 0.72]), 2), round(change([0.60, 0.71, 0.70, 0.69]), 2)
    (0.07, -0.02)
    """
    return values[-1] - values[-LAST:][0]


def _line(row: ScoreRow) -> Line:
    values, training = _validations(row), row.provenance.get("training") or {}
    every = (((row.provenance.get("config") or {}).get("training")) or {}).get("validate_every", 1)
    epochs = training.get("epochs", 0)
    best = min((values.index(max(values)) + 1) * every, epochs)  # the last epoch is validated whatever its number
    cells: list[Any] = [
        training.get("minutes", "–"), training.get("steps", "–"), epochs,
        " ".join(number(value, METRIC) for value in values[-LAST:]), signed(change(values), METRIC), best,
        value_of(row, METRIC),
    ]  # fmt: skip
    name = f"{row.name} ({row.budget} budget)" if row.budget else row.name
    return Line([name], [Cell(str(cell)) for cell in cells])


def _validations(row: ScoreRow) -> list[float]:
    values = row.provenance.get("validation_s_measure")
    return [float(value) for value in values] if isinstance(values, list) else []
