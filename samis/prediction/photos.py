"""Photos in, predictions out: read ahead, prompted, turned into a map, a mask and its measured regions."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from samis.core.contracts import Sample
from samis.data.pipeline.photos import Photo, read_photo
from samis.decision.image_rules import image_scores, verdict_of
from samis.drift.features import EmbeddingRecorder, measure_photo
from samis.errors import UserError
from samis.prediction.deciding import image_decider
from samis.prediction.model import LoadedModel
from samis.prediction.options import Options
from samis.prediction.predictor import Predictor
from samis.prediction.prompting import prompts_for, resolve_prompt
from samis.prediction.regions import Region, find_regions, kept_mask
from samis.sam.framing import build_framing


@dataclass
class Prediction:
    """The prediction of one photo.

    Attributes:
        id: names the photo.
        path: its file.
        image: (H, W, 3) uint8 RGB.
        map: (H, W) float32 in [0, 1].
        mask: (H, W) bool.
        regions: the connected parts of the mask.
        scores: of the image by each rule of ``samis.decision.image_rules.IMAGE_RULES``.
        drift: comparison with the photos the model was tuned on (``Fingerprint.compare``); None where it has no fingerprint.
        embedding: (C,) of the network's encoder; None where it has none.
        verdict: ``"OK"`` or ``"defective"``, by the rule and threshold that were chosen.
    """

    id: str
    path: Path
    image: np.ndarray
    map: np.ndarray
    mask: np.ndarray
    regions: list[Region]
    scores: dict[str, float] = field(default_factory=dict)
    verdict: str = ""
    drift: dict[str, Any] | None = None
    embedding: np.ndarray | None = None

    def __repr__(self) -> str:
        height, width = self.map.shape
        return f"<Prediction {self.id!r}: {width} x {height} px, {len(self.regions)} regions, {self.mask.mean():.2%} defective>"


def predict(
    model: LoadedModel, photos: Sequence[Photo], options: Options, *, failed: dict[str, str] | None = None
) -> Iterator[Prediction]:
    """Yield the prediction of each photo, in order.

    Args:
        model: from ``samis.jobs.predict.load_model``.
        photos: from ``find_photos``.
        options: how they are predicted.
        failed: takes file -> reason for photos that cannot be read or prompted; None raises the first reason.
    """
    prompts = prompts_for(photos, options)
    segmenter, prompter, threshold, source = resolve_prompt(model, prompts, options)
    decider = image_decider(model, options, threshold, own=source == model.threshold_from)
    recorder = EmbeddingRecorder(segmenter)
    predictor = Predictor(
        recorder,
        build_framing(model.config.frame, model.config.segmenter.architecture, model.config.segmenter.weights),
        prompter,
        views_at_once=options.batch_size,
    )
    reading = _read_ahead(photos, options)
    scale_known = False
    while group := list(islice(reading, options.batch_size)):
        samples = []
        for photo, image in group:
            if isinstance(image, UserError):
                _fail(failed, photo.path, image)
            else:
                text = None if scale_known else model.scale_warning((image.shape[0], image.shape[1]), str(photo.path))
                if text:  # once is enough: the other photos are often as large
                    scale_known = True
                    warnings.warn(text, stacklevel=2)
                    model.warnings.append(text)
                samples.append((photo, Sample(photo.id, image, image_path=photo.path)))
        for photo, sample, values in _maps(predictor, samples, failed):
            mask = values > threshold
            regions = find_regions(mask, values, min_area_px=options.min_area_px)
            if options.min_area_px > 1:
                mask = kept_mask(regions, (mask.shape[0], mask.shape[1]))
            scores = image_scores(values, mask, threshold=threshold if options.min_area_px > 1 else None)
            verdict = verdict_of(scores[decider.rule], decider.threshold)
            embedding = recorder.take(photo.id)
            known = model.fingerprint
            drift = known.compare(measure_photo(sample.image), embedding) if known else None
            yield Prediction(
                photo.id, photo.path, sample.image, values, mask, regions, scores, verdict, drift, embedding
            )


def _maps(
    predictor: Predictor, samples: list[tuple[Photo, Sample]], failed: dict[str, str] | None
) -> Iterator[tuple[Photo, Sample, np.ndarray]]:
    """Yield the samples with their maps; if one of them fails, predict the others one by one."""
    try:
        maps = predictor.maps([sample for _, sample in samples])
    except UserError as error:
        if len(samples) == 1:
            _fail(failed, samples[0][0].path, error)
            return
        for one in samples:
            yield from _maps(predictor, [one], failed)
        return
    for (photo, sample), values in zip(samples, maps, strict=True):
        yield photo, sample, values


def _fail(failed: dict[str, str] | None, path: Path, error: UserError) -> None:
    if failed is None:
        raise error
    failed[str(path)] = str(error)


def _read_ahead(photos: Iterable[Photo], options: Options) -> Iterator[tuple[Photo, np.ndarray | UserError]]:
    """Yield photos with their pixels, or with why there are none, read by threads a little ahead."""

    def read(photo: Photo) -> np.ndarray | UserError:
        try:
            return read_photo(photo.path, white=options.white)
        except UserError as error:
            return error
        except OSError as error:
            return UserError(f"{photo.path}: cannot be read ({error}); check the file", code="E-PREDICT-PHOTO")

    waiting: deque[tuple[Photo, Future[np.ndarray | UserError]]] = deque()
    with ThreadPoolExecutor(options.workers) as pool:
        for photo in photos:
            waiting.append((photo, pool.submit(read, photo)))
            if len(waiting) > options.workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
