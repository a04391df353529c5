"""Build the whole report from score rows, and write it: Markdown, CSV, LaTeX, figures, page."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from samis.core.cells import text_cells
from samis.core.files import write_atomic
from samis.errors import UserError, did_you_mean
from samis.evaluation.rows import TableKey, choose, group_metrics, group_rows
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.answer import Answer, answers, titles
from samis.reporting.analysis.answer_tables import gap_table
from samis.reporting.analysis.charts import (
    area_histogram,
    class_chart,
    gap_chart,
    notable_rows,
    precision_recall_chart,
    threshold_charts,
)
from samis.reporting.analysis.comparator import missing_comparators, repeats_table
from samis.reporting.analysis.costs import cheaper_sentence
from samis.reporting.analysis.finds import basis, finds, headline
from samis.reporting.analysis.sentences import gap_sentence, sentence
from samis.reporting.analysis.separate import memory_tables, noise_table, separate_rows
from samis.reporting.analysis.table import (
    Table,
    all_columns_table,
    clean_table,
    main_table,
    oracle_table,
    per_class_table,
    published_tables,
)
from samis.reporting.analysis.verdict_table import escapes_table, promise_table, verdict_table
from samis.reporting.render.document import Document, Figure, Section, document_markdown
from samis.reporting.render.exhibits import Exhibit
from samis.reporting.render.html import render_page
from samis.reporting.render.markup import to_latex
from samis.reporting.render.png import draw_lanes, draw_lines

TITLE = "SAM on industrial surface defects: how far it is from the specialised networks, and how much tuning closes"
PUBLISHED = "Published numbers, not measured here"


@dataclass
class Pictures:
    """The pictures of one group's images.

    Attributes:
        panel: overlays of a few images as one picture on disk, or None.
        exhibits: the page's gallery.
        areas: image id -> share of its pixels that are defective.
    """

    panel: Figure | None = None
    exhibits: list[Exhibit] = field(default_factory=list)
    areas: dict[str, float] = field(default_factory=dict)


def check_metrics(rows: Iterable[ScoreRow], wanted: Sequence[str] | None = None) -> None:
    """Check that the rows have metrics, and those that are wanted.

    Args:
        rows: rows of any data sets.
        wanted: names of metrics; None checks only that there are some.

    Raises:
        UserError: a wanted metric is in no row, or no row has any metric.
    """
    known = list(dict.fromkeys(metric for row in rows for metric in row.metrics))
    for metric in wanted or []:
        if metric not in known:
            raise UserError(
                f"--metrics: no row has {metric!r}{did_you_mean(metric, known)}; the rows have {', '.join(known)}",
                code="E-ROW-METRICS",
            )
    if not known:
        raise UserError("none of the rows has a metric; score them with samis score", code="E-ROW-NO-METRICS")


def build_document(
    rows: Mapping[Path, ScoreRow],
    out: Path,
    *,
    metrics: Sequence[str] | None = None,
    tuned: str | None = None,
    published: Iterable[Mapping[str, Any]] = (),
    pictures: Mapping[TableKey, Pictures] | None = None,
) -> tuple[Document, dict[TableKey, list[Answer]]]:
    """Build a report and draw its figures into ``out/figures``.

    Args:
        rows: rows by file.
        out: the report's folder.
        metrics: columns, the first one leads; None takes those of each group's protocol.
        tuned: name of the tuned row to compare instead of the best.
        published: published numbers to append, in tables of their own.
        pictures: pictures of the images, by group.

    Returns:
        The document, and the answers in it by group.

    Raises:
        UserError: as `samis.reporting.analysis.answer.answers`.
    """
    parted = separate_rows(rows.values())
    groups = group_rows(parted.main)
    by_group = answers(parted.main, metrics, tuned=tuned)
    names = titles(parted.main)
    sections = [_gap_section(list(by_group.values()), out / "figures" / "gap.png")] if by_group else []
    pictures = pictures or {}
    stems = _stems(names)
    for key, group in groups.items():
        drawn = pictures.get(key, Pictures())
        section = _section(
            names[key],
            group,
            group_metrics(group, metrics),
            out / "figures" / stems[key],
            areas=drawn.areas,
            tuned=tuned,
        )
        noise = noise_table(names[key], key, group, parted.noisy)
        section.items.insert(1, noise) if noise else None
        section.items += [drawn.panel] if drawn.panel else []
        sections.append(section)
    memory = memory_tables(parted.main, parted.seen)
    sections += [Section(table.title, [table], text) for table, text in memory.values()]
    tables = published_tables(published, seen={dataset: text for dataset, (_, text) in memory.items()})
    if tables:
        text = "As printed by others, by their splits and protocols; never in one table with rows measured here."
        sections.append(Section(PUBLISHED, list(tables), text))
    sentences = sorted((sentence(group) for group in by_group.values()), key=lambda text: "WORSE" not in text)
    footer = f"{len(rows)} score rows; every number is in rows.csv, with its row's file, commit and data fingerprint."
    turns = zip_longest(*(drawn.exhibits for drawn in pictures.values()))  # the first of each data set come first
    exhibits = [exhibit for turn in turns for exhibit in turn if exhibit is not None]
    result = finds(by_group)
    first, gap = headline(result, by_group), gap_sentence(by_group)
    lead = gap if gap != first else ""
    return Document(TITLE, sentences, sections, footer, first, lead, result, basis(result), exhibits), by_group


def _gap_section(groups: Sequence[Sequence[Answer]], path: Path) -> Section:
    charts = [gap_chart(group) for group in groups]
    picture = draw_lanes(charts, path)
    caption = "Zero-shot SAM, tuned SAM and the best specialised row, by data set and metric, with 95 % intervals."
    items: list[Table | Figure] = [Figure(picture, caption), *(gap_table(group) for group in groups)]
    return Section("The gap", items, drawings=list(charts), folded=True)


def _section(
    title: str,
    rows: Sequence[ScoreRow],
    metrics: Sequence[str],
    stem: Path,
    *,
    areas: Mapping[str, float],
    tuned: str | None,
) -> Section:
    lead = next((metric for metric in metrics if any(metric in row.metrics for row in rows)), metrics[0])
    tables: list[Table | None] = [
        main_table(title, rows, metrics) if any(not row.oracle for row in rows) else None,
        verdict_table(title, rows),
        all_columns_table(title, rows, metrics),
        repeats_table(title, rows, metrics),
        per_class_table(title, rows, lead),
        clean_table(title, rows),
        escapes_table(title, rows),
        promise_table(title, rows),
        oracle_table(title, rows, metrics),
    ]
    chosen = choose(rows, lead, tuned=tuned)
    missing = missing_comparators(chosen, rows) if chosen.present else []
    text = " ".join(filter(None, [*missing, cheaper_sentence(rows, metrics)]))
    section = Section(title, [table for table in tables if table is not None], text)
    shown = notable_rows(rows, lead)
    curves = precision_recall_chart(title, shown)
    by_threshold = threshold_charts(title, shown)
    drawings = [class_chart(chosen, lead), area_histogram(areas, chosen, lead), curves, *by_threshold]
    section.drawings = [drawing for drawing in drawings if drawing is not None]
    if curves:
        path = draw_lines([curves], stem.with_name(f"{stem.name}_precision_recall.png"), title=title)
        section.items.append(Figure(path, f"{title}: precision over recall at 256 thresholds, means over images."))
    if by_threshold:
        path = draw_lines(by_threshold, stem.with_name(f"{stem.name}_threshold.png"), title=title)
        section.items.append(Figure(path, f"{title}: F- and E-measure over the threshold, means over images."))
    return section


def _stems(names: Mapping[TableKey, str]) -> dict[TableKey, str]:
    """Name each group's figures: data set and split, and a number where that is not enough."""
    stems: dict[TableKey, str] = {}
    for dataset, split, protocol, fingerprint in names:
        stem = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{dataset}_{split}")
        taken = sum(other == stem or other.startswith(f"{stem}__") for other in stems.values())
        stems[dataset, split, protocol, fingerprint] = f"{stem}__{taken + 1}" if taken else stem
    return stems


def panel_path(out: Path, key: TableKey, rows: Iterable[ScoreRow]) -> Path:
    """Return where a group's overlay picture belongs."""
    return out / "figures" / f"{_stems(titles(list(rows)))[key]}_panel.png"


def write_document(document: Document, rows: Mapping[Path, ScoreRow], out: Path) -> list[Path]:
    """Write report.md, rows.csv, table.tex and index.html into `out`, each by rename; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "report.md": document_markdown(document, folder=out),
        "rows.csv": rows_csv(rows),
        "table.tex": "% needs \\usepackage{booktabs}\n" + "\n".join(to_latex(table) for table in document.tables),
        "index.html": render_page(document),
    }
    for name, text in texts.items():
        write_atomic(out / name, text)
    return [out / name for name in texts]


def rows_csv(rows: Mapping[Path, ScoreRow]) -> str:
    """Write every row as a line: name and kind, each metric with its interval, defect-free images, commit."""
    metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row.metrics))
    lines = []
    for path, row in rows.items():
        line: dict[str, object] = {"file": path.name}
        for name in (
            "name",
            "kind",
            "dataset",
            "split",
            "protocol",
            "oracle",
            "prompt",
            "mask_rule",
            "n_images",
            "empty_maps",
            "full_maps",
        ):
            line[name] = getattr(row, name)
        for metric in metrics:
            line[metric] = row.metrics.get(metric)
            line[f"{metric}_low"], line[f"{metric}_high"] = row.intervals.get(metric, (None, None))
        for name in ("n_images", "threshold", "false_positive_area", "kept_clean", "defect_recall", "image_auroc"):
            line[f"clean_{name}"] = (row.clean or {}).get(name)
        for name in ("rule", "threshold", "image_auroc", "image_ap", "miss_rate", "false_alarm_rate"):
            line[f"verdict_{name}"] = row.verdicts.get(name)
        for name in ("caught", "escaped", "passed", "false_alarms"):
            line[f"verdict_{name}"] = row.verdicts.get("confusion", {}).get(name)
        for name in ("parameters", "multiply_adds", "p50_ms", "p95_ms", "timed_images", "device", "source"):
            line[f"cost_{name}"] = row.cost.get(name)
        for name in ("data_fingerprint", "commit", "weights_sha256"):
            line[name] = row.provenance.get(name)
        lines.append(line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(text_cells(line) for line in lines)
    return text.getvalue()
