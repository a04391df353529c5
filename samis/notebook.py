"""The few names a notebook needs: load a model, score it, ask how much of the gap is closed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from samis import build, scores, scoring
from samis.config import Experiment, PromptConfig, SegmenterConfig
from samis.contracts import Dataset, Sample, Segmenter
from samis.data.loading import FramedDataset, collate
from samis.prompts import build_prompter
from samis.reporting.gap import Gap
from samis.reporting.gap import gap_closed as _gap_closed
from samis.reporting.rows import best_row
from samis.scores import ScoreRow


@dataclass
class Model:
    """A segmenter with the frame and prompt it is used with."""

    segmenter: Segmenter
    config: Experiment
    name: str

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Segment one picture.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (H, W) float32 map in [0, 1].
        """
        one = _OnePicture(Sample("picture", image))
        framed = FramedDataset(one, build.build_framing(self.config), build_prompter(self.config.prompt))
        return self.segmenter.predict(collate([framed[0]]))[0].cpu().numpy()


class _OnePicture:
    name, split = "picture", "new"

    def __init__(self, sample: Sample) -> None:
        self._sample, self.ids, self.class_names = sample, [sample.id], [sample.class_name]

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return self._sample

    def fingerprint(self) -> str:
        return ""


class Rows(list[ScoreRow]):
    """Score rows."""

    def best(self, metric: str, kinds: Iterable[str] = ("baseline", "saved_maps")) -> ScoreRow | None:
        """Return the best non-oracle row of the given kinds by one metric, or None."""
        return best_row([row for row in self if not row.oracle], metric, list(kinds))


def load_sam(
    architecture: str, *, prompt: str = "empty", mask_rule: str = "top_iou", weights: str | None = None
) -> Model:
    """Load a SAM for zero-shot use.

    Args:
        architecture: vit_b, vit_l, vit_h or samis_tiny. prompt: kind of prompt. mask_rule: how masks become one map.
        weights: file; None takes the embedded or the official ones.
    """
    segmenter = SegmenterConfig(architecture=architecture, mask_rule=mask_rule, weights=weights)
    config = Experiment(prompt=PromptConfig(kind=prompt), segmenter=segmenter)
    return Model(build.build_segmenter(config), config, f"{architecture} zero-shot, {prompt}")


def load_run(folder: str | Path) -> Model:
    """Load a run folder's best epoch."""
    run = build.load_run(folder)
    return Model(run.segmenter, run.config, run.config.experiment)


def score(model: Model, dataset: Dataset, *, protocol: str = "pysod") -> ScoreRow:
    """Score a model on a data set with the one evaluator."""
    model.config.data.name, model.config.metrics.protocol = dataset.name, protocol
    return scoring.score(model.segmenter, model.config, dataset, name=model.name)[0]


def read_rows(folder: str | Path) -> Rows:
    """Read every score row below a folder."""
    return Rows(scores.read_rows(folder))


def gap_closed(before: ScoreRow, after: ScoreRow, best: ScoreRow, *, metric: str = "s_measure") -> Gap:
    """Return (after - before) / (best - before), sign-aware; refuses rows that must not be compared."""
    return _gap_closed(before, after, best, metric=metric)
