"""A run's calibration: mean losses at every threshold, on labelled images that had no part in its training.

It is a JSON file, ``calibration.json`` in the run folder, and says which weights, frame and images it was made with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from samis.core.files import write_atomic
from samis.decision.risks import LEVELS, RiskCurves
from samis.errors import UserError

FILE = "calibration.json"
_VERSION = 1


@dataclass
class Calibration:
    """Mean losses of a model on calibration images.

    Attributes:
        defective: number of calibration images with a defect.
        clean: number of calibration images without.
        curves: name -> (levels,) mean loss at ``samis.decision.risks.LEVELS``, as ``RiskCurves.means`` returns.
        data: what rows call the data set.
        split: that the images are of.
        created: date, ``YYYY-MM-DD``.
        weights_sha256: of the model's weight files.
        settings: frame, prompt and test-time augmentation the maps were made with.
        data_fingerprint: of the calibration images.
        ids: of the calibration images.
    """

    defective: int
    clean: int
    curves: dict[str, list[float]]
    data: str = ""
    split: str = ""
    created: str = ""
    weights_sha256: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    data_fingerprint: str = ""
    ids: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, risks: RiskCurves, **about: Any) -> Calibration:
        """Return the calibration of the images that were counted.

        Args:
            risks: of them.
            about: further fields.
        """
        return cls(risks.defective, risks.clean, risks.means(), **about)

    @property
    def images(self) -> str:
        """The calibration images in words, with split and date."""
        return f"{self.defective} defective and {self.clean} clean images of {self.data} ({self.split}), {self.created}"

    def curve(self, name: str) -> np.ndarray:
        """Return a mean loss at each level."""
        return np.array(self.curves[name])

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        content = {"version": _VERSION, **asdict(self), "levels": LEVELS.tolist()}
        write_atomic(path, json.dumps(content, allow_nan=False) + "\n")


def read_calibration(path: Path) -> Calibration:
    """Read a calibration.

    Args:
        path: the file.

    Raises:
        UserError: the file is missing, damaged, or of another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: expected a calibration in JSON, but {error}; write it again with samis calibrate",
            code="E-DECIDE-FILE",
        ) from error
    if not _is_whole(content):
        raise UserError(
            f"{path}: expected a calibration of this version, got something else; write it again with samis calibrate",
            code="E-DECIDE-FILE",
        )
    return Calibration(**{key: content[key] for key in Calibration.__dataclass_fields__})


def _is_whole(content: Any) -> bool:
    """Return whether a JSON content is a calibration: its keys, levels, and curves that rise or fall in [0, 1]."""
    keys = {"version", "levels", *Calibration.__dataclass_fields__}
    if not isinstance(content, Mapping) or set(content) != keys or content["version"] != _VERSION:
        return False
    counts = (content["defective"], content["clean"])
    if content["levels"] != LEVELS.tolist() or not all(isinstance(n, int) and n >= 0 for n in counts):
        return False
    curves = content["curves"]
    wanted = {"missed_pixels", "missed_defects", "missed_images"} if counts[0] else set()
    wanted |= {"false_alarms"} if counts[1] else set()
    if not isinstance(curves, Mapping) or not wanted <= set(curves):
        return False
    return all(_is_curve(values, rising=name.startswith("missed")) for name, values in curves.items())


def _is_curve(values: Any, *, rising: bool) -> bool:
    try:
        curve = np.array(values, dtype=float)
    except (TypeError, ValueError):
        return False
    steps = np.diff(curve) if rising else -np.diff(curve)
    return bool(curve.shape == LEVELS.shape and np.all((curve >= 0) & (curve <= 1)) and np.all(steps >= -1e-9))
