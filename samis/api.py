"""The few names a notebook needs: load or train a model, score it, predict photos, compute how much of the gap is closed.

    >>> import samis
    >>> test = samis.load_dataset("procedural", split="test", surface="steel", count=3)
    >>> sam = samis.load_sam("samis_lite", prompt="empty")
    >>> before = samis.score(sam, test)
    >>> before.kind, before.n_images, 0 < before.metrics["s_measure"] < 1
    ('zero_shot', 3, True)
    >>> sam.predict(test[0].image).shape
    (200, 200)

After tuning, ``samis.score(samis.load_run("checkpoints/runs/steel_lora"), test)`` is the row to compare, and
``samis.gap_closed(before, after, best=samis.read_rows("evaluate/results").best("s_measure", dataset="sd_saliency_900"))`` the
answer. Anything that has ``predict(batch) -> list of (H, W) maps`` can be scored in place of a model.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np

from samis import factory, prediction
from samis.baselines.saved_maps import SavedMaps
from samis.config import Experiment, PromptConfig, SegmenterConfig, apply_overrides, load_config, to_dict
from samis.core.contracts import Dataset, Sample, Segmenter
from samis.core.shipped import find_config
from samis.data.configured import row_label, row_split
from samis.decision.of_run import RunDecisions
from samis.errors import UserError
from samis.evaluation.cost import IMAGES, measure
from samis.evaluation.custom import CustomSegmenter
from samis.evaluation.row_files import RowNames
from samis.evaluation.row_list import Rows as Rows
from samis.evaluation.rows import read_measured
from samis.evaluation.score_row import ScoreRow
from samis.jobs import train as training
from samis.jobs.predict import load_model
from samis.jobs.predictions_page import page_if_interrupted, write_predictions_page
from samis.jobs.score import Scoring
from samis.jobs.score import score as score_images
from samis.prediction import Prediction
from samis.prompts.given import object_prompts
from samis.reporting.analysis.gap import Gap
from samis.reporting.analysis.gap import gap_closed as _gap_closed
from samis.sam.caching import cache_embeddings
from samis.sam.framing import build_framing
from samis.sam.segmenter import SamSegmenter
from samis.training.precision import default_device
from samis.training.processes import Processes
from samis.tta import FlippedSegmenter


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
    decisions: RunDecisions = field(default_factory=RunDecisions)

    def __repr__(self) -> str:
        return f"<Model {self.name!r}, threshold {self.threshold:.3f} ({self.threshold_from})>"

    @overload
    def predict(self, photos: np.ndarray, **options: Any) -> np.ndarray: ...

    @overload
    def predict(self, photos: str | Path | Iterable[str | Path], **options: Any) -> list[Prediction]: ...

    def predict(self, photos: Any, **options: Any) -> Any:
        """Segment one picture, or photos on disk.

        Args:
            photos: (H, W, 3) uint8 RGB; or files, folders and globs.
            options: fields of ``samis.prediction.Options``, such as ``boxes=[(x0, y0, x1, y1)]``, ``points=[(x, y)]``,
                ``threshold``, ``min_area_px``, ``miss_at_most``.

        Returns:
            for a picture its (H, W) float32 map in [0, 1]; for photos one ``Prediction`` (map, mask, regions) each.

        Raises:
            UserError: a photo that cannot be read, or an option out of its range.
        """
        chosen = prediction.Options(**options)
        if not isinstance(photos, np.ndarray):
            return list(prediction.predict(self.loaded(), find_photos(photos), chosen))
        objects = object_prompts(chosen.boxes, chosen.points)
        segmenter, prompter, *_ = prediction.resolve_prompt(
            self.loaded(), {"picture": objects} if objects else None, chosen
        )
        s = self.config.segmenter
        framing = build_framing(self.config.frame, s.architecture, s.weights)
        predictor = prediction.Predictor(segmenter, framing, prompter, views_at_once=chosen.batch_size)
        return predictor.maps([Sample("picture", photos)])[0]

    def predict_to(self, out: str | Path, photos: str | Path | Iterable[str | Path], **options: Any) -> dict[str, Any]:
        """Predict photos into a folder, as ``samis predict`` does; return what its ``predictions.json`` says.

        Args:
            out: the folder.
            photos: as for ``predict``.
            options: likewise.
        """
        chosen = prediction.Options(**options)
        with page_if_interrupted(Path(out)):
            result = prediction.predict_to(Path(out), self.loaded(), find_photos(photos, leave_out=Path(out)), chosen)
        write_predictions_page(out)
        return result

    def loaded(self) -> prediction.LoadedModel:
        """Return the model as ``samis.prediction`` knows it."""
        about = {"model": self.name, **self.about}
        return prediction.LoadedModel(
            self.segmenter,
            self.config,
            self.threshold,
            self.threshold_from,
            about,
            self.tuned_px,
            decisions=self.decisions,
        )


def find_photos(photos: str | Path | Iterable[str | Path], **options: Any) -> list[prediction.Photo]:
    """Return the photos that one name or several name."""
    return prediction.find_photos([photos] if isinstance(photos, str | Path) else photos, **options)


def load_sam(
    architecture: str, *, prompt: str = "empty", mask_rule: str = "top_iou", weights: str | None = None
) -> Model:
    """Load a SAM for zero-shot use.

    Args:
        architecture: vit_b, vit_l, vit_h or samis_lite.
        prompt: kind of prompt.
        mask_rule: how masks become one map.
        weights: file; None takes the embedded or the official ones.
    """
    segmenter = SegmenterConfig(architecture=architecture, mask_rule=mask_rule, weights=weights)
    config = Experiment(prompt=PromptConfig(kind=prompt), segmenter=segmenter)
    return Model(factory.build_segmenter(config), config, f"{architecture} zero-shot, {prompt}")


def load_run(folder: str | Path) -> Model:
    """Load a run folder's best epoch, or a shipped adapter by its name, such as ``"steel"``."""
    run = load_model(folder)
    return Model(
        run.segmenter, run.config, run.config.experiment, run.threshold, run.threshold_from, run.about, run.tuned_px,
        run.decisions,
    )  # fmt: skip


def train(config: str | Path | Experiment, *overrides: str) -> Path:
    """Train what a config names, as ``samis train`` and ``samis baseline`` do.

    Args:
        config: a file; the name of one that comes with the project, such as ``"steel_lora"``; or an ``Experiment``.
        overrides: ``key=value`` each, such as ``"training.minutes=10"``.

    Returns:
        the run folder, for ``load_run`` and ``predict``.

    Raises:
        ConfigError: no such config, or a mistake in it or in an override.
        UserError: as ``samis.jobs.train.train``.
    """
    if isinstance(config, Experiment):
        return training.train(apply_overrides(config, overrides))
    return training.train(load_config(find_config(config), overrides))


def predict(model: str | Path | Model, photos: Any, **options: Any) -> Any:
    """Find defects on one picture, or on photos on disk, as ``Model.predict`` does.

    Args:
        model: run folder, name of a tuned adapter such as ``"steel"``, or what ``load_sam`` or ``load_run`` returned.
        photos: (H, W, 3) uint8 RGB; or files, folders and globs.
        options: fields of ``samis.prediction.Options``.

    Returns:
        for a picture its (H, W) float32 map in [0, 1]; for photos one ``Prediction`` (map, mask, regions) each.

    Raises:
        UserError: no such model, a photo that cannot be read, or an option out of its range.

    >>> import samis
    >>> samis.predict("steel", np.full((60, 90, 3), 120, np.uint8)).shape
    (60, 90)
    """
    return (model if isinstance(model, Model) else load_run(model)).predict(photos, **options)


def score(model: Model | Any, dataset: Dataset, *, protocol: str = "pysod", name: str | None = None) -> ScoreRow:
    """Score a model on a data set with the one evaluator.

    Args:
        model: what ``load_sam`` or ``load_run`` returned; or any object with ``predict(batch)``, which returns an (H, W) map in
            [0, 1] for each image of a ``samis.core.contracts.Batch``, and perhaps ``describe()``, which says what a row must
            (``kind``, ``prompt``, ``oracle`` ...; by default a baseline without a prompt).
        dataset: what ``load_dataset`` returned, or any ``samis.core.contracts.Dataset``.
        protocol: of the metrics.
        name: of the row; None takes the model's, or its class's.

    Raises:
        UserError: the object has no ``predict``; or as ``samis.jobs.score.score``.
    """
    known = isinstance(model, Model)
    segmenter: Any = model.segmenter if isinstance(model, Model) else model
    if not callable(getattr(segmenter, "predict", None)):
        raise UserError(
            f"score: expected a model or an object with predict(batch), got {type(model).__name__}", code="E-ROW-OBJECT"
        )
    lacking = [name for name in ("name", "split", "ids", "class_names", "fingerprint") if not hasattr(dataset, name)]
    if lacking:
        raise UserError(
            f"score: expected a data set with {', '.join(lacking)} (samis.core.contracts.Dataset), got one without",
            code="E-ROW-OBJECT",
        )
    config = copy.deepcopy(model.config) if known else Experiment()
    loaded = getattr(dataset, "loaded_as", {"name": dataset.name, "root": None, "options": {}})
    config.data = replace(config.data, test=dataset.split, salt_pepper=0.0, label=None, **copy.deepcopy(loaded))
    config.metrics.protocol, config.metrics.names = protocol, []  # a run's own are the few that training watched
    if not isinstance(segmenter, SavedMaps | SamSegmenter | FlippedSegmenter) and not known:
        segmenter = CustomSegmenter(segmenter)
        segmenter.describe()  # a mistake in it is reported before the images are predicted
    name = name or (model.name if known else type(model).__name__)
    recorded = (
        to_dict(config) if known else {**to_dict(config), "segmenter": {"name": name}}
    )  # not a default that it was not
    make_batches, processes = factory.build_batch_maker(config), Processes(0, 1, default_device())
    if isinstance(segmenter, SavedMaps):
        segmenter.check(dataset.ids)
    few = make_batches(dataset, batch_size=1, limit=IMAGES)
    scoring = Scoring(
        segmenter, make_batches, dataset, dataset,
        RowNames(name, row_label(config.data, dataset), row_split(config.data, dataset), protocol), config.metrics, recorded,
        threshold=model.threshold if known else prediction.SAMS_OWN,
        cost=measure(segmenter, few, device=processes.device, latency=config.metrics.latency),
    )  # fmt: skip
    if cached := cache_embeddings(config.cache, segmenter, make_batches(dataset)):
        print(cached, file=sys.stderr)
    return score_images(scoring, processes)[0]


def read_rows(folder: str | Path) -> Rows:
    """Read every score row below a folder, each with its per-image values, as the report does."""
    return Rows(read_measured([folder]).values())


def gap_closed(before: ScoreRow, after: ScoreRow, best: ScoreRow, *, metric: str = "s_measure") -> Gap:
    """Return (after - before) / (best - before), sign-aware; refuses rows that must not be compared.

    Raises:
        UserError: a row is missing, as ``Rows.best`` returns None where no row fits; or rows of different images.
    """
    for name, row in {"before": before, "after": after, "best": best}.items():
        if not isinstance(row, ScoreRow):
            raise UserError(
                f"gap_closed: expected a score row as {name}, got {row!r:.40}; Rows.best found none that fits",
                code="E-ROW-OBJECT",
            )
    return _gap_closed(before, after, best, metric=metric)
