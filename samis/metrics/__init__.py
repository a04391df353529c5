"""Metrics: exact against their references, scored image by image, summed up in any order.

``METRICS`` maps a metric's name to its class; ``PROTOCOLS`` lists the metrics of each protocol, and the protocol's
name also chooses the rules by which they are computed:

- ``pysod`` (default): PySODMetrics 1.6.2, per image to 1e-12 (weighted F 1e-9). By name also BER, specificity, accuracy, kappa
  (``rates``), ``context_measure``, ``human_correction_effort``, ``msiou`` and ``boundary_f``.
- ``published``: the MATLAB scripts behind the strip-steel papers' tables.
- ``inspection``: absolute thresholds on maps as they are, whole defects, clean images; for those who ship.

`samis.metrics.accumulate.ProtocolMetric` is the torchmetrics form. Saved files: ``python -m samis.metrics``.

    >>> import numpy as np
    >>> truth = np.zeros((8, 8), bool)
    >>> truth[2:5, 2:6] = True
    >>> scores = score_image((truth * 255).astype(np.uint8), truth)
    >>> scores.values["mae"], scores.values["iou"], summarise([scores])["f_max"]
    (0.0, 1.0, 1.0)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from samis.errors import UserError, did_you_mean
from samis.metrics.aupro import AUPRO
from samis.metrics.base import ImageMetric, ImageScores, score_pair
from samis.metrics.boundary_f import BoundaryF
from samis.metrics.clean import INSPECTED, Clean, CleanScore, Judged, inspect, judge, score_clean
from samis.metrics.context_measure import ContextMeasure
from samis.metrics.counted import THRESHOLDS
from samis.metrics.e_measure import EMeasure
from samis.metrics.f_measure import FMeasure
from samis.metrics.fixed_threshold import FixedThreshold
from samis.metrics.human_correction_effort import HumanCorrectionEffort
from samis.metrics.image_level import ImageLevel
from samis.metrics.iou import IoU
from samis.metrics.mae import MAE
from samis.metrics.msiou import MSIoU
from samis.metrics.objects import Objects
from samis.metrics.overlap_ratio import OverlapRatio
from samis.metrics.pair import FEW_LEVELS, Pair, quantise
from samis.metrics.pratt import Pratt
from samis.metrics.rates import Rates
from samis.metrics.s_measure import SMeasure
from samis.metrics.summary import ScoreStack, mean_curves, stack_scores, summarise, summarise_stack
from samis.metrics.truth import TruthCache, TruthFields
from samis.metrics.weighted_f import WeightedF

METRICS: dict[str, type[ImageMetric]] = {
    "mae": MAE,
    "f_measure": FMeasure,
    "weighted_f": WeightedF,
    "s_measure": SMeasure,
    "e_measure": EMeasure,
    "iou": IoU,
    "overlap_ratio": OverlapRatio,
    "pratt": Pratt,
    "fixed_threshold": FixedThreshold,
    "boundary_f": BoundaryF,
    "objects": Objects,
    "image_level": ImageLevel,
    "aupro": AUPRO,
    "clean": Clean,
    "rates": Rates,
    "context_measure": ContextMeasure,
    "human_correction_effort": HumanCorrectionEffort,
    "msiou": MSIoU,
}

PROTOCOLS: dict[str, tuple[str, ...]] = {
    "pysod": ("mae", "f_measure", "weighted_f", "s_measure", "e_measure", "iou", "overlap_ratio", "pratt"),
    "published": ("mae", "weighted_f", "s_measure", "overlap_ratio", "pratt", "iou"),
    "inspection": ("fixed_threshold", "boundary_f", "objects", "image_level", "aupro", "clean"),
}

OPTIONAL: dict[str, tuple[str, ...]] = {
    "pysod": ("rates", "context_measure", "human_correction_effort", "msiou", "boundary_f"),
}
"""Further metrics that a protocol has, computed only where they are named."""

SCORES_CLEAN = frozenset({"inspection"})
"""Protocols whose numbers need the defect-free images too; the others are not defined on them."""

CLEAN_NUMBERS = tuple(Clean.values)
"""Numbers of the defect-free images of a set, the same under every protocol; see `inspect`."""

DIRECTIONS: dict[str, int] = {
    number: direction
    for metric in METRICS.values()
    for number, direction in {**metric.values, **metric.finished}.items()
}
"""Each number's direction, of the metrics above: +1 higher is better, -1 lower is better; `directions_of` also knows those
that a caller has added to `METRICS`."""


def directions_of(numbers: Iterable[str]) -> dict[str, int]:
    """Return the directions of numbers, +1 higher is better, -1 lower, of metrics and of ``inspect``.

    A number that has none, such as a threshold, is left out.

    >>> directions_of(["mae", "defect_recall", "threshold"])
    {'mae': -1, 'defect_recall': 1}
    """
    known = {n: sign for metric in METRICS.values() for n, sign in {**metric.values, **metric.finished}.items()}
    known |= INSPECTED
    return {number: known[number] for number in numbers if number in known}


__all__ = [
    "CLEAN_NUMBERS",
    "DIRECTIONS",
    "FEW_LEVELS",
    "METRICS",
    "OPTIONAL",
    "PROTOCOLS",
    "SCORES_CLEAN",
    "THRESHOLDS",
    "CleanScore",
    "ImageMetric",
    "ImageScores",
    "Judged",
    "Pair",
    "ScoreStack",
    "TruthCache",
    "TruthFields",
    "directions_of",
    "find_metrics",
    "inspect",
    "judge",
    "mean_curves",
    "numbers_of",
    "numbers_on",
    "quantise",
    "score_clean",
    "score_image",
    "stack_scores",
    "summarise",
    "summarise_stack",
]


def find_metrics(metrics: Sequence[str] | None = None, protocol: str = "pysod") -> tuple[type[ImageMetric], ...]:
    """Look up metrics of a protocol.

    Args:
        metrics: names in `METRICS` or of their numbers (``f_max`` selects all of ``f_measure``); None: all of the
            protocol. Those of `OPTIONAL` too, which None leaves out.
        protocol: key of `PROTOCOLS`.

    Returns:
        The classes, each once, in the protocol's order.

    Raises:
        UserError: an unknown name, with the nearest known one.
    """
    if protocol not in PROTOCOLS:
        raise UserError(
            f"unknown protocol {protocol!r}; choose one of {', '.join(PROTOCOLS)}", code="E-METRIC-PROTOCOL"
        )
    own = PROTOCOLS[protocol]
    if metrics is None:
        return tuple(METRICS[name] for name in own)
    own = (*own, *OPTIONAL.get(protocol, ()))
    owners = {number: name for name in own for number in (*METRICS[name].values, *METRICS[name].finished, name)}
    for name in metrics:
        if name not in owners:
            raise UserError(
                f"unknown metric {name!r} of protocol {protocol!r}{did_you_mean(name, owners) or '; it has ' + ', '.join(owners)}",
                code="E-METRIC-NAME",
            )
    wanted = {owners[name] for name in metrics}
    return tuple(METRICS[name] for name in own if name in wanted)


def numbers_of(metrics: Sequence[str]) -> set[str]:
    """Return the numbers that a list of names selects.

    A number's name (``iou``, ``f_max``) selects itself; a metric whose name is no number (``f_measure``) for all of its own.

    >>> sorted(numbers_of(["iou", "f_measure"]))
    ['f_adaptive', 'f_max', 'f_mean', 'iou']
    """
    numbers: set[str] = set()
    for name in metrics:
        numbers |= {name} if directions_of([name]) else {*METRICS[name].values, *METRICS[name].finished}
    return numbers


def numbers_on(
    *, defective: bool, clean: bool, metrics: Sequence[str] | None = None, protocol: str = "pysod"
) -> set[str]:
    """Return the numbers that a set of images has, by the kinds of images in it.

    Args:
        defective: whether some have a defect.
        clean: whether some have none.
        metrics: as for `find_metrics`.
        protocol: as for `find_metrics`.

    >>> sorted(numbers_on(defective=False, clean=True)), len(numbers_on(defective=True, clean=False, metrics=["mae", "iou"]))
    (['false_positive_area', 'kept_clean'], 15)
    """
    truth = np.zeros((16, 16), bool)
    truth[4:8, 4:9] = True
    truths = [truth] * defective + [truth & False] * (clean and protocol in SCORES_CLEAN)
    scores = [score_image(each.astype(np.uint8) * 255, each, metrics, protocol) for each in truths]
    return {*(summarise(scores) if scores else ()), *(CLEAN_NUMBERS if clean else ())}


def score_image(
    map_u8: np.ndarray,
    truth: np.ndarray,
    metrics: Sequence[str] | None = None,
    protocol: str = "pysod",
    truth_fields: TruthFields | None = None,
    *,
    threshold: float = 0.5,
) -> ImageScores:
    """Score one map against its truth.

    Args:
        map_u8: (H, W) uint8; `quantise` makes one of floats.
        truth: (H, W) bool, or the file's raw uint8 values.
        metrics: names in `METRICS` or of their numbers; None: all of the protocol.
        protocol: key of `PROTOCOLS`.
        truth_fields: the truth's fields if kept from an earlier round (`TruthCache`); `truth` is then not read.
        threshold: absolute threshold of the ``inspection`` protocol, in [0, 1].

    Returns:
        ``values`` and ``curves`` of this image; the maxima (``f_max`` ...) exist only of a set, see `summarise`.

    Raises:
        UserError: map or truth of another type or size, or unknown names.
    """
    parts = find_metrics(metrics, protocol)
    fields = truth_fields if truth_fields is not None else TruthFields(truth)
    return score_pair(Pair(map_u8, fields, protocol=protocol, threshold=threshold), parts)
