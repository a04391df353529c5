"""BER, specificity, overall accuracy and kappa, per image: binary at 0.5, adaptive, and over all 256 thresholds.

Agrees with: PySODMetrics 1.6.2 (``FmeasureV2`` with ``BERHandler``, ``SpecificityHandler``, ``OverallAccuracyHandler``,
``KappaHandler``) to 1e-12 per image. Its kappa takes (tn + fn)(tn + tp) for the background's share of the agreement by chance,
where Cohen (1960, doi 10.1177/001316446002000104) has (tn + fn)(tn + fp): ``kappa`` is PySODMetrics', ``cohen_kappa`` is
Cohen's. Optional: computed only where named.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.pair import Pair


def rates(pair: Pair) -> dict[str, np.ndarray]:
    """Compute the five rates of the stretched map; 0/0 = 0.

    BER is 1 minus the mean of recall and specificity. Kappa is the accuracy beyond what chance gives at the same shares.

    Empty mask: recall 0, so that BER is at least 0.5. Full mask: specificity 0, so that BER is at least 0.5. Empty map: BER
    0.5, specificity 1 and Cohen's kappa 0 at the binary threshold, unless the mask is empty or full.

    Args:
        pair: map and truth.

    Returns:
        ``ber``, ``specificity``, ``accuracy``, ``kappa``, ``cohen_kappa``: (258,) each; 256 thresholds in the order of
        `samis.metrics.THRESHOLDS`, then adaptive, then above 0.5.

    Example:
        >>> from samis.metrics.truth import TruthFields
        >>> half = Pair(np.array([[255, 255], [0, 0]], np.uint8), TruthFields(np.array([[1, 0], [0, 0]], bool)))
        >>> [round(float(rates(half)[name][257]), 3) for name in ("ber", "specificity", "accuracy", "cohen_kappa")]
        [0.167, 0.667, 0.75, 0.5]
    """
    hit, false = pair.hits
    size, area = pair.fields.size, pair.fields.area
    missed, left = area - hit, size - area - false
    recall, specificity = hit / max(area, 1), left / max(size - area, 1)
    accuracy = (hit + left) / size
    return {
        "ber": 1 - 0.5 * (recall + specificity),
        "specificity": specificity,
        "accuracy": accuracy,
        "kappa": _beyond_chance(accuracy, ((hit + false) * area + (missed + left) * (left + hit)) / size**2),
        "cohen_kappa": _beyond_chance(accuracy, ((hit + false) * area + (missed + left) * (size - area)) / size**2),
    }


def _beyond_chance(accuracy: np.ndarray, chance: np.ndarray) -> np.ndarray:
    left = 1 - chance
    return np.divide(accuracy - chance, left, out=np.zeros_like(left), where=left != 0)


class Rates(ImageMetric):
    """The five rates: plain (above 0.5), ``_adaptive`` and ``_mean``, all means over images."""

    values: ClassVar[dict[str, int]] = {
        f"{name}{kind}": -1 if name == "ber" else 1
        for name in ("ber", "specificity", "accuracy", "kappa", "cohen_kappa")
        for kind in ("", "_adaptive", "_mean")
    }
    curves: ClassVar[tuple[str, ...]] = ("ber", "specificity", "accuracy", "kappa", "cohen_kappa")

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        scores = ImageScores()
        for name, score in rates(pair).items():
            scores.values |= {
                name: float(score[257]),
                f"{name}_adaptive": float(score[256]),
                f"{name}_mean": float(score[:256].mean()),
            }
            scores.curves[name] = score[:256]
        return scores
