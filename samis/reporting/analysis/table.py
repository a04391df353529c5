"""Build the report's tables from score rows; `samis.reporting.render.markup` writes them.

Measured rows of one data set, split, protocol and data share a table, in blocks by kind. Rows that saw the ground truth
have a table of their own. Published numbers are never in one table with measured ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from samis.evaluation.labels import KIND_TITLES, label, number, span, value_of
from samis.evaluation.rows import has
from samis.evaluation.score_row import ScoreRow, direction
from samis.reporting.analysis.costs import COLUMNS as COST_COLUMNS
from samis.reporting.analysis.costs import cost_cells, cost_columns, cost_note

BEST, SECOND = 1, 2


@dataclass
class Cell:
    """One value of a table.

    Attributes:
        text: what is printed.
        interval: its 95 % interval as text, or "".
        rank: ``BEST``, ``SECOND`` or 0.
    """

    text: str
    interval: str = ""
    rank: int = 0


@dataclass
class Line:
    """One line: its text columns, then its value columns."""

    heads: list[str]
    cells: list[Cell]


@dataclass
class Block:
    """Lines under a title of their own ("" for none), of rows of one kind ("" if they are of none)."""

    title: str
    lines: list[Line]
    kind: str = ""


@dataclass
class Table:
    """A table, not yet written in any markup.

    Attributes:
        title: its heading.
        heads: names of the text columns.
        columns: names of the value columns, with an arrow towards better.
        blocks: its lines.
        note: a sentence or two below it.
        caution: whether the note is a warning not to compare.
        unfolded: whether the page shows it without a click wherever it is.
    """

    title: str
    heads: list[str]
    columns: list[str]
    blocks: list[Block] = field(default_factory=list)
    note: str = ""
    caution: bool = False
    unfolded: bool = False


CLEAN_METRICS = ("kept_clean", "defect_recall")
FEWEST_CLEAN = 5
"""A share of fewer defect-free images is no column."""
CLEAN_NOTE = (
    "Clean kept clean: share of the defect-free images without a single pixel above the row's threshold. Defective found: "
    "share of the defective images whose pixels above it have an IoU of at least 0.1 with the truth."
)
HELPED_TITLES = {
    "zero_shot": "SAM, helped by the ground truth",
    "baseline": "Without any learning: what a box of the ground truth alone is worth",
}
"""Kind of row -> title of its block where all rows saw the ground truth; a specialised network takes no prompt and never does."""
INTERVAL_NOTE = "Small: 95 % bootstrap interval over images."


def column(metric: str, rows: Iterable[ScoreRow]) -> str:
    """Return a metric's column title, with an arrow towards better, e.g. ``"MAE ↓"``.

    Args:
        metric: its name.
        rows: whose directions are used; without any there is no arrow.
    """
    rows = [row for row in rows if metric in row.directions]
    return f"{label(metric)} {'↑' if direction(metric, rows) > 0 else '↓'}" if rows else label(metric)


def main_table(title: str, rows: Sequence[ScoreRow], metrics: Sequence[str]) -> Table:
    """Build the table of the rows that did not see the ground truth, in blocks by kind.

    Args:
        title: the group's name.
        rows: one group of `samis.evaluation.rows.group_rows`; oracle rows in it are left out.
        metrics: columns; a row without one gets a dash.
    """
    plain = [row for row in rows if not row.oracle]
    return _measured(title, plain, metrics, INTERVAL_NOTE)


def all_columns_table(title: str, rows: Sequence[ScoreRow], metrics: Sequence[str]) -> Table | None:
    """Build the table of all numbers that a group's protocol computed; None if the main table has them all.

    Args:
        title: the group's name.
        rows: one group of `samis.evaluation.rows.group_rows`; oracle rows in it are left out.
        metrics: columns of the main table.
    """
    plain = [row for row in rows if not row.oracle]
    known = list(dict.fromkeys(metric for row in plain for metric in row.metrics))
    if set(known) <= set(metrics):
        return None
    note = "Their intervals are in rows.csv."
    table = Table(f"{title}: all columns", ["Method"], [column(metric, plain) for metric in known], note=note)

    def line(row: ScoreRow) -> Line:
        return Line([marked_name(row)], [Cell(_cell(row, metric).text) for metric in known])

    fill_blocks(table, plain, line, known)
    return table


def oracle_table(title: str, rows: Sequence[ScoreRow], metrics: Sequence[str]) -> Table | None:
    """Build the table of the rows that saw the ground truth; None if there are none."""
    seen = [row for row in rows if row.oracle]
    note = (
        "Upper bounds: the prompt or the choice of the mask saw the ground truth. These rows are not results and are "
        f"never subtracted from the others. {INTERVAL_NOTE}"
    )
    return _measured(f"{title}: saw the ground truth", seen, metrics, note, caution=True) if seen else None


def _measured(
    title: str, rows: Sequence[ScoreRow], metrics: Sequence[str], note: str, *, caution: bool = False
) -> Table:
    some_empty = any(row.empty_maps for row in rows)
    clean = [] if caution else clean_metrics(rows)
    costs = cost_columns(rows)
    columns = [*(column(metric, rows) for metric in (*metrics, *clean)), *(COST_COLUMNS[key][0] for key in costs)]
    table = Table(title, ["Method", "Prompt"], columns, note=note + cost_note(rows), caution=caution)
    table.note += f" {CLEAN_NOTE}" if clean else ""
    if any(row.degenerate for row in rows):
        table.note += (
            " All maps empty, or full (one value everywhere): such a row has no information about where defects are, and is never "
            "the best, whatever its numbers."
        )
    if some_empty:
        table.heads.append("No mask")
        table.note += " No mask: images for which SAM gave no mask, scored as an empty map."

    def line(row: ScoreRow) -> Line:
        heads = [marked_name(row), _prompt(row), *([str(row.empty_maps)] if some_empty else [])]
        cells = [*(_cell(row, metric) for metric in metrics), *clean_cells(row, clean)]
        return Line(heads, cells + [Cell(*pair) for pair in cost_cells(row, costs)])

    fill_blocks(table, rows, line, [*metrics, *clean])  # costs are not ranked
    return table


def clean_metrics(rows: Iterable[ScoreRow]) -> list[str]:
    """Return which columns about defect-free images some of the rows fill: none, or two that belong together."""
    return list(CLEAN_METRICS) if any(_of_clean(row) for row in rows) else []


def clean_cells(row: ScoreRow, metrics: Sequence[str]) -> list[Cell]:
    """Return a row's cells of ``clean_metrics``."""
    return [Cell(number(_of_clean(row).get(metric, math.nan), metric)) for metric in metrics]


def _of_clean(row: ScoreRow) -> dict[str, float]:
    """Return what the columns show of a row; nothing of one that saw the truth or has too few defect-free images."""
    clean = row.clean or {}
    shown = not row.oracle and clean.get("n_images", 0) >= FEWEST_CLEAN and all(key in clean for key in CLEAN_METRICS)
    return clean if shown else {}


def fill_blocks(
    table: Table, rows: Sequence[ScoreRow], line: Callable[[ScoreRow], Line], metrics: Sequence[str]
) -> None:
    """Add a block per kind of row, then mark the best and second value of each column."""
    for kind, block_title in KIND_TITLES.items():
        lines = [line(row) for row in rows if row.kind == kind]
        if lines:
            helped = HELPED_TITLES.get(kind) if all(row.oracle for row in rows) else None
            table.blocks.append(Block(helped or block_title, lines, kind))
    ranked = [row for kind in KIND_TITLES for row in rows if row.kind == kind]  # as the blocks are
    lines = [line for block in table.blocks for line in block.lines]
    for index, metric in enumerate(metrics):
        fair = [
            line.cells[index]
            for line, row in zip(lines, ranked, strict=True)
            if not row.degenerate and row.kind != "ceiling"
        ]
        able = [row for row in rows if metric in row.directions]
        if able:
            _rank(fair, higher=direction(metric, able) > 0)


def marked_name(row: ScoreRow) -> str:
    """Return a row's name, and in brackets why it is never the best."""
    words = [f"{row.budget} budget"] if row.budget else []
    words += [row.degenerate] if row.degenerate else []
    return f"{row.name} ({', '.join(words)})" if words else row.name


def _prompt(row: ScoreRow) -> str:
    words = [word for word in (row.prompt, row.mask_rule) if word and word != "none"]
    return ", ".join(words) or "–"


def _cell(row: ScoreRow, metric: str) -> Cell:
    if not has(row, metric):
        return Cell("–")
    bounds = row.intervals.get(metric)
    interval = span(*(number(bound, metric, row.protocol) for bound in bounds)) if bounds else ""
    return Cell(value_of(row, metric), interval)


def _rank(cells: Sequence[Cell], *, higher: bool) -> None:
    """Mark the best and the second value as printed; equals share their rank, and a lone value has none."""
    values = [(float(cell.text), cell) for cell in cells if cell.text != "–"]
    order = sorted({value for value, _ in values}, reverse=higher)
    for value, cell in values:
        if len(order) > 1 and value in order[:2]:
            cell.rank = BEST if value == order[0] else SECOND


def per_class_table(title: str, rows: Sequence[ScoreRow], metric: str) -> Table | None:
    """Build one metric's table by defect class; None if no row has classes."""
    rows = [row for row in rows if not row.oracle and row.per_class]
    classes = sorted({name for row in rows for name, values in row.per_class.items() if metric in values})
    if not classes:
        return None
    sizes = {name: int(row.per_class[name].get("n_images", 0)) for row in rows for name in row.per_class}
    heads = [f"{name} ({sizes[name]})" for name in classes]
    table = Table(f"{title}: {column(metric, rows)} by class", ["Method"], heads, note="In brackets: images.")

    def line(row: ScoreRow) -> Line:
        values = [row.per_class.get(name, {}).get(metric, math.nan) for name in classes]
        return Line([marked_name(row)], [Cell(number(value, metric, row.protocol)) for value in values])

    fill_blocks(table, rows, line, [metric] * len(classes))
    return table


def clean_table(title: str, rows: Sequence[ScoreRow]) -> Table | None:
    """Build the table of defect-free images: area called defective, share of images left clean; None without any."""
    rows = [row for row in rows if not row.oracle and row.clean and row.clean.get("n_images")]
    if not rows:
        return None
    known = ("kept_clean", "false_positive_area", "defect_recall", "image_auroc", "threshold")
    metrics = [metric for metric in known if any(metric in (row.clean or {}) for row in rows)]
    note = (
        f"Images without a defect have no part in the means above. {CLEAN_NOTE} False-positive area: mean share of a clean "
        "image's pixels above it. Image AUROC: of each map's largest value, clean against defective images; it needs no "
        "threshold."
    )
    table = Table(
        f"{title}: defect-free images",
        ["Method", "Images"],
        [column(metric, rows) for metric in metrics],
        note=note,
    )

    def line(row: ScoreRow) -> Line:
        clean = row.clean or {}
        cells = [Cell(number(clean.get(metric, math.nan), metric)) for metric in metrics]
        return Line([marked_name(row), f"{int(clean['n_images'])}"], cells)

    fill_blocks(table, rows, line, metrics)
    return table


def published_tables(numbers: Iterable[Mapping[str, Any]], *, seen: Mapping[str, str] | None = None) -> list[Table]:
    """Build one table per data set, split, noise level and source of published numbers.

    Nothing is ranked across sources, and nothing is in one table with a measured row.

    Args:
        numbers: with the keys of ``samis.baselines.published.PublishedNumber``.
        seen: data set -> what images seen in training add there, for the warning of splits that hold all images.
    """
    worth = {_plain(name): text for name, text in (seen or {}).items()}
    groups: dict[tuple[str, str, float, str], list[Mapping[str, Any]]] = {}
    for item in numbers:
        groups.setdefault((item["dataset"], item["split"], item["noise"], item["source"]), []).append(item)
    tables = []
    for (dataset, split, noise, source), items in groups.items():
        metrics = list(dict.fromkeys(item["metric"] for item in items))
        values = {(item["method"], item["metric"]): item["value"] for item in items}
        decimals = max(len(f"{value:.6g}".partition(".")[2]) for value in values.values())
        lines = []
        for method in dict.fromkeys(item["method"] for item in items):
            texts = [f"{values[method, m]:.{decimals}f}" if (method, m) in values else "–" for m in metrics]
            lines.append(Line([method], [Cell(text) for text in texts]))
        level = f"{round(100 * noise)} % salt-and-pepper noise" if noise else "no noise added"
        heading = f"{dataset}, split: {split}, {level}"
        known = worth.get(_plain(dataset), "") if split.startswith("all") else ""
        note = f"{items[0]['caution']}{' ' if known else ''}{known} Source: {source}."
        tables.append(Table(heading, ["Method"], metrics, [Block("", lines)], note, caution=True))
    return tables


def _plain(name: str) -> str:
    """Return a data set's name without case and signs, as it is printed and as rows call it."""
    return "".join(character for character in name.lower() if character.isalnum())
