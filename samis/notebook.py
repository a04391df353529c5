"""The few names a notebook needs: load a model, score it, ask how much of the gap is closed.

    >>> import samis
    >>> test = samis.load_dataset("procedural", split="test", surface="steel", count=3)
    >>> sam = samis.load_sam("samis_lite", prompt="empty")
    >>> before = samis.score(sam, test)
    >>> before.kind, before.n_images, 0 < before.metrics["s_measure"] < 1
    ('zero_shot', 3, True)
    >>> sam.predict(test[0].image).shape
    (200, 200)

After tuning, ``samis.score(samis.load_run("checkpoints/runs/steel_lora"), test)`` is the row to compare, and
``samis.gap_closed(before, after, best=samis.read_rows("evaluate/results").best("s_measure"))`` the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from samis import build, prediction, scores, scoring
from samis.config import Experiment, PromptConfig, SegmenterConfig
from samis.contracts import Dataset, Sample, Segmenter
from samis.prediction import Prediction
from samis.prompts.given import asked_of
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
    threshold: float = prediction.SAMS_OWN
    threshold_from: str = "SAM's own"
    about: dict[str, Any] = field(default_factory=dict)
    tuned_px: int | None = None

    @overload
    def predict(self, photos: np.ndarray, **options: Any) -> np.ndarray: ...

    @overload
    def predict(self, photos: str | Path | Iterable[str | Path], **options: Any) -> list[Prediction]: ...

    def predict(self, photos: Any, **options: Any) -> Any:
        """Segment one picture, or photos on disk.

        Args:
            photos: (H, W, 3) uint8 RGB; or files, folders and globs.
            options: fields of ``samis.prediction.Options``, such as ``boxes=[(x0, y0, x1, y1)]``, ``points=[(x, y)]``,
                ``threshold``, ``min_area_px``.

        Returns:
            for a picture its (H, W) float32 map in [0, 1]; for photos one ``Prediction`` (map, mask, regions) each.

        Raises:
            UserError: a photo that cannot be read, or an option out of its range.
        """
        chosen = prediction.Options(**options)
        if not isinstance(photos, np.ndarray):
            return list(prediction.predict(self.loaded(), find_photos(photos), chosen))
        asked = asked_of(chosen.boxes, chosen.points)
        segmenter, prompter, *_ = prediction.how_asked(self.loaded(), {"picture": asked} if asked else None, chosen)
        framing = build.build_framing(self.config)
        predictor = prediction.Predictor(segmenter, framing, prompter, views_at_once=chosen.batch_size)
        return predictor.maps([Sample("picture", photos)])[0]

    def predict_to(self, out: str | Path, photos: str | Path | Iterable[str | Path], **options: Any) -> dict[str, Any]:
        """Predict photos into a folder, as ``evaluate/predict.py`` does; return what its ``predictions.json`` says.

        Args:
            out: the folder. photos, options: as for ``predict``.
        """
        chosen = prediction.Options(**options)
        return prediction.predict_to(Path(out), self.loaded(), find_photos(photos, leave_out=Path(out)), chosen)

    def loaded(self) -> prediction.Loaded:
        """Return the model as ``samis.prediction`` knows it."""
        about = {"model": self.name, **self.about}
        return prediction.Loaded(self.segmenter, self.config, self.threshold, self.threshold_from, about, self.tuned_px)


def find_photos(photos: str | Path | Iterable[str | Path], **options: Any) -> list[prediction.Photo]:
    """Return the photos that one name or several name."""
    return prediction.find_photos([photos] if isinstance(photos, str | Path) else photos, **options)


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
        architecture: vit_b, vit_l, vit_h or samis_lite. prompt: kind of prompt. mask_rule: how masks become one map.
        weights: file; None takes the embedded or the official ones.
    """
    segmenter = SegmenterConfig(architecture=architecture, mask_rule=mask_rule, weights=weights)
    config = Experiment(prompt=PromptConfig(kind=prompt), segmenter=segmenter)
    return Model(build.build_segmenter(config), config, f"{architecture} zero-shot, {prompt}")


def load_run(folder: str | Path) -> Model:
    """Load a run folder's best epoch, or a shipped adapter by its name, such as ``"steel"``."""
    run = prediction.load_model(folder)
    return Model(
        run.segmenter, run.config, run.config.experiment, run.threshold, run.threshold_from, run.about, run.tuned_px
    )


def score(model: Model, dataset: Dataset, *, protocol: str = "pysod") -> ScoreRow:
    """Score a model on a data set with the one evaluator."""
    model.config.data.name, model.config.metrics.protocol = dataset.name, protocol
    return scoring.score(model.segmenter, model.config, dataset, name=model.name, threshold=model.threshold)[0]


def read_rows(folder: str | Path) -> Rows:
    """Read every score row below a folder."""
    return Rows(scores.read_rows(folder))


def gap_closed(before: ScoreRow, after: ScoreRow, best: ScoreRow, *, metric: str = "s_measure") -> Gap:
    """Return (after - before) / (best - before), sign-aware; refuses rows that must not be compared."""
    return _gap_closed(before, after, best, metric=metric)
