"""A report before it is written: sentences, tables and figures in sections; and its Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from samis.reporting.markup import escape_markdown, to_markdown
from samis.reporting.table import Table


@dataclass
class Figure:
    """A picture on disk with the words that stand for it."""

    path: Path
    caption: str


@dataclass
class Section:
    """A heading with tables and figures under it."""

    title: str
    items: list[Table | Figure] = field(default_factory=list)
    text: str = ""


@dataclass
class Document:
    """A whole report.

    Attributes:
        title: its heading.
        answers: sentences that stand first.
        sections: the rest.
        footer: where the numbers come from.
    """

    title: str
    answers: list[str]
    sections: list[Section]
    footer: str = ""

    @property
    def tables(self) -> Iterator[Table]:
        """All its tables, in order."""
        for section in self.sections:
            yield from (item for item in section.items if isinstance(item, Table))


def document_markdown(document: Document, *, folder: Path) -> str:
    """Write a report as Markdown; pictures are linked relative to `folder`."""
    lines = [escape_markdown(answer) + "\n" for answer in document.answers]
    parts = ["\n".join(lines), f"# {escape_markdown(document.title)}\n"]
    if not any("WORSE" in answer for answer in document.answers):
        parts.reverse()  # a failure is the first line of the report, before its title
    for section in document.sections:
        parts.append(f"## {escape_markdown(section.title)}\n")
        if section.text:
            parts.append(escape_markdown(section.text) + "\n")
        for item in section.items:
            if isinstance(item, Table):
                parts.append(to_markdown(item))
            else:
                parts.append(f"![{escape_markdown(item.caption)}]({item.path.relative_to(folder).as_posix()})\n")
    if document.footer:
        parts.append(escape_markdown(document.footer) + "\n")
    return "\n".join(parts)
