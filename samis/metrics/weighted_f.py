"""Weighted F-measure, beta^2 = 1: errors count more far from the defect and less next to it.

Paper: Margolin et al., How to Evaluate Foreground Maps?, CVPR 2014, doi 10.1109/CVPR.2014.39.
Agrees with: PySODMetrics 1.6.2 (``WeightedFmeasure``) to 1e-9 per image (``pysod``), nearest-pixel ties included; a
pixel-by-pixel transcription of the strip-steel papers' MATLAB script (``published``) to 1e-9. MATLAB's own choice among
equally near pixels may differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import cv2
import numpy as np

from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.counted import EPS
from samis.metrics.pair import Pair
from samis.metrics.truth import MaskFields

if TYPE_CHECKING:
    from torch import Tensor

_OFFSETS = np.arange(-3, 4)
_BLUR = np.exp(-(_OFFSETS**2) / (2 * 5.0**2))
_BLUR = _BLUR / _BLUR.sum()


def weighted_f(pair: Pair) -> float:
    """Compute the weighted F-measure of one image.

    The error is |map - truth|. Each background pixel takes the error of its nearest defect pixel, the field is
    blurred (7 x 7 Gaussian, sigma 5, zeros outside the image), and inside the defect the smaller of blurred and own
    error counts. Off the defect the own error counts, weighted 2 - 0.5^(d/5) at d px from it.

    ``pysod``: truth > 128. ``published``: truth > 0.1 once min-max stretched, a constant map becomes 0.

    Empty mask: 0 (published: 1), whatever the map. Empty map: 0 but for rounding. Full mask: computed like any other,
    and an empty map scores above 0 there because zeros outside the image are blurred in (published: 1, since
    stretching empties the mask).

    Args:
        pair: map and truth.

    Returns:
        [0, 1], higher is better.

    Example:
        >>> from samis.metrics.truth import TruthFields
        >>> perfect = np.array([[0, 255], [0, 0]], np.uint8)
        >>> round(weighted_f(Pair(perfect, TruthFields(perfect))), 12)
        1.0
    """
    published = pair.protocol == "published"
    fields = pair.truth.fields("above_tenth") if published else pair.fields
    if fields.area == 0:
        return 1.0 if published else 0.0
    low, high = pair.low_high
    values = np.zeros(len(pair.levels)) if published and low == high else pair.stretched
    missed, false = weighted_errors(pair, fields, values)
    hit = fields.area - missed
    recall = 1 - missed / fields.area
    precision = hit / (hit + false + EPS)
    return 2 * recall * precision / (recall + precision + EPS)


def weighted_errors(pair: Pair, fields: MaskFields, values: np.ndarray) -> tuple[float, float]:
    """Sum the weighted errors on and off the defect.

    Args:
        pair: the map, in memory or on a device.
        fields: the truth, with at least one pixel.
        values: (K,) float64, the value of each of the map's levels.

    Returns:
        The sums over defect and over background pixels.
    """
    if pair.tensor is not None:
        return _weighted_errors_on_device(pair.tensor, fields, values)
    surround = fields.surround
    image = _values_of(pair.index, values)
    false = float(np.dot(image.ravel(), surround.weights.ravel()))
    error = 1 - image[surround.window]
    flat = error.reshape(-1)
    flat[surround.near] = flat[surround.nearest]  # pixels further out are not read
    blurred = cv2.sepFilter2D(error, cv2.CV_64F, _BLUR, _BLUR, borderType=cv2.BORDER_CONSTANT)
    missed = float(np.minimum(flat.take(surround.inside), blurred.reshape(-1).take(surround.inside)).sum())
    return missed, false


def _values_of(index: np.ndarray, values: np.ndarray) -> np.ndarray:
    looked_up: np.ndarray = cv2.LUT(index, values) if index.dtype == np.uint8 else values[index]
    return looked_up


def _weighted_errors_on_device(image: Tensor, fields: MaskFields, values: np.ndarray) -> tuple[float, float]:
    import torch

    surround = fields.surround
    device = image.device
    weights = fields.kept_on(device, "weights", lambda: surround.weights)
    near = fields.kept_on(device, "near", lambda: surround.near)
    nearest = fields.kept_on(device, "nearest", lambda: surround.nearest)
    inside = fields.kept_on(device, "inside", lambda: fields.mask[surround.window])
    table = torch.from_numpy(values).to(device)
    false = (table[image.long()] * weights).sum()
    error = 1 - table[image[surround.window].long()]
    error.view(-1)[near] = error.view(-1)[nearest]  # pixels further out are not read
    blur = torch.from_numpy(_BLUR).to(device)
    field = torch.nn.functional.conv2d(error[None, None], blur.view(1, 1, 7, 1), padding=(3, 0))
    blurred = torch.nn.functional.conv2d(field, blur.view(1, 1, 1, 7), padding=(0, 3))[0, 0]
    missed = (torch.minimum(error, blurred) * inside).sum()
    both = torch.stack([missed, false]).tolist()
    return both[0], both[1]


class WeightedF(ImageMetric):
    """Mean over images of `weighted_f`."""

    values: ClassVar[dict[str, int]] = {"weighted_f": 1}

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        return ImageScores({"weighted_f": weighted_f(pair)})
