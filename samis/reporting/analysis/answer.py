"""The answer in words: per data set one sentence, and a table of what tuning gained and how much gap it closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from samis.evaluation.labels import label, signed, span, value_of
from samis.evaluation.repeats import families, mean_and_spread, median_row, name_of
from samis.evaluation.rows import Chosen, TableKey, choose, group_metrics, group_rows, has, title
from samis.evaluation.score_row import ScoreRow, direction
from samis.reporting.analysis.comparator import (
    best_words,
    is_ahead,
    lead_words,
    repeats_of,
    spread_words,
    training_note,
)
from samis.reporting.analysis.gap import LEVEL, NO_COMPARATOR, Difference, Gap, difference, gap_closed, percent
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

BEGIN, END = "<!-- answer:begin -->", "<!-- answer:end -->"
HOW_CHOSEN = (
    "Each kind is represented by the row that is best by the metric in question on these images, zero-shot, tuned and "
    "specialised alike; a training that was repeated with other seeds or draws by its median one. A kind with more methods gains "
    "from that; give --tuned NAME to fix the tuned row instead."
)

REPEATS_NOTE = "±: standard deviation over draws or seeds; the gap and the clean images are those of the median one."


@dataclass
class Answer:
    """What one metric says about one group of rows.

    Attributes:
        title: the group's name.
        metric: the metric.
        chosen: the rows compared.
        gain: tuned - zero-shot; None if one of the two is missing.
        gap: the gap closed; None if one of the three rows is missing.
        lead: tuned - specialised; None if one of the two is missing.
        repeats: the rows of the training that the specialised row stands for, itself among them.
    """

    title: str
    metric: str
    chosen: Chosen
    gain: Difference | None = None
    gap: Gap | None = None
    lead: Difference | None = None
    repeats: Sequence[ScoreRow] = ()

    @property
    def worse(self) -> bool:
        """Whether the tuned row is worse than the zero-shot row."""
        return self.gain is not None and self.gain.worse


def answers(
    rows: Sequence[ScoreRow], metrics: Sequence[str] | None = None, *, tuned: str | None = None
) -> dict[TableKey, list[Answer]]:
    """Compare zero-shot, tuned and specialised rows, for each group and metric that some row has.

    Args:
        rows: rows of any data sets.
        metrics: the first one leads; None takes each group's own.
        tuned: name of the tuned row to take instead of the best.

    Raises:
        ValueError: as `samis.reporting.analysis.gap.gap_closed`; or if no tuned row bears the name `tuned`.
    """
    names = sorted({row.name for row in rows if row.kind == "tuned"})
    if tuned is not None and tuned not in names:
        raise ValueError(f"expected the name of a tuned row, got {tuned!r}; there are: {', '.join(names) or 'none'}")
    groups = group_rows(rows)
    titles = _titles(groups)
    found: dict[TableKey, list[Answer]] = {}
    for key, group in groups.items():
        for metric in group_metrics(group, metrics):
            chosen = choose(group, metric, tuned=tuned)
            if not chosen.present:
                continue
            answer = Answer(titles[key], metric, chosen, repeats=repeats_of(chosen.best, group))
            if chosen.tuned and chosen.best:
                answer.lead = difference(chosen.best, chosen.tuned, metric=metric)
            if chosen.zero_shot and chosen.tuned:
                answer.gain = difference(chosen.zero_shot, chosen.tuned, metric=metric)
                if chosen.best:
                    answer.gap = gap_closed(chosen.zero_shot, chosen.tuned, chosen.best, metric=metric)
            found.setdefault(key, []).append(answer)
    return found


def _titles(groups: dict[TableKey, list[ScoreRow]]) -> dict[TableKey, str]:
    shared = [key[:2] for key in groups]
    return {key: title(key, rows, ambiguous=shared.count(key[:2]) > 1) for key, rows in groups.items()}


def titles(rows: Sequence[ScoreRow]) -> dict[TableKey, str]:
    """Name every group of rows, telling apart those that share data set and split."""
    return _titles(group_rows(rows))


def sentence(group: Sequence[Answer]) -> str:
    """Say one group's answer, by its first metric; if tuning made that worse, this is said first.

    The other metrics are mentioned where no tuned row beats zero-shot.
    """
    text = f"{group[0].title}: {_statement(group[0])}"
    worse = [label(answer.metric) for answer in group[1:] if answer.worse]
    if worse and not group[0].worse:
        text += f" But in {', '.join(worse)} no tuned row beats zero-shot."
    return text


def _statement(answer: Answer) -> str:
    metric, chosen = answer.metric, answer.chosen
    zero, tuned = chosen.zero_shot, chosen.tuned

    def reached(row: ScoreRow) -> str:
        return f"{row.name} reaches {label(metric)} {value_of(row, metric)}"

    if zero is None or tuned is None:
        missing = " and ".join(n for n, row in (("zero-shot", zero), ("tuned", tuned)) if row is None)
        return f"{'; '.join(map(reached, chosen.present))}. Without a {missing} row there is nothing to compare."
    before = f"zero-shot SAM ({zero.name}) reaches {label(metric)} {value_of(zero, metric)}"
    after = f"{tuned.name} reaches {value_of(tuned, metric)}"
    best = best_words(chosen.best, answer.repeats, metric) if chosen.best else ""
    unlike = training_note(tuned, chosen.best) if chosen.best else ""
    unlike = f" {unlike}" if unlike else ""
    gap = answer.gap
    if answer.worse:
        ahead = f"; {best} is ahead of both" if gap and gap.closed is not None else ""
        return f"tuning made it WORSE: {before}, and {after} ({answer.gain}){ahead}."
    if gap is None:
        unknown = "No specialised network trained to a plateau was scored on these images: no fair comparator yet."
        return f"{before}; {after} ({answer.gain}). {unknown}"
    if gap.closed is None:
        return (
            f"{before}; {after} ({answer.gain}). Zero-shot is level with or ahead of {best}, so that no share of a way "
            "to it can be stated."
        )
    if gap.closed > 1 and answer.lead:
        return f"{before}; {after}, {lead_words(answer.lead, best)}.{unlike}"
    sure = f" (95 % interval {percent(gap.interval[0])} to {percent(gap.interval[1])} %)" if gap.interval else ""
    return f"{before}; {after}, {percent(gap.closed)} %{sure} of the way to {best}.{unlike}"


def headline(found: dict[TableKey, list[Answer]]) -> str:
    """Say the answer of all data sets in one sentence, by each one's first metric; "" if there is nothing to compare.

    Test splits only, if there are any; what tuning made worse comes first.
    """
    worse: list[str] = []
    closed: list[str] = []
    past: list[str] = []
    even: list[str] = []
    level: list[str] = []
    unknown: list[str] = []
    for key, group in tested(found).items():
        lead = group[0]
        zero, tuned, best = lead.chosen.zero_shot, lead.chosen.tuned, lead.chosen.best
        if zero is None or tuned is None:
            continue
        before, after = (value_of(row, lead.metric) for row in (zero, tuned))
        values = f"{label(lead.metric)} {before} → {after}"
        if lead.worse:
            worse.append(f"{key[0]} ({values})")
        elif lead.gap is None or best is None:
            unknown.append(f"{key[0]} ({values})")
        elif lead.gap.closed is None:
            level.append(f"{key[0]} ({values}, best {value_of(best, lead.metric)})")
        elif lead.gap.closed > 1:  # a small gap passed by far makes a percentage that says nothing
            (past if is_ahead(lead.lead) else even).append(f"{key[0]} ({values}, best {value_of(best, lead.metric)})")
        else:
            goal = "" if closed else " of the gap to the best specialised network"
            reach = value_of(best, lead.metric)
            closed.append(f"{percent(lead.gap.closed)} %{goal} on {key[0]} ({values}, best {reach})")
    parts = [f"makes it WORSE on {_listed(worse)}"] if worse else []
    parts += [f"closes {_listed(closed)}"] if closed else []
    parts += [f"comes level with the best specialised network on {_listed(even)}"] if even else []
    parts += [f"goes past the best specialised network on {_listed(past)}"] if past else []
    parts += [f"starts level with or ahead of the best specialised network on {_listed(level)}"] if level else []
    parts += [f"improves {_listed(unknown)}, where there is {NO_COMPARATOR}"] if unknown else []
    return f"Tuning SAM {'; it '.join(parts)}." if parts else ""


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


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
    """Return the share of the gap that is closed; above 100 %, which says little where the gap is small, tuned - specialised."""
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


def answer_table(found: dict[TableKey, list[Answer]], *, metrics: int = 3, clean: bool = True) -> Table:
    """Build the short table of all data sets that a README shows: test splits only, if there are any.

    Args:
        found: what `answers` returned.
        metrics: how many metrics per data set, the first ones.
        clean: whether lines about defect-free images follow, where there are some.
    """
    table = Table("", ["Data set", "Metric"], ["Zero-shot SAM", "Tuned SAM", "Best specialised", "Gap closed"])
    for group in tested(found).values():
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
    shown = [row for group in tested(found).values() for row in group[0].chosen.present]
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
    groups: dict[TableKey, list[ScoreRow]], found: dict[TableKey, list[Answer]], *, metrics: int = 4
) -> Table:
    """Build the table of all that was tuned, best first by the leading metric, and the gap that each closed in it.

    Args:
        groups: what `group_rows` returned.
        found: what `answers` returned for the same rows.
        metrics: how many metrics, the first ones of a group.
    """
    kept = tested(found)
    names = list(dict.fromkeys(answer.metric for group in kept.values() for answer in group[:metrics]))
    tuned = [row for key in kept for row in groups[key] if row.kind == "tuned" and not row.oracle]
    beside = clean_metrics(tuned)
    table = Table("", ["Data set", "Tuned"], [*(column(name, tuned) for name in [*names, *beside]), "Gap closed"])
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
            cells += clean_cells(row, beside)
            called = name_of(method, repeats) + (f" ({row.degenerate})" if row.degenerate else "")
            heads = [group[0].title if position == 0 else "", called]
            lines.append(Line(heads, [*cells, Cell("–") if row.degenerate else _gap_cell(gap)]))
        if lines:
            table.blocks.append(Block("", lines))
    table.note = f"Gap closed: in {label(names[0])}, with its 95 % bootstrap interval over images." if names else ""
    repeated = any("±" in cell.interval for block in table.blocks for line in block.lines for cell in line.cells)
    table.note += f" {REPEATS_NOTE}" if repeated else ""
    table.note += f" {CLEAN_NOTE}" if beside else ""
    return table


def tested(found: dict[TableKey, list[Answer]]) -> dict[TableKey, list[Answer]]:
    """Keep the groups of test splits; all of them if none is one."""
    return {key: group for key, group in found.items() if key[1] == "test"} or found


def replace_block(text: str, content: str, *, name: str) -> str:
    """Put `content` between the answer's two markers.

    Args:
        text: the file's text.
        content: Markdown.
        name: the file's name, for the error.

    Raises:
        ValueError: if the markers do not stand there once each, in order.
    """
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin or text.count(BEGIN) > 1 or text.count(END) > 1:
        raise ValueError(
            f"{name}: expected the markers {BEGIN} and {END} once each, in this order; add them where the answer goes"
        )
    return f"{text[: begin + len(BEGIN)]}\n{content.strip()}\n{text[end:]}"
