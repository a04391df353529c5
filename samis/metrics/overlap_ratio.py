"""Overlap ratio: IoU at twice the map's mean, the OR of the strip-steel papers.

Agrees with: PySODMetrics 1.6.2 (adaptive IoU) to 1e-12 per image (``pysod``); a pixel-by-pixel
transcription of the papers' MATLAB script (``published``) to 1e-9.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.counted import Counted, number
from samis.metrics.pair import Pair


def overlap_ratio(pair: Counted) -> float:
    """Compute intersection over union of the truth and the map at or above twice its mean.

    ``pysod``: stretched map, the threshold is at most 1, truth > 128. ``published``: the map stretched and rounded to 8
    bits again, the threshold is not capped: where the mean is above half, nothing is foreground and the ratio is 0;
    truth > 25 after the same treatment.

    Empty mask: 0. Empty or constant map: its threshold is 0, all is foreground, the truth's share of the image
    (``pysod``: a constant map other than 0 stays below its threshold, 0). Full mask: share of the image detected
    (published: 0).

    Args:
        pair: map and truth.

    Returns:
        [0, 1], higher is better.

    Example:
        >>> from samis.metrics.truth import TruthFields
        >>> truth = TruthFields(np.array([[1, 0], [0, 0]], bool))
        >>> overlap_ratio(Pair(np.array([[255, 120], [0, 0]], np.uint8), truth, protocol="published"))
        1.0
    """
    if pair.protocol != "published" or not isinstance(pair, Pair):
        hit, wrong = (hits[..., 256] for hits in pair.hits)
        return number(hit / np.maximum(pair.area + wrong, 1))
    fields = pair.truth.fields("above_tenth_rounded")
    off, on = pair.counts(fields).sum(axis=0)
    values = pair.restretched
    above = values >= 2 * float((off + on) @ values) / fields.size
    inside, outside = float(on[above].sum()), float(off[above].sum())
    return inside / (fields.area + outside) if inside else 0.0


class OverlapRatio(ImageMetric):
    """Mean over images of `overlap_ratio`."""

    stacks: ClassVar[bool] = True
    values: ClassVar[dict[str, int]] = {"overlap_ratio": 1}

    @staticmethod
    def formula(pair: Counted) -> ImageScores:
        """Score one image, or a stack."""
        return ImageScores({"overlap_ratio": overlap_ratio(pair)})
