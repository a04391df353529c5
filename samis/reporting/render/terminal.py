"""Rows as aligned text, as samis score prints them."""

from __future__ import annotations

from collections.abc import Sequence

from samis.evaluation.rows import group_metrics
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.costs import cost_line
from samis.reporting.analysis.verdict_table import verdict_lines

COLUMNS = 8
"""Metrics side by side."""


def table(rows: Sequence[ScoreRow]) -> str:
    """Return rows as aligned text."""
    shown = group_metrics(rows)
    width = max(len(row.name) for row in rows) + 9
    lines = [f"{rows[0].dataset}, {rows[0].split}, {rows[0].n_images} images, protocol {rows[0].protocol}"]
    for start in range(0, len(shown), COLUMNS):
        columns = shown[start : start + COLUMNS]
        wide = max(14, *(len(column) + 2 for column in columns))
        lines.append(" " * width + "".join(f"{column:>{wide}s}" for column in columns))
        for row in rows:
            label = row.name + (" (oracle)" if row.oracle else "")
            values = (row.metrics.get(column, float("nan")) for column in columns)
            lines.append(f"{label:{width}s}" + "".join(f"{value:{wide}.4f}" for value in values))
    for row in rows:
        if row.degenerate:
            lines.append(f"  {row.name}: {row.degenerate}; never the best")
        if row.clean:
            lines.append(f"  {_clean_line(row.clean)}")
        lines += [f"  {line}" for line in verdict_lines(row)]
        if row.empty_maps:
            lines.append(f"  {row.empty_maps} of {row.n_images} maps were empty")
        if row.provenance.get("resized"):
            lines.append(f"  {row.provenance['resized']} of {row.n_images} maps were resized to their image's size")
    lines += dict.fromkeys(f"  {line}" for line in map(cost_line, rows) if line)  # once for all rules of one pass
    return "\n".join(lines)


def _clean_line(clean: dict[str, float]) -> str:
    """Return the line about clean images: how many were kept clean, and how many defects were detected."""
    text = f"{clean['n_images']:.0f} clean images, threshold {clean['threshold']:.3f}: {clean['kept_clean']:.0%} kept clean"
    if "defect_recall" in clean:
        text += (
            f", {clean['defect_recall']:.0%} of the defective images detected, image AUROC {clean['image_auroc']:.3f}"
        )
    return f"{text}, false-positive area {clean['false_positive_area']:.2%}"
