"""Write a table as Markdown, LaTeX, or plain text for the terminal; names from outside are escaped."""

from __future__ import annotations

import re

from samis.reporting.analysis.table import BEST, SECOND, Cell, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
}


def escape_latex(text: str) -> str:
    r"""Make a text safe in LaTeX's text mode.

    >>> escape_latex("50 % of a_b & c")
    '50 \\% of a\\_b \\& c'
    """
    return "".join(_LATEX.get(character, character) for character in _one_line(text))


def escape_markdown(text: str) -> str:
    r"""Make a text safe in a Markdown table: no cell ends, no HTML, no emphasis, no link.

    >>> escape_markdown("a|b <b> sd_saliency_900 *x*")
    'a\\|b &lt;b> sd_saliency_900 \\*x\\*'
    """
    text = re.sub(r"([\\`*\[\]|])", r"\\\1", _one_line(text))
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # inside a word an underscore is no markup
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def to_markdown(table: Table, *, heading: str = "###") -> str:
    """Write a table for GitHub: best value bold, second best in italics, intervals small below the value."""
    lines = [f"{heading} {escape_markdown(table.title)}", ""] if table.title else []
    columns = [*table.heads, *table.columns]
    lines.append("| " + " | ".join(escape_markdown(name) for name in columns) + " |")
    lines.append("|" + "---|" * len(table.heads) + "---:|" * len(table.columns))
    for block in table.blocks:
        if block.title:
            lines.append(f"| **{escape_markdown(block.title)}** |" + " |" * (len(columns) - 1))
        for line in block.lines:
            cells = [escape_markdown(head) for head in line.heads] + [_markdown_cell(cell) for cell in line.cells]
            lines.append("| " + " | ".join(cells) + " |")
    if table.note:
        lines += ["", escape_markdown(table.note)]
    return "\n".join(lines) + "\n"


def fold_markdown(text: str, summary: str) -> str:
    """Fold Markdown away under a line that opens it, on GitHub and on the documentation site (``md_in_html``)."""
    return f'<details markdown="1">\n<summary>{escape_markdown(summary)}</summary>\n\n{text.strip()}\n\n</details>'


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    text = {BEST: f"**{text}**", SECOND: f"*{text}*"}.get(cell.rank, text)
    return f"{text}<br><sub>{escape_markdown(cell.interval)}</sub>" if cell.interval else text


def to_latex(table: Table) -> str:
    """Write a floating table (needs booktabs): best value bold, second best underlined, intervals small."""
    count = len(table.heads) + len(table.columns)
    warning = r"\textbf{Not comparable with the other tables.} " if table.caution else ""
    lines = [
        r"\begin{table}[t]",
        r"\centering\small",
        rf"\caption{{{escape_latex(table.title)}. {warning}{escape_latex(table.note)}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.heads)}{'r' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(escape_latex(name) for name in [*table.heads, *table.columns]) + r" \\",
    ]
    for block in table.blocks:
        lines.append(r"\midrule")
        if block.title:
            lines.append(rf"\multicolumn{{{count}}}{{l}}{{\textit{{{escape_latex(block.title)}}}}} \\")
        for line in block.lines:
            cells = [escape_latex(head) for head in line.heads] + [_latex_cell(cell) for cell in line.cells]
            lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _latex_cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    text = {BEST: rf"\textbf{{{text}}}", SECOND: rf"\underline{{{text}}}"}.get(cell.rank, text)
    return rf"{text} {{\scriptsize [{escape_latex(cell.interval)}]}}" if cell.interval else text


def to_text(table: Table) -> str:
    """Write a table for the terminal, without intervals; * best, + second best."""
    head = [*table.heads, *(f"{name} " for name in table.columns)]
    body: list[list[str] | str] = []
    for block in table.blocks:
        body.append(f"-- {block.title}")
        marks = {BEST: "*", SECOND: "+"}
        for line in block.lines:
            body.append(
                [_one_line(text) for text in line.heads] + [c.text + marks.get(c.rank, " ") for c in line.cells]
            )
    full = [head] + [line for line in body if isinstance(line, list)]
    widths = [max(len(line[i]) for line in full) for i in range(len(head))]

    def justified(line: list[str]) -> str:
        sides = [
            text.ljust(width) if i < len(table.heads) else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(sides).rstrip()

    lines = [table.title, justified(head)]
    return "\n".join(lines + [line if isinstance(line, str) else justified(line) for line in body]) + "\n"
