"""What rows cost, as columns, and the sentence about a cheaper network that is as good as a tuned SAM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from samis.evaluation.labels import label, value_of
from samis.evaluation.repeats import families, median_row
from samis.evaluation.rows import SPECIALISED, has
from samis.evaluation.score_row import ScoreRow, direction

COLUMNS = {
    "parameters": ("Parameters, M", 1e6),
    "multiply_adds": ("Multiply-adds, G", 1e9),
    "p50_ms": ("Latency, ms", 1.0),
}
"""Key of ``ScoreRow.cost`` -> the column's title, and what its value is divided by."""
MAIN_METRICS = 3
"""A cheaper row is as good as another if it is so in this many metrics, the first ones of its table."""


def cost_columns(rows: Iterable[ScoreRow]) -> list[str]:
    """Return the keys of ``COLUMNS`` that some row has."""
    rows = list(rows)
    return [key for key in COLUMNS if any(_known(row, key) for row in rows)]


def cost_cells(row: ScoreRow, keys: Sequence[str]) -> list[tuple[str, str]]:
    """Return a row's cells as (text, small text): a dash where it has no cost; small: "stated", or the 95th percentile.

    Args:
        row: any row.
        keys: from ``cost_columns``.
    """
    return [_cell(row, key) for key in keys]


def cost_note(rows: Iterable[ScoreRow]) -> str:
    """Return what the columns mean, and on which devices how many images were timed; "" if no row has a cost."""
    rows = [row for row in rows if cost_columns([row])]
    if not rows:
        return ""
    text = " Parameters and multiply-adds: of one image as predicted, with all its tiles, prompts and mirrored copies."
    if any("source" in row.cost for row in rows):
        text += " Stated: by the method's authors or others, at their own input size, not counted here."
    timed = [row.cost for row in rows if _known(row, "p50_ms")]
    if timed:
        devices = "; ".join(dict.fromkeys(str(cost.get("device", "unknown device")) for cost in timed))
        counts = sorted({int(cost.get("timed_images", 0)) for cost in timed})
        images = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        text += f" Latency: median of {images} single images after a warm-up, small the 95th percentile, on {devices}."
    return text


def cost_line(row: ScoreRow) -> str:
    """Return a row's cost as one line of text; "" if it has none."""
    parts = []
    for key in cost_columns([row]):
        (text, small), (title, _) = _cell(row, key), COLUMNS[key]
        name, unit = title.split(", ")
        parts.append(f"{name.lower()} {text} {unit}" + (f" ({small})" if small else ""))
    where = f" on {row.cost['device']}" if _known(row, "p50_ms") and "device" in row.cost else ""
    return f"one image: {', '.join(parts)}{where}" if parts else ""


def cheaper_sentence(rows: Sequence[ScoreRow], metrics: Sequence[str]) -> str:
    """Return which much cheaper specialised network is at least as good as tuned rows; "" if none is.

    Much cheaper: at most half of the parameters or of the multiply-adds, and not more of either; only known costs are compared.
    Rows tuned on a part of the training images are left out.

    Of several the one that reaches the best tuned row (by the first metric) is named, of equals the better one by that metric.
    "At least as good" is by the means, in the first ``MAIN_METRICS`` metrics. Repeated trainings count once, by their median row.

    Args:
        rows: one group of ``samis.evaluation.rows.group_rows``.
        metrics: its columns.
    """
    main = [metric for metric in metrics if any(has(row, metric) for row in rows)][:MAIN_METRICS]
    tuned, special = (_fair(rows, kinds, main) for kinds in (("tuned",), SPECIALISED))
    tuned = [row for row in tuned if not _limited(row)]
    if not main or not tuned or not special:
        return ""
    signs = {metric: direction(metric, rows) for metric in main}

    def reaches(small: ScoreRow, large: ScoreRow) -> bool:
        good = all(signs[m] * (small.metrics[m] - large.metrics[m]) >= 0 for m in main)
        shares = [small.cost[key] / large.cost[key] for key in _shared(small, large)]
        return good and max(shares) <= 1 and min(shares) <= 0.5

    tuned.sort(key=lambda row: -signs[main[0]] * row.metrics[main[0]])
    reached = [(row, [other for other in tuned if reaches(row, other)]) for row in special]
    named = [
        (tuned.index(others[0]), -signs[main[0]] * row.metrics[main[0]], row, others)
        for row, others in reached
        if others
    ]
    if not named:
        return ""
    _, _, row, others = min(named, key=lambda item: item[:2])
    first = others[0]
    values = ", ".join(f"{label(m)} {value_of(row, m)} against {value_of(first, m)}" for m in main)
    more = f", and as {len(others) - 1} of the other tuned rows" if len(others) > 1 else ""
    small, large = _sizes(row, first)
    return f"{row.name} has {small} and is at least as good as {first.name} with {large} ({values}){more}."


def _fair(rows: Sequence[ScoreRow], kinds: Sequence[str], metrics: Sequence[str]) -> list[ScoreRow]:
    """Return the rows of some kinds whose parameters and metrics are known, one for each repeated training."""
    fair = [row for row in rows if row.kind in kinds and not (row.oracle or row.budget or row.degenerate)]
    fair = [
        row
        for row in fair
        if row.cost.get("parameters") and _known(row, "parameters") and all(has(row, metric) for metric in metrics)
    ]
    return [median_row(repeats, metrics[0]) for repeats in families(fair).values()]


def _limited(row: ScoreRow) -> bool:
    """Return whether a row was trained on a part of the training images (``data.limit``)."""
    config = row.provenance.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    return bool(data.get("limit")) if isinstance(data, dict) else False


def _shared(small: ScoreRow, large: ScoreRow) -> list[str]:
    """Return by what two rows' costs compare: parameters, and multiply-adds where both have them and the larger has some."""
    return [
        key for key in ("parameters", "multiply_adds") if _known(small, key) and _known(large, key) and large.cost[key]
    ]


def _sizes(small: ScoreRow, large: ScoreRow) -> tuple[str, str]:
    """Return two rows' costs as text, without the units in the second."""
    keys = _shared(small, large)
    stated = " (stated)" if "source" in small.cost else ""
    units = {"parameters": ("M", " parameters"), "multiply_adds": ("G", " multiply-adds")}
    first, second = (
        [
            f"{_number(row.cost[key] / COLUMNS[key][1])} {units[key][0]}{units[key][1] if row is small else ''}"
            for key in keys
        ]
        for row in (small, large)
    )
    return " and ".join(first) + stated, " and ".join(second) + (" (stated)" if "source" in large.cost else "")


def _cell(row: ScoreRow, key: str) -> tuple[str, str]:
    if not _known(row, key):
        return "–", ""
    small = "stated" if "source" in row.cost else ""
    if key == "p50_ms" and _known(row, "p95_ms"):
        small = f"p95 {_number(row.cost['p95_ms'])}"
    return _number(row.cost[key] / COLUMNS[key][1]), small


def _known(row: ScoreRow, key: str) -> bool:
    value: Any = row.cost.get(key)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float) -> str:
    """Print three or more significant digits of what spans four orders of magnitude.

    >>> _number(0.28), _number(6.124), _number(189.64)
    ('0.28', '6.12', '189.6')
    """
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"
