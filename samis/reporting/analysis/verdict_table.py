"""Build the tables about verdicts of whole images: escapes, overkill, confusion matrix; per class of defect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from samis.evaluation.labels import number, span
from samis.evaluation.score_row import ScoreRow
from samis.reporting.analysis.table import Block, Cell, Line, Table, column, fill_blocks, marked_name

METRICS = ("image_auroc", "image_ap", "miss_rate", "false_alarm_rate")
COUNTS = {"caught": "Caught", "escaped": "Escaped", "passed": "Passed", "false_alarms": "False alarms"}
"""Cell of the confusion matrix -> its column."""
OF_A_PROMISE = {
    "threshold": "Threshold", "marked": "Sound surface marked", "missed_images": "Defective images called OK",
}  # fmt: skip
"""What is shown of a promise -> its column."""
PROMISES_NOTE = (
    "By conformal risk control on images that had no part in training: kept in the mean over photos like these, not by each one. "
    "Not attainable: too few calibration images, or no usable threshold keeps it; samis predict gives the reason. Both shares are "
    "of the calibration images."
)
FEWEST = 5
"""A rate over fewer images is a dash; its counts are shown."""
NOTE = (
    "An image is called defective if its score is above the image threshold. Escapes: share of the defective images called OK. "
    "Overkill: share of the clean images called defective. Caught and escaped are the defective images, passed and false alarms "
    "the clean ones. A rate over fewer than 5 images is a dash. Small: 95 % bootstrap interval over images; of a rate "
    "of 0 or 1, which is the same in every resample, the exact one of Clopper and Pearson."
)


def verdict_table(title: str, rows: Sequence[ScoreRow]) -> Table | None:
    """Build the table of image verdicts of the rows that did not see the ground truth; None if no row has verdicts.

    Args:
        title: the group's name.
        rows: one group of ``samis.evaluation.rows.group_rows``.
    """
    rows = [row for row in rows if not row.oracle and row.verdicts]
    if not rows:
        return None
    metrics = [name for name in METRICS if any(math.isfinite(_rate(row.verdicts, name)) for row in rows)]
    columns = [*(column(metric, rows) for metric in metrics), *COUNTS.values()]
    heads = ["Method", "Image score"]
    table = Table(f"{title}: images called OK or defective", heads, columns, note=NOTE, unfolded=True)

    def line(row: ScoreRow) -> Line:
        cells = [_cell(row.verdicts, metric) for metric in metrics]
        counts = [Cell(str(row.verdicts["confusion"][name])) for name in COUNTS]
        heads = [marked_name(row), f"{row.verdicts['rule']} > {row.verdicts['threshold']:.3g}"]
        return Line(heads, cells + counts)

    fill_blocks(table, rows, line, metrics)  # counts are not ranked
    return table


def escapes_table(title: str, rows: Sequence[ScoreRow]) -> Table | None:
    """Build the table of escapes by class of defect; None if no row has two classes.

    Args:
        title: the group's name.
        rows: one group of ``samis.evaluation.rows.group_rows``.
    """
    rows = [row for row in rows if not row.oracle and len(row.verdicts.get("per_class", {})) > 1]
    sizes = {name: line["n_images"] for row in rows for name, line in row.verdicts["per_class"].items()}
    if not sizes:
        return None
    heads = [f"{name} ({count})" for name, count in sizes.items()]
    note = "In brackets: defective images of the class. Counts: escaped images. Small: 95 % bootstrap interval of their share."
    table = Table(f"{title}: escaped images by class ↓", ["Method"], heads, note=note)

    def line(row: ScoreRow) -> Line:
        return Line([marked_name(row)], [_class_cell(row.verdicts["per_class"].get(name)) for name in sizes])

    fill_blocks(table, rows, line, [])
    return table


def promise_table(title: str, rows: Sequence[ScoreRow]) -> Table | None:
    """Build the table of promises that calibrated runs can keep; None if no row is of one.

    Args:
        title: the group's name.
        rows: one group of ``samis.evaluation.rows.group_rows``.
    """
    known = [(row, calibration) for row in rows if not row.oracle and (calibration := _calibration(row))]
    if not known:
        return None
    table = Table(f"{title}: promises", ["Method", "Promise"], list(OF_A_PROMISE.values()), note=PROMISES_NOTE)
    lines = [
        Line([marked_name(row), each["promise"]], [_promise_cell(each, name) for name in OF_A_PROMISE])
        for row, calibration in known
        for each in calibration["promises"]
    ]
    table.blocks.append(Block("", lines))
    images = dict.fromkeys(f"{row.name} on {calibration['images']}" for row, calibration in known)
    table.note += f" Calibrated: {'; '.join(images)}."
    return table


def _calibration(row: ScoreRow) -> Mapping[str, Any]:
    """Return the calibration that a row's training states; {} without one."""
    result = (row.provenance.get("training") or {}).get("calibration")
    return result if isinstance(result, dict) and {"images", "promises"} <= set(result) else {}


def _promise_cell(promise: Mapping[str, Any], name: str) -> Cell:
    value = promise.get(name)
    if value is None:
        return Cell("not attainable" if name == "threshold" else "–")
    return Cell(f"{value:.4g}" if name == "threshold" else f"{100 * value:.1f} %")


def verdict_lines(row: ScoreRow) -> list[str]:
    """Return a row's verdicts as lines of text: the numbers of the set, and each class's escapes; [] without verdicts."""
    verdicts = row.verdicts
    if not verdicts or row.oracle:
        return []
    counts = verdicts["confusion"]
    defective, clean = counts["caught"] + counts["escaped"], counts["passed"] + counts["false_alarms"]
    parts = []
    if defective:
        parts.append(f"{counts['escaped']} of {defective} defective images escape ({_percent(verdicts, 'miss_rate')})")
    if clean:
        parts.append(
            f"{counts['false_alarms']} of {clean} clean ones are called defective ({_percent(verdicts, 'false_alarm_rate')})"
        )
    if "image_auroc" in verdicts:
        parts.append(f"image AUROC {verdicts['image_auroc']:.3f}, AP {verdicts['image_ap']:.3f}")
    lines = [f"verdicts by {verdicts['rule']} above {verdicts['threshold']:.3f}: {'; '.join(parts)}"]
    classes = verdicts.get("per_class", {})
    if len(classes) > 1 and counts["escaped"]:
        parts = [f"{name} {line['escaped']} of {line['n_images']}" for name, line in classes.items() if line["escaped"]]
        lines.append(f"escaped by class: {', '.join(parts)}")
    return lines


def _percent(verdicts: Mapping[str, Any], name: str) -> str:
    """Print a rate in percent, with its interval if there is one."""
    bounds = verdicts.get("intervals", {}).get(name)
    text = f"{100 * verdicts[name]:.1f} %"
    return f"{text}, 95 % interval {span(*(f'{100 * bound:.1f}' for bound in bounds))}" if bounds else text


def _rate(verdicts: Mapping[str, Any], name: str) -> float:
    """Return one of ``METRICS``, NaN where it is missing or of too few images."""
    counts = verdicts["confusion"]
    defective, clean = counts["caught"] + counts["escaped"], counts["passed"] + counts["false_alarms"]
    images = {"miss_rate": defective, "false_alarm_rate": clean}.get(name, min(defective, clean))
    return float(verdicts.get(name, math.nan)) if images >= FEWEST else math.nan


def _cell(verdicts: Mapping[str, Any], name: str) -> Cell:
    value, bounds = _rate(verdicts, name), verdicts.get("intervals", {}).get(name)
    shown = bool(bounds) and math.isfinite(value)
    return Cell(number(value, name), span(*(number(bound, name) for bound in bounds)) if shown else "")


def _class_cell(line: Mapping[str, Any] | None) -> Cell:
    if line is None:
        return Cell("–")
    bounds = line.get("interval")
    return Cell(str(line["escaped"]), span(*(number(bound, "miss_rate") for bound in bounds)) if bounds else "")
