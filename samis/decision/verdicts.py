"""What the verdicts of a labelled set come to: confusion matrix, escapes, overkill, AUROC and average precision.

An escape is a defective image with the verdict OK, overkill a clean image with the verdict defective. An image is
defective if its truth has a defect pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from samis.metrics.image_level import auroc, average_precision

DIRECTIONS = {"image_auroc": 1, "image_ap": 1, "miss_rate": -1, "false_alarm_rate": -1}
"""Numbers of a set's verdicts: +1 higher is better, -1 lower is better."""

Bootstrap = Callable[[Callable[[np.ndarray], dict[str, float]], int, int], dict[str, list[float]]]
"""``samis.evaluation.intervals.bootstrap``, which is handed in."""


@dataclass(frozen=True)
class ImageDecision:
    """One labelled image.

    Attributes:
        score: of the image by a rule, [0, 1].
        defective: whether its truth has a defect.
        class_name: kind of its defect.
    """

    score: float
    defective: bool
    class_name: str


def summarise_verdicts(
    decisions: Sequence[ImageDecision],
    *,
    rule: str,
    threshold: float,
    bootstrap: Bootstrap | None = None,
    resamples: int = 0,
) -> dict[str, Any]:
    """Return what a score row holds of its images' verdicts; {} without an image.

    Args:
        decisions: the images.
        rule: that gave the scores, key of ``IMAGE_RULES``.
        threshold: of the image; a score above it is called defective.
        bootstrap: resamples images; None leaves intervals out.
        resamples: how often; 0 leaves intervals out.

    Returns:
        ``rule``, ``threshold``, ``confusion`` (``caught`` and ``escaped`` defective images, ``passed`` and ``false_alarms``
        of the clean ones), ``miss_rate`` where there are defective images, ``false_alarm_rate`` where there are clean ones,
        ``image_auroc`` and ``image_ap`` where there are both, ``intervals`` of these (95 %, by the bootstrap; of a rate of 0 or 1
        Clopper and Pearson's), and ``per_class``: class name ->
        ``n_images``, ``caught``, ``escaped``, ``miss_rate`` and its ``interval`` of the defective images.

    >>> drawn = [ImageDecision(s, d, "hole") for s, d in ((0.9, True), (0.2, True), (0.6, False), (0.1, False))]
    >>> result = summarise_verdicts(drawn, rule="max", threshold=0.5)
    >>> result["confusion"], result["miss_rate"], result["image_auroc"]
    ({'caught': 1, 'escaped': 1, 'passed': 1, 'false_alarms': 1}, 0.5, 0.75)
    """
    if not decisions:
        return {}
    _, place = np.unique([each.score for each in decisions], return_inverse=True)
    called = np.array([each.score > threshold for each in decisions])
    defective = np.array([each.defective for each in decisions])
    classes = np.array([each.class_name if each.defective else "" for each in decisions])
    names = sorted({each.class_name for each in decisions if each.defective})

    def numbers(index: np.ndarray) -> dict[str, float]:
        rates = _numbers(place[index], called[index], defective[index])
        if len(names) > 1:
            for name in names:
                of_class = called[index][classes[index] == name]
                rates |= {f"class {name}": float(np.mean(~of_class))} if len(of_class) else {}
        return rates

    intervals = bootstrap(numbers, len(decisions), resamples) if bootstrap and resamples else {}
    result: dict[str, Any] = {"rule": rule, "threshold": threshold, "confusion": _confusion(called, defective)}
    result |= _numbers(place, called, defective)
    counts = {"miss_rate": int(defective.sum()), "false_alarm_rate": int((~defective).sum())}
    known = {name: intervals[name] for name in DIRECTIONS if name in intervals}
    result["intervals"] = {
        name: _interval(result[name], counts[name], bounds) if name in counts else bounds
        for name, bounds in known.items()
    }
    bounds_of = {name: intervals.get(f"class {name}" if len(names) > 1 else "miss_rate") for name in names}
    result["per_class"] = {name: _of_class(called[classes == name], bounds_of[name]) for name in names}
    return result


def _confusion(called: np.ndarray, defective: np.ndarray) -> dict[str, int]:
    """Return the counts of the four kinds of verdict."""
    return {
        "caught": int(np.count_nonzero(called & defective)),
        "escaped": int(np.count_nonzero(~called & defective)),
        "passed": int(np.count_nonzero(~called & ~defective)),
        "false_alarms": int(np.count_nonzero(called & ~defective)),
    }


def _of_class(called: np.ndarray, bounds: list[float] | None) -> dict[str, Any]:
    """Return the counts of one class's defective images, and their interval where there is one."""
    total, escaped = len(called), int(np.count_nonzero(~called))
    line = {"n_images": total, "caught": total - escaped, "escaped": escaped, "miss_rate": escaped / total}
    return line | ({"interval": _interval(line["miss_rate"], total, bounds)} if bounds else {})


def _interval(rate: float, count: int, bounds: list[float]) -> list[float]:
    """Return the interval of a rate: resampled, or where it is 0 or 1, of which every resample is the same, the exact one.

    The exact one is Clopper and Pearson's (Biometrika 1934): of 0 in 12 up to 1 - 0.025 ** (1 / 12).

    >>> [round(bound, 3) for bound in _interval(0.0, 12, [0.0, 0.0])]
    [0.0, 0.265]
    """
    if rate not in (0.0, 1.0):
        return bounds
    far = 1 - 0.025 ** (1 / count)
    return [0.0, far] if rate == 0 else [1 - far, 1.0]


def _numbers(place: np.ndarray, called: np.ndarray, defective: np.ndarray) -> dict[str, float]:
    """Return the numbers of ``DIRECTIONS`` that a set of images has, by the ranks of their scores and their verdicts."""
    rates: dict[str, float] = {}
    if defective.any() and not defective.all():
        bins = int(place.max()) + 1
        counts = [np.bincount(place[kind], minlength=bins) for kind in (defective, ~defective)]
        rates |= {"image_auroc": auroc(*counts), "image_ap": average_precision(*counts)}
    if defective.any():
        rates["miss_rate"] = float(np.mean(~called[defective]))
    if not defective.all():
        rates["false_alarm_rate"] = float(np.mean(called[~defective]))
    return rates
