"""Pratt's figure of merit (PFOM) as the strip-steel papers compute it: how near the map's outlines are to the truth's.

Paper: Abdou and Pratt, Quantitative Design and Evaluation of Enhancement/Thresholding Edge Detectors, Proc. IEEE 67(5),
1979, doi 10.1109/PROC.1979.11325.
Agrees with: a pixel-by-pixel transcription of the papers' MATLAB script to 1e-9. The same under ``pysod``, since
PySODMetrics has no such metric.
Differs: from the classic definition as the script does; it sums over the truth's edge pixels (classic: the detected
ones) with the chessboard distance (Euclidean) and 0.1 (1/9).
"""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np

from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.pair import Pair
from samis.metrics.truth import gradient_edges

SCALE = 0.1


def pratt(pair: Pair) -> float:
    """Compute the sum over truth edge pixels of 1 / (1 + 0.1 d^2), over the larger of the two numbers of edge pixels.

    Map and truth are > 128, the map as it is, not stretched. An edge is where the central difference is not zero: a
    band two pixels wide; a line one pixel wide has a hole in it. d is the chessboard distance in px to the nearest
    detected edge pixel. An inverted map scores 1.

    Empty mask and full mask have no edge: 0 (the script stops, or counts 0). Map without an edge, empty for one: d is
    the distance to the farthest side of the image, a score near 0 (0.004 at 61 x 83).

    Args:
        pair: map and truth.

    Returns:
        [0, 1], higher is better.

    Example:
        >>> from samis.metrics.truth import TruthFields
        >>> perfect = np.array([[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 0]], np.uint8)
        >>> pratt(Pair(perfect, TruthFields(perfect)))
        1.0
    """
    rows, cols = pair.fields.edge_places
    if len(rows) == 0:
        return 0.0
    edges = gradient_edges(pair.above_128)
    detected = int(np.count_nonzero(edges))
    if detected:
        # A chessboard path need not leave the box around both its ends.
        x, y, width, height = cv2.boundingRect(edges.view(np.uint8))
        left, top, right, bottom = pair.fields.edge_box
        left, top, right, bottom = min(left, x), min(top, y), max(right, x + width), max(bottom, y + height)
        undetected = (~edges[top:bottom, left:right]).view(np.uint8)
        distance = cv2.distanceTransform(undetected, cv2.DIST_C, 3)[rows - top, cols - left].astype(np.float64)
    else:
        height, width = pair.fields.hw
        sides = np.stack([rows, height - 1 - rows, cols, width - 1 - cols])
        distance = sides.max(axis=0).astype(np.float64)
    return float((1 / (1 + SCALE * distance**2)).sum()) / max(len(rows), detected)


class Pratt(ImageMetric):
    """Mean over images of `pratt`."""

    values: ClassVar[dict[str, int]] = {"pratt": 1}

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        return ImageScores({"pratt": pratt(pair)})
