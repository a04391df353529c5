"""The README's block, three sentences and ten lines, and the block of docs/results.md with all that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from samis.evaluation.rows import TableKey, group_metrics, group_rows
from samis.reporting.analysis.answer import Answer, answer_table, sentence, tested, tuned_table
from samis.reporting.analysis.beside import Sorted, memory_tables, noise_table
from samis.reporting.analysis.comparator import repeats_table
from samis.reporting.analysis.costs import cheaper_sentence
from samis.reporting.analysis.summary import summary
from samis.reporting.analysis.table import clean_table, main_table
from samis.reporting.analysis.verdict_table import escapes_table, verdict_table
from samis.reporting.render.markup import escape_markdown, to_markdown


def readme_block(found: dict[TableKey, list[Answer]]) -> str:
    """Return the README's block as Markdown: the answer in three sentences, a table of two metrics per data set.

    Args:
        found: what ``answers`` returned.
    """
    table = answer_table(found, metrics=2, clean=False)
    return "\n\n".join(filter(None, [escape_markdown(summary(found)), to_markdown(table) if table.blocks else ""]))


def results_block(rows: Sorted, found: dict[TableKey, list[Answer]], metrics: Sequence[str] | None = None) -> str:
    """Return the block of docs/results.md as Markdown: all tuned rows, then each data set's methods, noise, clean images.

    Args:
        rows: what ``samis.reporting.analysis.beside.sort_rows`` returned. found: what ``answers`` returned for its main rows.
        metrics: columns; None takes each group's own.
    """
    groups = group_rows(rows.main)
    kept = tested(found)
    parts = ["## In short", *(escape_markdown(sentence(group)) for group in kept.values())]
    answer, tuned = answer_table(found), tuned_table(groups, found)
    parts += [to_markdown(answer)] if answer.blocks else []
    parts += ["## All that was tuned", to_markdown(tuned)] if tuned.blocks else []
    for key, group in kept.items():
        title, columns = group[0].title, group_metrics(groups[key], metrics)
        text = cheaper_sentence(groups[key], columns)
        parts += [f"## {escape_markdown(title)}", *([escape_markdown(text)] if text else [])]
        parts.append(to_markdown(replace(main_table(title, groups[key], columns), title="")))
        repeated = repeats_table(title, groups[key], columns)
        of_images = [build(title, groups[key]) for build in (clean_table, verdict_table, escapes_table)]
        for table in (repeated, *of_images, noise_table(title, key, groups[key], rows.noisy)):
            if table:
                parts += [f"### {escape_markdown(table.title.partition(': ')[2].capitalize())}"]
                parts.append(to_markdown(replace(table, title="")))
    for table, text in memory_tables(rows.main, rows.seen).values():
        parts += [f"## {escape_markdown(table.title)}", escape_markdown(text), to_markdown(replace(table, title=""))]
    return "\n\n".join(part.strip() for part in parts)
