"""How metrics, data sets and kinds of rows are called, which way is better, and how many digits are printed."""

from __future__ import annotations

import math

from samis.evaluation.score_row import ScoreRow

LABELS = {
    "s_measure": "S",
    "weighted_f": "wF",
    "mae": "MAE",
    "f_adaptive": "F adaptive",
    "f_mean": "F mean",
    "f_max": "F max",
    "e_adaptive": "E adaptive",
    "e_mean": "E mean",
    "e_max": "E max",
    "iou": "IoU",
    "dice": "Dice",
    "overlap_ratio": "OR",
    "pratt": "PFOM",
    "boundary_f": "boundary F (2 px)",
    "false_positive_area": "false-positive area",
    "kept_clean": "clean kept clean",
    "defect_recall": "defective found",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "miss_rate": "escapes",
    "false_alarm_rate": "overkill",
}
"""Metric -> what tables print; a metric that is not here prints its own name."""

FOUR_DECIMALS = ("mae", "false_positive_area")
"""Numbers so small that three decimals would hide differences; the published protocol prints four of every metric."""

KIND_TITLES = {
    "zero_shot": "Zero-shot SAM (no ground truth)",
    "tuned": "Tuned SAM",
    "baseline": "Specialised networks trained here",
    "saved_maps": "Published maps, scored here",
    "ceiling": "Ceiling: mean of several methods' published maps, compared with nothing",
}
"""Kind of row -> title of its block, in the order of the blocks."""

DEFAULT_METRICS = {
    "pysod": ("s_measure", "weighted_f", "mae", "e_mean", "f_mean", "iou"),
    "published": ("s_measure", "weighted_f", "mae", "overlap_ratio", "pratt"),
}
"""Protocol -> columns of a report, as far as the rows have them; the first one decides which images and curves are shown.
Rows of another protocol show all that they have."""
SHOWN_IF_MEASURED = ("boundary_f",)
"""Metrics of their own columns in rows that have them, besides those of the protocol: they are computed only where named."""

PLAIN_NAMES = {
    "sd_saliency_900": "strip steel",
    "magnetic_tile": "magnetic tile",
    "rsdds": "rail",
    "nrsd_mn": "rail (NRSD-MN)",
    "procedural": "drawn surfaces",
}
"""Key of a public data set -> what sentences call it; a user's own data keep their label."""


def plain_name(dataset: str) -> str:
    """Return what sentences call a data set, with the options that make it another one.

    >>> plain_name("magnetic_tile (by tile)"), plain_name("rsdds"), plain_name("castings, line 2")
    ('magnetic tile (by tile)', 'rail', 'castings, line 2')
    """
    key, bracket, options = dataset.partition(" (")
    return PLAIN_NAMES.get(key, key) + bracket + options


def label(metric: str) -> str:
    """Return what tables print for a metric.

    >>> label("weighted_f"), label("my_metric")
    ('wF', 'my metric')
    """
    return LABELS.get(metric, metric.replace("_", " "))


def digits(metric: str, protocol: str = "") -> int:
    """Return the number of decimals to print."""
    return 4 if protocol == "published" or metric in FOUR_DECIMALS else 3


def number(value: float, metric: str, protocol: str = "") -> str:
    """Print a metric's value, a dash for none.

    >>> number(0.8649, "s_measure"), number(0.01234, "mae"), number(float("nan"), "mae")
    ('0.865', '0.0123', '–')
    """
    return "–" if not math.isfinite(value) else f"{value:.{digits(metric, protocol)}f}"


def value_of(row: ScoreRow, metric: str) -> str:
    """Print what a row has of a metric."""
    return number(row.metrics[metric], metric, row.protocol)


def signed(value: float, metric: str, protocol: str = "") -> str:
    """Print a difference with its sign, never as minus zero.

    >>> signed(0.34, "s_measure"), signed(-0.00001, "mae")
    ('+0.340', '0.0000')
    """
    text = f"{value:+.{digits(metric, protocol)}f}"
    return text if text.strip("+-0.") else text[1:]


def span(low: str, high: str) -> str:
    """Write an interval so that a minus sign is not taken for a dash.

    >>> span("19", "31"), span("-15", "-1")
    ('19–31', '-15 to -1')
    """
    return f"{low} to {high}" if "-" in low + high else f"{low}–{high}"
