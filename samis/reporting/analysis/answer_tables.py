"""The answer as tables: gains and gaps of one group, the short table of a README, and all that was tuned."""

from __future__ import annotations

from collections.abc import Sequence

from samis.evaluation.labels import label, signed, span, value_of
from samis.evaluation.repeats import families, mean_and_spread, median_row, name_of
from samis.evaluation.rows import Chosen, TableKey, has
from samis.evaluation.score_row import ScoreRow, direction
from samis.reporting.analysis.answer import Answer, tested
from samis.reporting.analysis.comparator import is_ahead, spread_words, training_note
from samis.reporting.analysis.gap import LEVEL, NO_COMPARATOR, Difference, Gap, gap_closed, percent
from samis.reporting.analysis.table import (
    CLEAN_NOTE,
    INTERVAL_NOTE,
    Block,
    Cell,
    Line,
    Table,
    clean_cells,
    clean_metrics,
    column,
)

HOW_CHOSEN = (
    "Each kind is represented by the row that is best by the metric in question on these images, zero-shot, tuned and "
    "specialised alike; a training that was repeated with other seeds or draws by its median one. A kind with more methods gains "
    "from that; give --tuned NAME to fix the tuned row instead."
)

REPEATS_NOTE = "±: standard deviation over draws or seeds; the gap and the clean images are those of the median one."


def gap_table(answers_of_group: Sequence[Answer]) -> Table:
    """Build one group's table of gains and gaps, a line per metric."""
    table = Table(
        f"{answers_of_group[0].title}: gap closed",
        ["Metric", "Zero-shot SAM", "Tuned SAM", "Best specialised"],
        ["Tuned − zero-shot", "p", "Tuned − specialised", "Gap closed"],
    )
    notes = [HOW_CHOSEN, f"p: two-sided paired sign-flip test of tuned against zero-shot over images. {INTERVAL_NOTE}"]
    lines = []
    for answer in answers_of_group:
        rows = (answer.chosen.zero_shot, answer.chosen.tuned, answer.chosen.best)
        named = [f"{value_of(row, answer.metric)} {row.name}" if row else "–" for row in rows]
        spread = spread_words(answer.repeats, answer.metric)
        named[-1] += f" ({spread})" if spread else ""
        lines.append(
            Line(
                [column(answer.metric, answer.chosen.present), *named],
                [*_gain_cells(answer.gain), _gain_cells(answer.lead)[0], _gap_cell(answer.gap)],
            )
        )
        if answer.gap and answer.gap.note:
            notes.append(f"{label(answer.metric)}: {answer.gap.note}.")
    pairs = [(answer.chosen.tuned, answer.chosen.best) for answer in answers_of_group]
    notes += dict.fromkeys(filter(None, (training_note(tuned, best) for tuned, best in pairs if tuned and best)))
    table.blocks.append(Block("", lines))
    table.note = " ".join(notes)
    return table


def _gain_cells(gain: Difference | None) -> list[Cell]:
    if gain is None:
        return [Cell("–"), Cell("–")]
    bounds = [signed(bound, gain.metric, gain.protocol) for bound in gain.interval or ()]
    text = "–" if gain.p_value is None else "< 0.001" if gain.p_value < 0.001 else f"{gain.p_value:.3f}"
    return [Cell(signed(gain.value, gain.metric, gain.protocol), " to ".join(bounds)), Cell(text)]


def gap_or_lead(answer: Answer) -> Cell:
    """Return the share of the gap that is closed; above 100 %, which is misleading where the gap is small, tuned - specialised."""
    if answer.lead is None or answer.gap is None or (answer.gap.closed or 0) <= 1:
        return _gap_cell(answer.gap)
    cell = _gain_cells(answer.lead)[0]
    return Cell(f"{'ahead' if is_ahead(answer.lead) else 'level'}, {cell.text}", cell.interval)


def _gap_cell(gap: Gap | None) -> Cell:
    if gap is None:
        return Cell(NO_COMPARATOR)
    if gap.closed is None:
        return Cell(LEVEL)
    bounds = gap.interval
    return Cell(f"{percent(gap.closed)} %", f"{span(*map(percent, bounds))} %" if bounds else "")


def answer_table(by_group: dict[TableKey, list[Answer]], *, metrics: int = 3, clean: bool = True) -> Table:
    """Build the short table of all data sets that a README shows: test splits only, if there are any.

    Args:
        by_group: what `answers` returned.
        metrics: how many metrics per data set, the first ones.
        clean: whether lines about defect-free images follow, where there are some.
    """
    table = Table("", ["Data set", "Metric"], ["Zero-shot SAM", "Tuned SAM", "Best specialised", "Gap closed"])
    for group in tested(by_group).values():
        lines = []
        for position, answer in enumerate(group[:metrics]):
            cells = []
            for row in (answer.chosen.zero_shot, answer.chosen.tuned, answer.chosen.best):
                cells.append(Cell(value_of(row, answer.metric), row.name) if row else Cell("–"))
            spread = spread_words(answer.repeats, answer.metric)
            cells[-1].interval += f": {spread}" if spread else ""
            heads = [answer.title if position == 0 else "", column(answer.metric, answer.chosen.present)]
            lines.append(Line(heads, [*cells, gap_or_lead(answer)]))
        lines += _clean_lines(group[0].chosen) if clean else []
        table.blocks.append(Block("", lines))
    table.note = (
        "Small: the row's name; for the gap its 95 % bootstrap interval over images. Ahead, level: tuned − specialised, "
        "where tuned SAM has the better mean, clear of zero or not."
    )
    shown = [row for group in tested(by_group).values() for row in group[0].chosen.present]
    table.note += f" {CLEAN_NOTE}" if clean and clean_metrics(shown) else ""
    return table


def _clean_lines(chosen: Chosen) -> list[Line]:
    """Return the lines about defect-free images, of the rows that the leading metric chose."""
    lines = []
    for metric in clean_metrics(chosen.present):
        cells = []
        for row in (chosen.zero_shot, chosen.tuned, chosen.best):
            value = clean_cells(row, [metric])[0].text if row else "–"
            cells.append(Cell(value, row.name if row and value != "–" else ""))
        lines.append(Line(["", column(metric, chosen.present)], [*cells, Cell("–")]))
    return lines


def tuned_table(
    groups: dict[TableKey, list[ScoreRow]], by_group: dict[TableKey, list[Answer]], *, metrics: int = 4
) -> Table:
    """Build the table of all that was tuned, best first by the leading metric, and the gap that each closed in it.

    Args:
        groups: what `group_rows` returned.
        by_group: what `answers` returned for the same rows.
        metrics: how many metrics, the first ones of a group.
    """
    kept = tested(by_group)
    names = list(dict.fromkeys(answer.metric for group in kept.values() for answer in group[:metrics]))
    tuned = [row for key in kept for row in groups[key] if row.kind == "tuned" and not row.oracle]
    clean = clean_metrics(tuned)
    table = Table("", ["Data set", "Tuned"], [*(column(name, tuned) for name in [*names, *clean]), "Gap closed"])
    for key, group in kept.items():
        lead, chosen = group[0].metric, group[0].chosen
        rows = [row for row in groups[key] if row.kind == "tuned" and not row.oracle and has(row, lead)]
        methods = {method: (median_row(repeats, lead), repeats) for method, repeats in families(rows).items()}
        sign = direction(lead, rows) if rows else 1

        def place(method: str) -> tuple[bool, float]:
            row = methods[method][0]  # noqa: B023 - sorted at once
            return bool(row.degenerate), -sign * row.metrics[lead]  # noqa: B023

        order = sorted(methods, key=place)
        lines = []
        for position, method in enumerate(order):
            row, repeats = methods[method]
            known = [name for name in names if all(has(repeat, name) for repeat in repeats)]
            cells = [Cell(*mean_and_spread(repeats, name)) if name in known else Cell("–") for name in names]
            gap = None
            if chosen.zero_shot and chosen.best and not row.degenerate:
                gap = gap_closed(chosen.zero_shot, row, chosen.best, metric=lead)
            cells += clean_cells(row, clean)
            named = name_of(method, repeats) + (f" ({row.degenerate})" if row.degenerate else "")
            heads = [group[0].title if position == 0 else "", named]
            lines.append(Line(heads, [*cells, Cell("–") if row.degenerate else _gap_cell(gap)]))
        if lines:
            table.blocks.append(Block("", lines))
    table.note = f"Gap closed: in {label(names[0])}, with its 95 % bootstrap interval over images." if names else ""
    repeated = any("±" in cell.interval for block in table.blocks for line in block.lines for cell in line.cells)
    table.note += f" {REPEATS_NOTE}" if repeated else ""
    table.note += f" {CLEAN_NOTE}" if clean else ""
    return table
