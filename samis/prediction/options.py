"""How photos are predicted: threshold, smallest region, scale, batch, and the prompts that a person gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from samis.decision.image_rules import IMAGE_RULES
from samis.decision.promise import Promise
from samis.errors import UserError, did_you_mean


@dataclass
class Options:
    """How photos are predicted.

    Args:
        threshold: map value above which a pixel is a defect, in [0, 1); None takes the model's.
        min_area_px: smaller regions are dropped, from the masks too.
        mm_per_px: scale of the photos, mm, for the table of regions; None leaves its millimetres empty.
        batch_size: views (photos or tiles) that go through the network together.
        workers: threads that read photos.
        white: value that is white in photos of more than 8 bits; see ``read_photo``.
        redo: predict again what the folder holds already.
        boxes: (x0, y0, x1, y1) each, file pixels; prompts for every photo.
        points: (x, y) or (x, y, label) each, file pixels; prompts for every photo.
        prompts: CSV of prompts for single photos; see ``read_prompts``.
        image_rule: how a photo is scored for its verdict, key of ``samis.decision.image_rules.IMAGE_RULES``; None takes the
            config's.
        image_threshold: score above which a photo is defective, in [0, 1); None follows from the threshold of the pixels.
        miss_at_most: promise: mean share of what is missed on defective photos, in (0, 1).
        miss_of: what that share is of, key of ``samis.decision.risks.MISSED``.
        false_alarms_at_most: promise: share of the clean photos called defective, in (0, 1).
        calibration: file of samis calibrate; None takes the one in the run folder.

    Raises:
        UserError: a number out of its range, an unknown rule, or both a CSV and prompts for every photo.
    """

    threshold: float | None = None
    min_area_px: int = 0
    mm_per_px: float | None = None
    batch_size: int = 8
    workers: int = 4
    white: float | None = None
    redo: bool = False
    boxes: list[Sequence[float]] = field(default_factory=list)
    points: list[Sequence[float]] = field(default_factory=list)
    prompts: Path | None = None
    image_rule: str | None = None
    image_threshold: float | None = None
    miss_at_most: float | None = None
    miss_of: str = "pixels"
    false_alarms_at_most: float | None = None
    calibration: Path | None = None

    def __post_init__(self) -> None:
        checks = [
            ("threshold", self.threshold is None or 0 <= self.threshold < 1, "a number in [0, 1)"),
            ("min_area", self.min_area_px >= 0, "0 or more pixels"),
            ("mm_per_px", self.mm_per_px is None or 1e-9 <= self.mm_per_px <= 1e6, "a length from 1e-9 to 1e6 mm"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("workers", self.workers >= 1, "at least 1"),
            ("white", self.white is None or (self.white > 0 and np.isfinite(self.white)), "a value above 0"),
        ]
        for name, good, wanted in checks:
            if not good:
                value = getattr(self, name, self.min_area_px)
                raise UserError(f"{name}: expected {wanted}, got {value}", code="E-PREDICT-OPTION")
        if self.image_rule is not None and self.image_rule not in IMAGE_RULES:
            raise UserError(
                f"image_rule: expected one of {', '.join(IMAGE_RULES)}, got {self.image_rule!r}"
                f"{did_you_mean(self.image_rule, IMAGE_RULES)}",
                code="E-DECIDE-RULE",
            )
        if self.image_threshold is not None and not 0 <= self.image_threshold < 1:
            raise UserError(
                f"image_threshold: expected a number at least 0 and below 1, got {self.image_threshold}",
                code="E-DECIDE-IMAGE-THRESHOLD",
            )
        self.promise = Promise(self.miss_at_most, self.miss_of, self.false_alarms_at_most)
        needs_promise = {
            "--miss-of": (self.miss_of != "pixels" and self.miss_at_most is None, "--miss-at-most"),
            "--calibration": (self.calibration and not self.promise, "--miss-at-most or --false-alarms-at-most"),
        }
        for name, (alone, missing) in needs_promise.items():
            if alone:
                raise UserError(
                    f"{name}: expected a promise with it, got none; add {missing}, or leave out {name}",
                    code="E-DECIDE-OPTIONS",
                )
        if self.prompts and (self.boxes or self.points):
            raise UserError(
                "prompts: expected a CSV, or boxes and points for every photo, got both; give one of them",
                code="E-PREDICT-PROMPTS-BOTH",
            )
