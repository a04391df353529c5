"""What a run folder knows about decisions: chosen image thresholds, and the calibration that a promise needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from samis.config import Experiment
from samis.decision.calibration import FILE, Calibration, read_calibration
from samis.decision.image_rules import IMAGE_RULES
from samis.decision.image_search import chosen_image_threshold
from samis.errors import UserError


@dataclass
class RunDecisions:
    """What a model can decide with.

    Attributes:
        image_thresholds: rule -> image threshold chosen on validation, for the model's own threshold of the pixels.
        folder: of the run, which may hold a calibration; None of a zero-shot SAM.
        weights_sha256: of the run's weight files.
    """

    image_thresholds: dict[str, float] = field(default_factory=dict)
    folder: Path | None = None
    weights_sha256: str = ""

    @classmethod
    def of(cls, folder: Path, provenance: Mapping[str, Any], weights_sha256: str) -> RunDecisions:
        """Return what a run folder holds.

        Args:
            folder: of the run.
            provenance: its ``provenance.json``.
            weights_sha256: of its weight files, see ``samis.jobs.calibrate.best_digest``.
        """
        chosen = {rule: chosen_image_threshold(provenance, rule) for rule in IMAGE_RULES}
        return cls({rule: value for rule, value in chosen.items() if value is not None}, folder, weights_sha256)

    def calibration(self, config: Experiment, file: Path | None = None) -> Calibration:
        """Read the calibration of this model as it predicts now.

        Args:
            config: whose frame, prompt and test-time augmentation the model is used with.
            file: of a calibration; None takes the run folder's own.

        Raises:
            UserError: there is none, it is damaged, or it was made with other weights or settings.
        """
        path = Path(file) if file else (self.folder / FILE if self.folder else None)
        if path is None or (file is None and not path.is_file()):
            raise UserError(
                f"{self.folder or 'zero-shot SAM'}: expected calibration images for a promise, got none; run samis calibrate "
                f"{self.folder or 'RUN'} with labelled images that it has not seen, or train with data.calibration_share=0.5",
                code="E-DECIDE-NO-CALIBRATION",
            )
        result = read_calibration(path)
        if result.weights_sha256 != self.weights_sha256:
            raise UserError(
                f"{path}: expected the calibration of these weights ({self.weights_sha256[:12]}), got that of "
                f"{result.weights_sha256[:12]}; run samis calibrate again",
                code="E-DECIDE-SETTINGS",
            )
        now = model_settings(config)
        for key, value in result.settings.items():
            if value != now.get(key):
                raise UserError(
                    f"{path}: expected maps made as in calibration, got {key} {value} there and {now.get(key)} now; predict with "
                    "the run's own settings, or calibrate with these",
                    code="E-DECIDE-SETTINGS",
                )
        return result


def model_settings(config: Experiment) -> dict[str, Any]:
    """Return what besides the weights decides a map: frame, prompt, test-time augmentation."""
    return {"frame": asdict(config.frame), "prompt": asdict(config.prompt), "tta": config.segmenter.tta}
