"""What is scored, predicted with or exported: a run folder brought back, or what a config names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from samis.baselines import BASELINES
from samis.baselines.saved_maps import SavedMaps
from samis.config import Experiment, load_config
from samis.core.contracts import Segmenter
from samis.core.shipped import find_run
from samis.factory import build_learner, build_segmenter
from samis.training.precision import default_device
from samis.tta import build_tta


@dataclasses.dataclass
class Run:
    """What is scored or used: its config, who answers, and how it was trained.

    Attributes:
        config: whose frame and prompt are used. segmenter: of the best epoch, or as the config says.
        name: what rows call it, unless they are told another name.
        folder, learner, birth: of a run folder; where it is, what was trained, and its provenance.
    """

    config: Experiment
    segmenter: Segmenter
    name: str
    folder: Path | None = None
    birth: dict[str, Any] = dataclasses.field(default_factory=dict)
    learner: Any = None


def build_run(config: Experiment) -> Run:
    """Build what a config names to be scored.

    The data of a run, and how it is scored, are the config's; frame and prompt are part of what was learnt.

    Raises:
        UserError: as ``load_run`` and ``build_segmenter``.
    """
    s, frame = config.segmenter, config.frame
    if s.name == "run":
        run = load_run(s.run or "", tta=s.tta)
        run.config.data, run.config.metrics, run.config.cache = config.data, config.metrics, config.cache
        return run
    framed = f", frame {frame.frame_px} px" if frame.frame_px else ""
    framed += f", tiles {frame.tile_px} px" if frame.tile_px else ""
    weights = ", random weights" if s.weights == "random" else ""
    zero_shot_name = f"{s.architecture} zero-shot, {config.prompt.kind}{weights}{framed}"
    segmenter = build_segmenter(config)
    own = segmenter.name if isinstance(segmenter, SavedMaps) else s.name + framed
    return Run(config, segmenter, zero_shot_name if s.name == "sam" else own)


def load_run(folder: str | Path, *, tta: str | None = None) -> Run:
    """Load the best weights of a run folder, or of a shipped adapter by its name.

    Args:
        folder: of the run. tta: test-time augmentation in place of the config's ``segmenter.tta``.

    Raises:
        UserError: no run folder, or its base weights are not those it was tuned from.
    """
    folder = find_run(folder)
    config: Experiment = load_config(folder / "config.yaml")
    s = config.segmenter
    if (
        s.name in BASELINES
    ):  # the run's own weights follow, so that the file or package it began with is not needed again
        s = dataclasses.replace(s, pretrained=False, weights=None)
    learner = build_learner(dataclasses.replace(config, segmenter=s))
    learner.load(folder / "best")
    learner.to(default_device()).eval()
    provenance_file = folder / "provenance.json"
    birth = json.loads(provenance_file.read_text(encoding="utf-8")) if provenance_file.exists() else {}
    config.segmenter.tta = tta if tta is not None else config.segmenter.tta
    return Run(config, build_tta(learner.segmenter(), config.segmenter.tta), config.experiment, folder, birth, learner)
