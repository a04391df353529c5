"""Makes the report of score rows: tables, figures, and how much of the gap to the specialised networks tuning closes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from samis.core.files import write_atomic
from samis.errors import UserError, code_of, text_of
from samis.evaluation.rows import TableKey, group_metrics, group_rows, read_measured
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.answer import Answer
from samis.reporting.analysis.separate import separate_rows
from samis.reporting.analysis.table import main_table, oracle_table
from samis.reporting.analysis.verdict_table import escapes_table, verdict_table
from samis.reporting.render.document import Document
from samis.reporting.render.markup import to_text
from samis.reporting.render.readme import readme_block, replace_block, results_block
from samis.reporting.render.report import build_document, check_metrics, write_document


def compare(
    places: Sequence[Path],
    out: Path,
    *,
    metrics: Sequence[str] | None = None,
    tuned: str | None = None,
    published: bool = False,
    readme: Path | None = None,
    results: Path | None = None,
    maps: Path | None = None,
    gallery: int = 24,
    data_roots: Sequence[str] = (),
) -> None:
    """Read the rows, write the report, print the answer.

    Args:
        places: rows (*.json), or folders of them.
        out: the report's folder.
        metrics: columns, the first one leads; None takes those of the rows' protocol.
        tuned: name of the tuned row to compare; None takes the best one.
        published: append published numbers, in tables of their own.
        readme: file whose short answer is rewritten between its markers.
        results: likewise, for the long tables.
        maps: folder of maps, ``<row's file stem>/<image id>.png``, to draw overlays and the gallery from.
        gallery: images per data set in the page's gallery.
        data_roots: ``[NAME=]DIR`` each, where data sets are, for `maps`.

    Raises:
        UserError: rows, maps or a page are not what they should be; nothing is written to the pages then.
    """
    with user_errors():
        _check_folder(out)
        rows = read_measured(places)
        check_metrics(rows.values(), metrics)
        pages = {path: path.read_text(encoding="utf-8") for path in (readme, results) if path}
        for path, text in pages.items():
            replace_block(text, "", name=str(path))  # a missing marker is reported before any work is done
        divided = separate_rows(rows.values())
        pictures = {}
        if maps:
            from samis.jobs.pictures import draw_pictures  # data sets import torch

            shown = {id(row) for row in divided.main}
            pictures = draw_pictures(
                {path: row for path, row in rows.items() if id(row) in shown}, out,
                maps=maps, metrics=metrics, tuned=tuned, gallery=gallery, data_roots=data_roots,
            )  # fmt: skip
        numbers = published_numbers(rows) if published else []
        document, answers = build_document(
            rows, out, metrics=metrics, tuned=tuned, published=numbers, pictures=pictures
        )
        write_document(document, rows, out)
        for path, text in pages.items():
            block = readme_block(answers) if path == readme else results_block(divided, answers, metrics)
            write_atomic(path, replace_block(text, block, name=str(path)))
        show(document, group_rows(divided.main), answers, metrics)
        size = (out / "index.html").stat().st_size / 1e6
        print(f"\nreport: {out / 'index.html'} ({size:.1f} MB), report.md, table.tex, rows.csv, figures/")


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(
            f"--out {out}: expected a folder for the report, got a file; name another", code="E-FILE-NOT-A-FOLDER"
        )


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what rows, maps and files are refused for into a one-line UserError."""
    try:
        yield
    except (ValueError, OSError) as error:
        code = code_of(error, "E-FILE-DENIED" if isinstance(error, OSError) else "E-ROW-REPORT")
        raise UserError(text_of(error), code=code) from error


def published_numbers(rows: dict[Path, ScoreRow]) -> list[dict[str, Any]]:
    """Return the published numbers on the rows' data sets."""
    from samis.baselines.published import read_published

    names = dict.fromkeys(row.dataset for row in rows.values())
    return [number._asdict() for name in names for number in read_published(dataset=name)]


def show(
    document: Document,
    groups: dict[TableKey, list[ScoreRow]],
    answers: dict[TableKey, list[Answer]],
    metrics: Sequence[str] | None,
) -> None:
    """Print tables and answers; that tuning made something worse comes first."""
    for line in (answer for answer in document.answers if "WORSE" in answer):
        print(line + "\n")
    for key, group in groups.items():
        title = answers[key][0].title if key in answers else f"{key[0]} ({key[1]})"
        columns = group_metrics(group, metrics)
        verdicts = [verdict_table(title, group), escapes_table(title, group)]
        for table in (main_table(title, group, columns), *verdicts, oracle_table(title, group, columns)):
            if table and table.blocks:
                print(to_text(table))
    for line in (answer for answer in document.answers if "WORSE" not in answer):
        print(line)
