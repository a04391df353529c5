"""The README's block, a sentence and two lines for each data set, and the block of docs/results.md with all that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from samis.errors import UserError
from samis.evaluation.rows import TableKey, group_metrics, group_rows
from samis.reporting.analysis.answer import Answer, tested
from samis.reporting.analysis.answer_tables import answer_table, tuned_table
from samis.reporting.analysis.comparator import repeats_table
from samis.reporting.analysis.costs import cheaper_sentence
from samis.reporting.analysis.finds import basis, finds
from samis.reporting.analysis.sentences import gap_sentence, sentence
from samis.reporting.analysis.separate import SeparatedRows, memory_tables, noise_table
from samis.reporting.analysis.table import Cell, Line, Table, clean_table, main_table
from samis.reporting.analysis.verdict_table import escapes_table, verdict_table
from samis.reporting.render.document import finds_markdown, meanings_markdown
from samis.reporting.render.markup import escape_markdown, fold_markdown, to_markdown

BEGIN, END = "<!-- answer:begin -->", "<!-- answer:end -->"


def readme_block(by_group: dict[TableKey, list[Answer]]) -> str:
    """Return the README's block as Markdown: what SAM finds on each data set, the gap, a table of two metrics per data set.

    Args:
        by_group: what ``answers`` returned.
    """
    table = answer_table(by_group, metrics=2, clean=False)
    result = finds(by_group)
    lines = "\n".join(f"- {escape_markdown(' '.join([find.sentence, *find.missing]))}" for find in result)
    texts = [lines, escape_markdown(basis(result)), escape_markdown(gap_sentence(by_group))]
    return "\n\n".join(filter(None, [*texts, to_markdown(table) if table.blocks else ""]))


def results_block(
    rows: SeparatedRows, by_group: dict[TableKey, list[Answer]], metrics: Sequence[str] | None = None
) -> str:
    """Return the block of docs/results.md as Markdown: all tuned rows, then each data set's methods, noise, clean images.

    Args:
        rows: what ``samis.reporting.analysis.separate.separate_rows`` returned.
        by_group: what ``answers`` returned for its main rows.
        metrics: columns; None takes each group's own.
    """
    groups = group_rows(rows.main)
    kept = tested(by_group)
    result = finds(by_group)
    parts = ["## In short", finds_markdown(result, basis(result)), "### The gap"]
    parts += [escape_markdown(sentence(group)) for group in kept.values()]
    answer, tuned = answer_table(by_group), tuned_table(groups, by_group)
    parts += [to_markdown(answer)] if answer.blocks else []
    shown = [answer, tuned, *(main_table("", groups[key], group_metrics(groups[key], metrics)) for key in kept)]
    parts += [meanings_markdown(shown, heading="###")]
    parts += ["## All that was tuned", _folded(tuned)] if tuned.blocks else []
    for key, group in kept.items():
        title, columns = group[0].title, group_metrics(groups[key], metrics)
        text = " ".join(filter(None, [*group[0].missing, cheaper_sentence(groups[key], columns)]))
        parts += [f"## {escape_markdown(title)}", *([escape_markdown(text)] if text else [])]
        parts.append(_folded(main_table(title, groups[key], columns)))
        repeated = repeats_table(title, groups[key], columns)
        of_images = [build(title, groups[key]) for build in (clean_table, verdict_table, escapes_table)]
        for table in (repeated, *of_images, noise_table(title, key, groups[key], rows.noisy)):
            if table:
                parts += [f"### {escape_markdown(table.title.partition(': ')[2].capitalize())}"]
                parts.append(to_markdown(replace(table, title="")) if table.unfolded else _folded(table))
    for table, text in memory_tables(rows.main, rows.seen).values():
        parts += [f"## {escape_markdown(table.title)}", escape_markdown(text), _folded(table)]
    return "\n\n".join(part.strip() for part in parts if part)


def _folded(table: Table) -> str:
    """Write a table without its title, folded; texts about a method come after its figures, which a phone then shows."""
    if table.heads[0] == "Method":
        blocks = [
            replace(
                block,
                lines=[Line(line.heads[:1], line.cells + [Cell(t) for t in line.heads[1:]]) for line in block.lines],
            )
            for block in table.blocks
        ]
        table = replace(table, heads=table.heads[:1], columns=table.columns + table.heads[1:], blocks=blocks)
    lines = sum(len(block.lines) for block in table.blocks)
    rows = "1 row" if lines == 1 else f"{lines} rows"
    return fold_markdown(to_markdown(replace(table, title="")), f"Table: {rows}")


def replace_block(text: str, content: str, *, name: str) -> str:
    """Return a file's text with `content` between the answer's two markers.

    Args:
        text: the file's text.
        content: Markdown.
        name: the file's name, for the error.

    Raises:
        UserError: the markers are not there once each, in order.
    """
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin or text.count(BEGIN) > 1 or text.count(END) > 1:
        raise UserError(
            f"{name}: needs the markers {BEGIN} and {END} once each, in this order; add them where the answer goes",
            code="E-ROW-MARKERS",
        )
    return f"{text[: begin + len(BEGIN)]}\n{content.strip()}\n{text[end:]}"
