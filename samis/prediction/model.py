"""What can predict: the best epoch of a run, or a zero-shot SAM, with its threshold."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from samis.config import Experiment
from samis.core.contracts import Segmenter
from samis.decision.of_run import RunDecisions
from samis.drift.fingerprint import Fingerprint

TOO_LARGE = 2.0
"""A view that shows more than this times the side of those in training is warned about."""
SAMS_OWN = 0.5
"""The threshold of SAM itself: where the logit is 0."""


@dataclass
class LoadedModel:
    """A model that can predict.

    Attributes:
        segmenter: of the best epoch, or zero-shot.
        config: whose frame and prompt it is used with.
        threshold: map value above which a pixel is a defect.
        threshold_from: where the threshold comes from.
        about: which model this is, for the records.
        tuned_px: longer side, px, of what one view showed in training, usually; None where it is not known.
        warnings: warnings given while photos were predicted.
        decisions: image thresholds and calibration of the run.
        fingerprint: of the photos it was tuned on; None where the run stored none.
    """

    segmenter: Segmenter
    config: Experiment
    threshold: float
    threshold_from: str
    about: dict[str, Any] = field(default_factory=dict)
    tuned_px: int | None = None
    warnings: list[str] = field(default_factory=list)
    decisions: RunDecisions = field(default_factory=RunDecisions)
    fingerprint: Fingerprint | None = None

    def scale_warning(self, hw: tuple[int, int], name: str) -> str | None:
        """Return what to warn about if a view of a photo of this size shows far more than one did in training, or None."""
        tile = self.config.frame.tile_px
        shown = min(max(hw), tile) if tile else max(hw)
        if self.tuned_px is None or shown <= TOO_LARGE * self.tuned_px:
            return None
        return (
            f"{name}: {hw[1]}x{hw[0]} px, {shown} px in one view, but the run was tuned on views of {self.tuned_px} px: small "
            f"defects vanish and wrong patches are marked; add frame.tile_px={self.tuned_px}"
        )


def tuned_side(photo_px: Any, config: Experiment) -> int | None:
    """Return the longer side that a view showed in training: of the photo, or of a tile of it."""
    sides = [photo_px, config.frame.tile_px]
    known = [int(side) for side in sides if isinstance(side, int) and side > 0]
    return min(known) if known else None
