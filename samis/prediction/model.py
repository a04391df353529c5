"""What can predict: the best epoch of a run, or a zero-shot SAM, with its threshold."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samis.config import ConfigError, Experiment, load_config
from samis.core.contracts import Segmenter
from samis.core.files import file_sha256
from samis.core.shipped import find_run
from samis.factory import build_segmenter, load_run

OF_A_RUN = ("frame.tile_px", "frame.overlap", "segmenter.tta")
"""Keys that may differ from a run's own config; all else is part of what was learnt."""
TOO_LARGE = 2.0
"""A view that shows more than this times the side of those in training is warned about."""
SAMS_OWN = 0.5
"""The threshold of SAM itself: where the logit is 0."""


@dataclass
class Loaded:
    """A model that can predict.

    Attributes:
        segmenter: of the best epoch, or zero-shot. config: whose frame and prompt it is used with.
        threshold: map value above which a pixel is a defect. threshold_from: where it comes from.
        about: what says which model this is, for the records.
        tuned_px: longer side, px, of what one view showed in training, usually; None where it is not known.
        warnings: what was warned about while photos were predicted.
    """

    segmenter: Segmenter
    config: Experiment
    threshold: float
    threshold_from: str
    about: dict[str, Any] = field(default_factory=dict)
    tuned_px: int | None = None
    warnings: list[str] = field(default_factory=list)

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


def load_model(model: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """Load a run folder, a shipped adapter by its name, or the zero-shot SAM that a config names.

    Raises:
        ConfigError: an override that a run does not allow, or a config that names nothing to predict with.
        UserError: as ``load_run`` and ``build_segmenter``.
    """
    path = Path(model)
    if path.suffix not in (".yaml", ".yml") or path.is_dir():
        return _loaded_run(find_run(model), overrides)
    config: Experiment = load_config(path, overrides)
    if config.segmenter.name == "run":
        kept = [override for override in overrides if override.startswith(OF_A_RUN)]
        return _loaded_run(find_run(config.segmenter.run or ""), [*kept, f"segmenter.tta={config.segmenter.tta}"])
    if config.segmenter.name != "sam":
        raise ConfigError(f"{path}: segmenter.name: expected sam or run to predict with, got {config.segmenter.name}")
    return Loaded(build_segmenter(config), config, SAMS_OWN, "SAM's own", {"model": str(path)})


def _loaded_run(folder: Path, overrides: Sequence[str]) -> Loaded:
    for override in overrides:
        if override.partition("=")[0] not in OF_A_RUN:
            raise ConfigError(f"{override}: a run is used as it was tuned; only {', '.join(OF_A_RUN)} may differ")
    asked: Experiment | None = load_config(folder / "config.yaml", overrides) if overrides else None
    run = load_run(folder, tta=asked.segmenter.tta if asked else None)
    tuned = tuned_side(run.birth.get("photo_px"), run.config)
    run.config.frame = asked.frame if asked else run.config.frame
    found = run.birth.get("threshold") or {}
    digest = hashlib.sha256()
    for file in sorted((folder / "best").glob("*.safetensors")):
        digest.update(file_sha256(file).encode())
    about = {"model": str(folder), "best_sha256": digest.hexdigest()}
    source = "validation" if found else "not chosen: this run stored none from validation"
    return Loaded(run.segmenter, run.config, float(found.get("value", SAMS_OWN)), source, about, tuned)


def tuned_side(photo_px: Any, config: Experiment) -> int | None:
    """Return the longer side that a view showed in training: of the photo, or of a tile of it."""
    sides = [photo_px, config.frame.tile_px]
    known = [int(side) for side in sides if isinstance(side, int) and side > 0]
    return min(known) if known else None
