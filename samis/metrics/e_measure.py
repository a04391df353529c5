"""E-measure (enhanced alignment), at the adaptive threshold and over all 256 thresholds.

Paper: Fan et al., Enhanced-alignment Measure for Binary Foreground Map Evaluation, IJCAI 2018,
doi 10.24963/ijcai.2018/97.
Agrees with: PySODMetrics 1.6.2 (``Emeasure``) to 1e-12 per image, curve included.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores, SetScores
from samis.metrics.counted import EPS, Counted, mean_of, number


def e_measure(pair: Counted) -> tuple[float, np.ndarray]:
    """Compute the mean over pixels of (a + 1)^2 / 4, where a = 2xy / (x^2 + y^2).

    x and y are the binary map and the truth less their means; a takes four values only, one each for true and false
    positives and negatives. The sum is divided by N - 1 (by 1 where there is
    one pixel; the reference divides by 2e-16), so a perfect map scores slightly above 1 (1.000025 at 200 x
    200). Threshold 0, where everything is foreground, is part of the curve: the mean of a perfect map's curve is below
    1.

    Empty mask: share of predicted background. Full mask: share of predicted foreground. Empty map: every pixel reaches
    the adaptive threshold 0; on an empty mask that is 0, the worst score for the ideal answer, so clean
    images have a rule of their own (`samis.metrics.clean`). All three shares are over N - 1.

    Args:
        pair: map and truth.

    Returns:
        The adaptive value, and the (256,) curve in the order of `samis.metrics.THRESHOLDS`.

    Example:
        >>> from samis.metrics.pair import Pair
        >>> from samis.metrics.truth import TruthFields
        >>> perfect = np.array([[0, 255], [0, 0]], np.uint8)
        >>> round(e_measure(Pair(perfect, TruthFields(perfect)))[0], 6)
        1.333333
    """
    hit, false = (hits[..., :257] for hits in pair.hits)
    size, area = pair.size[..., None], pair.area[..., None]
    positive = hit + false
    missed = area - hit
    map_mean, truth_mean = positive / size, area / size
    x, y = np.stack([1 - map_mean, -map_mean])[:, None], np.stack([1 - truth_mean, -truth_mean])[None]
    aligned = 2 * (x * y) / (x * x + y * y + EPS)
    aligned += 1
    aligned *= aligned
    aligned /= 4
    total = (aligned.reshape(4, *hit.shape) * (hit, false, missed, size - positive - missed)).sum(axis=0)
    total = np.where(area == 0, size - positive, np.where(area == size, positive, total))
    score = total / np.where(size > 1, size - 1 + EPS, 1)
    return number(score[..., 256]), score[..., :256]


class EMeasure(ImageMetric):
    """``e_adaptive`` and ``e_mean``: means over images; ``e_max``: the maximum of the mean curve."""

    stacks: ClassVar[bool] = True
    values: ClassVar[dict[str, int]] = {"e_adaptive": 1, "e_mean": 1}
    finished: ClassVar[dict[str, int]] = {"e_max": 1}
    curves: ClassVar[tuple[str, ...]] = ("e_measure",)

    @staticmethod
    def formula(pair: Counted) -> ImageScores:
        """Score one image, or a stack."""
        adaptive, curve = e_measure(pair)
        return ImageScores({"e_adaptive": adaptive, "e_mean": mean_of(curve)}, {"e_measure": curve})

    @staticmethod
    def finish(scores: SetScores) -> dict[str, float]:
        """Take the maximum of the mean curve."""
        return {"e_max": float(scores.curves["e_measure"].max())}
