"""What is scored, predicted with or exported: a run folder, or what a config names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from samis.config import Experiment, PromptConfig, load_config
from samis.core.contracts import Segmenter
from samis.core.shipped import find_run
from samis.factory import build_segmenter, load_learner
from samis.sam.merge import MASK_RULES, SINGLE
from samis.tta import build_tta


@dataclasses.dataclass
class Run:
    """What is scored or used, before its weights are read.

    Attributes:
        config: whose frame, prompt and network are used.
        name: what rows call it; "" where the segmenter itself has a name.
        folder: of a run; None for what is not trained.
        provenance: of a run, as training wrote it.
        own_prompt: whether the prompt is that of validation.
    """

    config: Experiment
    name: str
    folder: Path | None = None
    provenance: dict[str, Any] = dataclasses.field(default_factory=dict)
    own_prompt: bool = True

    def by_prompt(self) -> list[Run]:
        """Return this run, and for each other kind of prompt that it was trained with (``prompt.mix``) a copy that uses it."""
        prompt = self.config.prompt
        others = [kind for kind, weight in prompt.mix.items() if weight and kind != prompt.kind and self.folder]
        return [self, *(self._with_prompt(dataclasses.replace(prompt, kind=kind)) for kind in others)]

    def _with_prompt(self, prompt: PromptConfig) -> Run:
        config = dataclasses.replace(self.config, prompt=prompt)
        return dataclasses.replace(self, config=config, name=f"{self.name}, {prompt.kind} prompt", own_prompt=False)

    @property
    def best(self) -> Path | None:
        """Folder of the weights that training kept."""
        return self.folder / "best" if self.folder else None

    @property
    def threshold(self) -> float:
        """Map value that training chose on validation, which belongs to its own prompt; else one half."""
        chosen = self.provenance.get("threshold") if self.own_prompt else None
        return float((chosen or {}).get("value", 0.5))

    @property
    def rules(self) -> list[str]:
        """The mask rules that get a row each; one without a name where the segmenter has its own."""
        s = self.config.segmenter
        return [SINGLE, *MASK_RULES] if s.name == "sam" and s.mask_rule == "all" else [""]


@dataclasses.dataclass(kw_only=True)
class LoadedRun(Run):
    """A run with its best weights.

    Attributes:
        learner: what was trained.
        segmenter: what predicts with it.
    """

    learner: Any
    segmenter: Segmenter


def open_run(config: Experiment) -> Run:
    """Read which network a config names to be scored; of a run folder, its config and provenance.

    The data of a run, and how it is scored, are the config's; frame and prompt are part of what was learnt.

    Args:
        config: the experiment; ``segmenter.run`` is a folder (``samis.core.shipped.find_run``).

    Raises:
        ConfigError: the run's config is missing or damaged.
    """
    s, frame = config.segmenter, config.frame
    if s.name == "run":
        run = read_run(Path(s.run or ""), tta=s.tta)
        run.config.data, run.config.metrics, run.config.cache = config.data, config.metrics, config.cache
        return run
    framed = f", frame {frame.frame_px} px" if frame.frame_px else ""
    framed += f", tiles {frame.tile_px} px" if frame.tile_px else ""
    if s.name == "saved_maps":
        return Run(config, "")
    weights = ", random weights" if s.weights == "random" else ""
    zero_shot_name = f"{s.architecture} zero-shot, {config.prompt.kind}{weights}{framed}"
    return Run(config, zero_shot_name if s.name == "sam" else s.name + framed)


def check_network(config: Experiment) -> None:
    """Build the network that a config names to be scored, and drop it: what is missing is reported without any data.

    Args:
        config: as for ``open_run``.

    Raises:
        UserError: a run, its weights or a folder of maps is missing or damaged.
    """
    run = open_run(config)
    build_segmenter(run.config, best=run.best)


def read_run(folder: Path, *, tta: str | None = None) -> Run:
    """Read a run folder's config and provenance.

    Args:
        folder: of the run.
        tta: test-time augmentation in place of the config's ``segmenter.tta``.

    Raises:
        ConfigError: the config is missing or damaged.
    """
    config: Experiment = load_config(folder / "config.yaml")
    config.segmenter.tta = tta if tta is not None else config.segmenter.tta
    written = folder / "provenance.json"
    return Run(
        config,
        config.experiment,
        folder,
        json.loads(written.read_text(encoding="utf-8")) if written.exists() else {},
    )


def load_run(folder: str | Path, *, tta: str | None = None) -> LoadedRun:
    """Load the best weights of a run folder, or of a shipped adapter by its name.

    Args:
        folder: of the run, or the adapter's name.
        tta: test-time augmentation in place of the config's ``segmenter.tta``.

    Raises:
        UserError: no run folder, or its base weights are not those it was tuned from.
    """
    path = find_run(folder)
    run = read_run(path, tta=tta)
    learner = load_learner(run.config, path / "best")
    segmenter: Segmenter = build_tta(learner.segmenter(), run.config.segmenter.tta)
    return LoadedRun(run.config, run.name, path, run.provenance, learner=learner, segmenter=segmenter)
