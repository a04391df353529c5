"""How metrics and kinds of rows are called, which way is better, and how many digits are printed."""

from __future__ import annotations

import math

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
    "false_positive_area": "false-positive area",
    "kept_clean": "clean kept clean",
    "defect_recall": "defective found",
    "image_auroc": "image AUROC",
}
"""Metric -> what tables print; a metric that is not here prints its own name."""

LOWER_IS_BETTER = ("mae", "ber", "false_")
"""How the names of errors begin: MAE, balanced error rate, false-positive area, false alarms."""

KIND_TITLES = {
    "zero_shot": "Zero-shot SAM (no ground truth)",
    "tuned": "Tuned SAM",
    "baseline": "Specialised networks trained here",
    "saved_maps": "Published maps, scored here",
}
"""Kind of row -> title of its block, in the order of the blocks."""

DEFAULT_METRICS = ("s_measure", "weighted_f", "mae", "e_mean", "f_mean", "iou")
"""Columns of a report, as far as the rows have them; the first one decides which images and curves are shown."""


def label(metric: str) -> str:
    """Return what tables print for a metric.

    >>> label("weighted_f"), label("my_metric")
    ('wF', 'my metric')
    """
    return LABELS.get(metric, metric.replace("_", " "))


def higher_is_better(metric: str) -> bool:
    """Tell whether more is better.

    >>> higher_is_better("s_measure"), higher_is_better("mae"), higher_is_better("ber_max")
    (True, False, False)
    """
    return not metric.startswith(LOWER_IS_BETTER)


def digits(metric: str) -> int:
    """Return the number of decimals to print; errors are small and get one more."""
    return 3 if higher_is_better(metric) else 4


def number(value: float, metric: str) -> str:
    """Print a metric's value, a dash for none.

    >>> number(0.8649, "s_measure"), number(0.01234, "mae"), number(float("nan"), "mae")
    ('0.865', '0.0123', '–')
    """
    return "–" if not math.isfinite(value) else f"{value:.{digits(metric)}f}"


def signed(value: float, metric: str) -> str:
    """Print a difference with its sign, never as minus zero.

    >>> signed(0.34, "s_measure"), signed(-0.00001, "mae")
    ('+0.340', '0.0000')
    """
    text = f"{value:+.{digits(metric)}f}"
    return text if text.strip("+-0.") else text[1:]


def span(low: str, high: str) -> str:
    """Write an interval so that a minus sign is not taken for a dash.

    >>> span("19", "31"), span("-15", "-1")
    ('19–31', '-15 to -1')
    """
    return f"{low} to {high}" if "-" in low + high else f"{low}–{high}"
