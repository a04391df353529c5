"""How photos are predicted: threshold, smallest region, scale, batch, and the prompts that a person gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from samis.errors import UserError


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

    Raises:
        UserError: a number out of its range, or both a CSV and prompts for every photo.
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
        if self.prompts and (self.boxes or self.points):
            raise UserError(
                "prompts: expected a CSV, or boxes and points for every photo, got both; give one of them",
                code="E-PREDICT-PROMPTS-BOTH",
            )
