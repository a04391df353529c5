"""What a threshold costs on labelled images: defects missed and sound surface marked, at every level of a fixed grid.

``MISSED`` maps the name of a share to how one defective image's loss is computed. Each loss is in [0, 1] and never falls as the
threshold rises, which the promise of ``samis.decision.promise`` rests on.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from samis.errors import UserError

_FINE = 2.0 ** -np.arange(1, 9) / 256
LEVELS: np.ndarray = np.concatenate([[0.0], _FINE[::-1], np.arange(1, 256) / 256, 1 - _FINE])
"""Thresholds tried, rising: k / 256, and finer ones next to 0 and 1, where maps of a trained network have most of their values.
Each is exact in single precision, so that ``map > level`` is counted here as it is applied."""
COVERED = 0.1
"""A defect is found if at least this share of its pixels is above the threshold; an IoU would rise and fall with the threshold."""


def missed_pixels(bins: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the share of the image's defect pixels that are not above each level.

    Args:
        bins: (H, W) number of levels that each map value is above.
        truth: (H, W) bool with a defect.

    Returns:
        (levels,) in [0, 1].
    """
    return _not_above(bins[truth])


def missed_defects(bins: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the share of the image's defects (8-connected parts of the truth) that are not found at each level, see ``COVERED``.

    Args:
        bins: (H, W) number of levels that each map value is above.
        truth: (H, W) bool with a defect.

    Returns:
        (levels,) in [0, 1].
    """
    count, labels = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
    needed = []
    for number in range(1, count):
        part = np.sort(bins[labels == number])[::-1]
        needed.append(part[int(np.ceil(COVERED * len(part) - 1e-9)) - 1])  # found where so many pixels are above
    return _not_above(np.array(needed))


def missed_images(bins: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return whether no pixel of the image is above each level: the image would be called OK.

    Args:
        bins: (H, W) number of levels that each map value is above.
        truth: (H, W) bool, not used.

    Returns:
        (levels,) 0 or 1.
    """
    return _not_above(bins.max(keepdims=True).ravel())


MISSED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "pixels": missed_pixels,
    "defects": missed_defects,
    "images": missed_images,
}
"""What ``--miss-of`` may be: share of the defect pixels, of the defects, of the defective images."""
WORDS = {"pixels": "defect pixels", "defects": "defects", "images": "defective images"}


class RiskCurves:
    """Sums losses over labelled images, at every level.

    Attributes:
        defective: number of images with a defect. clean: number of images without.
    """

    def __init__(self) -> None:
        self.defective = self.clean = 0
        self._missed = {name: np.zeros(len(LEVELS)) for name in MISSED}
        self._alarms = np.zeros(len(LEVELS))
        self._marked, self._surfaces = np.zeros(len(LEVELS)), 0

    def add(self, values: np.ndarray, truth: np.ndarray) -> None:
        """Count one image.

        Args:
            values: (H, W) float32 map in [0, 1].
            truth: (H, W) bool.

        Raises:
            UserError: the map is not finite.
        """
        if not np.isfinite(values).all():
            raise UserError(
                "calibration map: expected finite numbers, got NaN or infinity; check the weights", code="E-DECIDE-MAP"
            )
        bins = np.searchsorted(LEVELS, values.astype(np.float32), side="left")
        if truth.any():
            self.defective += 1
            for name, loss in MISSED.items():
                self._missed[name] += loss(bins, truth)
        else:
            self.clean += 1
            self._alarms += 1 - missed_images(bins, truth)
        if not truth.all():
            self._marked += 1 - _not_above(bins[~truth])
            self._surfaces += 1

    def means(self) -> dict[str, list[float]]:
        """Return mean losses by level: ``missed_pixels``, ``missed_defects``, ``missed_images`` of the defective images,
        ``false_alarms`` of the clean ones (share called defective), ``marked`` (mean share of the sound surface above the level).

        What no image has is left out.
        """
        result: dict[str, list[float]] = {}
        if self.defective:
            result |= {f"missed_{name}": (total / self.defective).tolist() for name, total in self._missed.items()}
        if self.clean:
            result["false_alarms"] = (self._alarms / self.clean).tolist()
        if self._surfaces:
            result["marked"] = (self._marked / self._surfaces).tolist()
        return result


def _not_above(bins: np.ndarray) -> np.ndarray:
    """Return the share of some values that are not above each level, by how many levels each is above."""
    counts = np.bincount(bins, minlength=len(LEVELS) + 1)
    share: np.ndarray = np.cumsum(counts)[: len(LEVELS)] / len(bins)
    return share
