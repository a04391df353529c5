"""F-measure with beta^2 = 0.3, at the adaptive threshold and over all 256 thresholds.

Paper: Achanta et al., Frequency-tuned Salient Region Detection, CVPR 2009, doi 10.1109/CVPR.2009.5206596.
Agrees with: PySODMetrics 1.6.2 (``Fmeasure``, ``FmeasureV2``) to 1e-12 per image, curves included.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores, SetScores
from samis.metrics.counted import Counted, mean_of, number

BETA_SQUARED = 0.3


def f_measure(pair: Counted) -> tuple[float, np.ndarray]:
    """Compute (1 + beta^2) P R / (beta^2 P + R) at min(2 * mean, 1) and at each threshold.

    The map is min-max stretched; "at or above the threshold" is foreground. No true positive: 0.

    Empty mask: 0 everywhere, also for an empty map. Empty map: every pixel reaches the adaptive threshold 0, so the
    F-measure of "all foreground". Full mask: precision is 1, recall decides.

    Args:
        pair: map and truth.

    Returns:
        The adaptive value, and the (256,) curve in the order of `samis.metrics.THRESHOLDS`.

    Example:
        >>> from samis.metrics.pair import Pair
        >>> from samis.metrics.truth import TruthFields
        >>> perfect = np.array([[0, 255], [0, 0]], np.uint8)
        >>> f_measure(Pair(perfect, TruthFields(perfect)))[0]
        1.0
    """
    precision, recall = (ratio[..., :257] for ratio in pair.precision_recall)
    weighted = BETA_SQUARED * precision + recall
    score = (1 + BETA_SQUARED) * precision * recall / (weighted + (weighted == 0))
    return number(score[..., 256]), score[..., :256]


class FMeasure(ImageMetric):
    """``f_adaptive`` and ``f_mean``: means over images; ``f_max``: the maximum of the mean curve.

    The maximum of the mean curve is not the mean of the images' maxima, nor the F-measure of mean precision and recall.
    """

    stacks: ClassVar[bool] = True
    values: ClassVar[dict[str, int]] = {"f_adaptive": 1, "f_mean": 1}
    finished: ClassVar[dict[str, int]] = {"f_max": 1}
    curves: ClassVar[tuple[str, ...]] = ("f_measure",)

    @staticmethod
    def formula(pair: Counted) -> ImageScores:
        """Score one image, or a stack."""
        adaptive, curve = f_measure(pair)
        return ImageScores({"f_adaptive": adaptive, "f_mean": mean_of(curve)}, {"f_measure": curve})

    @staticmethod
    def finish(scores: SetScores) -> dict[str, float]:
        """Take the maximum of the mean curve."""
        return {"f_max": float(scores.curves["f_measure"].max())}
