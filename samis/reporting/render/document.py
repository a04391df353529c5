"""A report before it is written: sentences, tables and figures in sections; and its Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from samis.evaluation.meanings import column_meaning
from samis.reporting.analysis.chart import Drawing
from samis.reporting.analysis.finds import Find
from samis.reporting.analysis.table import Table
from samis.reporting.render.exhibits import Exhibit
from samis.reporting.render.markup import escape_markdown, to_markdown


@dataclass
class Figure:
    """A picture on disk with its caption."""

    path: Path
    caption: str


@dataclass
class Section:
    """A heading with tables and pictures under it.

    Attributes:
        title: the heading.
        items: tables, and pictures on disk for Markdown.
        text: a sentence below the heading.
        drawings: charts, for the page.
        folded: whether the tables only repeat the drawings in numbers, so that the page folds them away.
    """

    title: str
    items: list[Table | Figure] = field(default_factory=list)
    text: str = ""
    drawings: list[Drawing] = field(default_factory=list)
    folded: bool = False

    @property
    def nav(self) -> str:
        """The heading in short.

        >>> Section("steel (test, 360 images)").nav, Section("The gap").nav
        ('steel (test)', 'The gap')
        """
        start, comma, _ = self.title.partition(",")
        return f"{start})" if comma and "(" in start else start


@dataclass
class Document:
    """A whole report.

    Attributes:
        title: its heading.
        answers: the first sentences, one per data set.
        sections: the rest.
        footer: where the numbers come from.
        headline: the answer of all data sets in one sentence.
        lead: a sentence below it, about the gap.
        finds: what SAM finds, by data set.
        basis: what the numbers of `finds` are shares of.
        exhibits: images of the page's gallery.
    """

    title: str
    answers: list[str]
    sections: list[Section]
    footer: str = ""
    headline: str = ""
    lead: str = ""
    finds: list[Find] = field(default_factory=list)
    basis: str = ""
    exhibits: list[Exhibit] = field(default_factory=list)

    @property
    def tables(self) -> Iterator[Table]:
        """All its tables, in order."""
        for section in self.sections:
            yield from (item for item in section.items if isinstance(item, Table))


def meanings_of(tables: Iterable[Table]) -> dict[str, str]:
    """Return what the tables' columns mean, by title; columns that nothing is known of are left out."""
    titles = dict.fromkeys(title for table in tables for title in (*table.heads, *table.columns, *_lines(table)))
    return {title: text for title in titles if (text := column_meaning(title))}


def _lines(table: Table) -> list[str]:
    """Return the titles that begin lines of a table with a metric per line."""
    return [line.heads[0] for block in table.blocks for line in block.lines] if table.heads[:1] == ["Metric"] else []


def meanings_markdown(tables: Iterable[Table], *, heading: str = "##") -> str:
    """Write what the tables' columns mean as a Markdown list; "" if nothing is known."""
    known = meanings_of(tables)
    lines = [f"- **{escape_markdown(title)}**: {escape_markdown(text)}" for title, text in known.items()]
    return "\n".join([f"{heading} What the columns mean", "", *lines]) if lines else ""


def finds_markdown(finds: Sequence[Find], basis: str) -> str:
    """Write what SAM finds as a Markdown list, a line for each data set, with whole images and what is missing."""
    lines = [f"- {escape_markdown(' '.join([find.sentence, *find.missing, find.images]))}" for find in finds]
    return "\n".join([*lines, "", escape_markdown(basis)]) if lines else ""


def document_markdown(document: Document, *, folder: Path) -> str:
    """Write a report as Markdown; pictures are linked relative to a folder.

    Args:
        document: the report.
        folder: where the Markdown goes.
    """
    lines = [escape_markdown(answer) + "\n" for answer in document.answers]
    parts = ["\n".join(lines), f"# {escape_markdown(document.title)}\n"]
    if not any("WORSE" in answer for answer in document.answers):
        parts.reverse()  # a failure is the first line of the report, before its title
    parts += [f"{finds_markdown(document.finds, document.basis)}\n"] if document.finds else []
    for section in document.sections:
        parts.append(f"## {escape_markdown(section.title)}\n")
        if section.text:
            parts.append(escape_markdown(section.text) + "\n")
        for item in section.items:
            if isinstance(item, Table):
                parts.append(to_markdown(item))
            else:
                parts.append(f"![{escape_markdown(item.caption)}]({item.path.relative_to(folder).as_posix()})\n")
    meanings = meanings_markdown(document.tables)
    parts += [f"{meanings}\n"] if meanings else []
    if document.footer:
        parts.append(escape_markdown(document.footer) + "\n")
    return "\n".join(parts)
