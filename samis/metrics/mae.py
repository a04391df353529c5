"""Mean absolute error between a map and its truth, over all pixels of an image.

Paper: Perazzi et al., Saliency Filters, CVPR 2012, doi 10.1109/CVPR.2012.6247743.
Agrees with: PySODMetrics 1.6.2 (``pysod``) to 1e-12 per image; a pixel-by-pixel
transcription of the strip-steel papers' MATLAB script (``published``) to 1e-9.
"""

from __future__ import annotations

from typing import ClassVar

from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.counted import Counted, number
from samis.metrics.pair import Pair


def mae(pair: Counted) -> float:
    """Compute the mean of |map - truth|, with map and truth in [0, 1].

    ``pysod``: the map is min-max stretched unless constant, the truth is > 128. ``published``: the map, as value / 255,
    is stretched and rounded to 8 bits again (a constant map becomes 0), the truth is > 25 after the same treatment, so that an
    all-defect truth counts as empty, as the script has it.

    Empty mask: the stretched map's mean (published: a constant map scores 0). Empty map: the truth's share of the
    image. Full mask: 1 - mean (published: the mean). Both empty: 0.

    Args:
        pair: map and truth, or a stack of them.

    Returns:
        [0, 1], lower is better.

    Example:
        >>> import numpy as np
        >>> from samis.metrics.truth import TruthFields
        >>> mae(Pair(np.array([[0, 255], [0, 51]], np.uint8), TruthFields(np.array([[0, 1], [0, 0]], bool))))
        0.05
    """
    if pair.protocol == "published" and isinstance(pair, Pair):
        fields = pair.truth.fields("above_tenth_rounded")
        values = pair.restretched / 255
        by_truth = pair.counts(fields).sum(axis=0)
    else:
        values, by_truth = pair.stretched, pair.by_truth
    off, on = by_truth[..., 0, :], by_truth[..., 1, :]
    return number((off * values + on * (1 - values)).sum(axis=-1) / pair.size)


class MAE(ImageMetric):
    """Mean over images of `mae`."""

    stacks: ClassVar[bool] = True
    values: ClassVar[dict[str, int]] = {"mae": -1}

    @staticmethod
    def formula(pair: Counted) -> ImageScores:
        """Score one image, or a stack."""
        return ImageScores({"mae": mae(pair)})
