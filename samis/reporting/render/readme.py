"""The README's block: each data set's answer, what is cheaper, the tables, and what images seen in training are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from samis.evaluation.rows import TableKey, group_metrics, group_rows
from samis.reporting.analysis.answer import Answer, answer_table, sentence, tested, tuned_table
from samis.reporting.analysis.beside import Sorted, memory_tables
from samis.reporting.analysis.costs import cheaper_sentence
from samis.reporting.render.markup import escape_markdown, to_markdown


def readme_block(rows: Sorted, found: dict[TableKey, list[Answer]], metrics: Sequence[str] | None = None) -> str:
    """Return the block as Markdown.

    Args:
        rows: what ``samis.reporting.analysis.beside.sort_rows`` returned. found: what ``answers`` returned for its main rows.
        metrics: columns; None takes each group's own.
    """
    groups = group_rows(rows.main)
    kept = tested(found)
    parts = [escape_markdown(sentence(group)) for group in kept.values()]
    for key, group in kept.items():
        text = cheaper_sentence(groups[key], group_metrics(groups[key], metrics))
        parts += [escape_markdown(f"{group[0].title}: {text}")] if text else []
    parts += [to_markdown(table) for table in (answer_table(found), tuned_table(groups, found)) if table.blocks]
    for table, text in memory_tables(rows.main, rows.seen).values():
        parts += [f"### {escape_markdown(table.title)}", escape_markdown(text), to_markdown(replace(table, title=""))]
    return "\n\n".join(parts)
