"""Human correction effort: about how many clicks it takes to turn a map's mask into the truth.

Paper: Qin et al., Highly Accurate Dichotomous Image Segmentation, ECCV 2022, section 4.
Agrees with: PySODMetrics 1.6.2 (``HumanCorrectionEffortMeasure``, relax 5, epsilon 2), equal per image.
Optional: computed only where named.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import cv2
import numpy as np

from samis.errors import UserError
from samis.metrics.base import ImageMetric, ImageScores
from samis.metrics.pair import Pair

RELAX = 5
"""How far from an outline, px, a wrong pixel counts as right."""
EPSILON = 2.0
"""Tolerance of the polygons that correct a region, px."""
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def correction_effort(detected: np.ndarray, truth: np.ndarray) -> int:
    """Count the clicks: control points of the polygons about wrong regions, and one for each region that is wrong as a whole.

    Empty mask: one click for each detected region. Empty map: the clicks for the truth.

    Args:
        detected: (H, W) bool.
        truth: (H, W) bool.

    Returns:
        A count, lower is better.

    Raises:
        UserError: scikit-image is not installed.
    """
    skeleton = _skeleton(truth)
    hit, false, missed = detected & truth, detected & ~truth, truth & ~detected
    core = cv2.erode((detected | truth).view(np.uint8), CROSS, iterations=RELAX).astype(bool)
    false = false & _regrown(false & core, within=~truth)
    missed = (missed & _regrown(missed & core, within=~detected)) | (skeleton & ~hit)
    wrong = [(false, hit | missed), (missed, ~(hit | false | missed))]
    return sum(_clicks(region, neighbour) for region, neighbour in wrong)


def _skeleton(mask: np.ndarray) -> np.ndarray:
    try:
        from skimage.morphology import skeletonize
    except ImportError as error:
        raise UserError(
            "human_correction_effort: scikit-image is missing; pip install scikit-image, or leave the metric out",
            code="E-METRIC-PACKAGE",
        ) from error
    return np.asarray(skeletonize(mask), dtype=bool)


def _regrown(seed: np.ndarray, *, within: np.ndarray) -> np.ndarray:
    """Grow the rest of a region back by `RELAX` px."""
    for _ in range(RELAX):
        seed = cv2.dilate(seed.view(np.uint8), CROSS).astype(bool) & within
    return seed


def _clicks(region: np.ndarray, neighbour: np.ndarray) -> int:
    """Count the control points of the outlines that touch `neighbour`, and the regions of which no outline does."""
    outlines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    touching = cv2.dilate(neighbour.astype(np.uint8), CROSS).astype(bool)
    count, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    alone = np.ones(count, dtype=bool)
    alone[0] = False
    points, seen = 0, np.zeros(region.shape, dtype=bool)
    for contour in outlines:
        pieces = list(_pieces(contour[:, 0], touching, seen))
        for piece in pieces:
            alone[[labels[y, x] for x, y in piece]] = False
        if len(pieces) > 1 and _adjacent(pieces[0][0], pieces[-1][-1]):  # the outline's end meets its beginning
            pieces[-1] += pieces.pop(0)[::-1]
        points += sum(len(cv2.approxPolyDP(np.array(piece)[:, None], EPSILON, False)) for piece in pieces)
    return points + int(alone.sum())


def _pieces(contour: Any, touching: np.ndarray, seen: np.ndarray) -> Iterator[list[tuple[int, int]]]:
    """Yield the runs of an outline's points (x, y) that touch and were not seen before; marks them as seen."""
    piece: list[tuple[int, int]] = []
    for x, y in contour.tolist():
        if touching[y, x] and not seen[y, x]:
            seen[y, x] = True
            piece.append((x, y))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _adjacent(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) == 1


class HumanCorrectionEffort(ImageMetric):
    """Mean over images of `correction_effort`, of the stretched map above 0.5."""

    values: ClassVar[dict[str, int]] = {"human_correction_effort": -1}

    @staticmethod
    def formula(pair: Pair) -> ImageScores:
        """Score one image."""
        detected = (pair.stretched > 0.5)[pair.index]
        return ImageScores({"human_correction_effort": float(correction_effort(detected, pair.fields.mask))})
