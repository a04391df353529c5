"""Photos in, predictions out: read ahead, asked what a person gave, measured, written into a folder."""

from __future__ import annotations

import sys
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from samis.config import PromptConfig
from samis.core.contracts import Sample, Segmenter
from samis.core.progress import Progress
from samis.core.provenance import provenance
from samis.data.pipeline.photos import Photo, read_photo
from samis.errors import UserError
from samis.prediction.model import SAMS_OWN, Loaded
from samis.prediction.predictions import PredictionFolder
from samis.prediction.predictor import Predictor
from samis.prediction.regions import Region, find_regions, kept_mask
from samis.prompts import PROMPTERS, Prompter, build_prompter
from samis.prompts.given import KIND, Asked, GivenPrompter, asked_of, read_prompts
from samis.sam.framing import build_framing
from samis.sam.merge import SINGLE
from samis.sam.segmenter import SamSegmenter
from samis.training.agree import gather, together
from samis.training.precision import default_device
from samis.training.processes import Processes
from samis.tta import FlippedSegmenter, build_tta


@dataclass
class Prediction:
    """What was found on one photo: ``map`` (H, W) float32 in [0, 1], ``mask`` (H, W) bool, and the mask's regions."""

    id: str
    path: Path
    image: np.ndarray
    map: np.ndarray
    mask: np.ndarray
    regions: list[Region]

    def __repr__(self) -> str:
        height, width = self.map.shape
        return f"<Prediction {self.id!r}: {width} x {height} px, {len(self.regions)} regions, {self.mask.mean():.2%} defective>"


@dataclass
class Options:
    """How photos are predicted.

    Attributes:
        threshold: in [0, 1); None takes the model's. min_area_px: smaller regions are dropped, from masks too.
        mm_per_px: scale of the photos, for the table. batch_size: views (photos or tiles) at once. workers: reading threads.
        white: see ``read_photo``. redo: predict anew what the folder holds.
        boxes, points: asked about every photo, in file pixels. prompts: CSV of prompts; see ``read_prompts``.
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
                raise UserError(f"{name}: expected {wanted}, got {getattr(self, name, self.min_area_px)}")
        if self.prompts and (self.boxes or self.points):
            raise UserError("prompts: expected a CSV, or boxes and points for every photo, got both; give one of them")


def predict(
    model: Loaded, photos: Sequence[Photo], options: Options, *, failed: dict[str, str] | None = None
) -> Iterator[Prediction]:
    """Yield what is found on each photo, in order.

    Args:
        model: from ``samis.jobs.predict.load_model``. photos: from ``find_photos``. options: how.
        failed: takes file -> reason for photos that cannot be read or prompted; None raises the first reason.
    """
    asked = prompts_for(photos, options)
    segmenter, prompter, threshold, _ = how_asked(model, asked, options)
    predictor = Predictor(
        segmenter,
        build_framing(model.config.frame, model.config.segmenter.architecture),
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
        for photo, sample, values in _tried(predictor, samples, failed):
            mask = values > threshold
            regions = find_regions(mask, values, min_area_px=options.min_area_px)
            if options.min_area_px > 1:
                mask = kept_mask(regions, (mask.shape[0], mask.shape[1]))
            yield Prediction(photo.id, photo.path, sample.image, values, mask, regions)


def predict_to(
    out: Path,
    model: Loaded,
    photos: Sequence[Photo],
    options: Options,
    *,
    quiet: bool = False,
    processes: Processes | None = None,
) -> dict[str, Any]:
    """Predict photos into a folder, going on where an earlier run stopped; return what ``predictions.json`` says.

    Several processes share the photos, in the groups that one process would make: each writes what it found, the main one the
    tables.

    Raises:
        UserError: the folder holds something else, or a prompt is missing.
    """
    processes = processes or Processes(0, 1, default_device())
    with together(processes):
        asked = prompts_for(photos, options)
        _, _, threshold, source = how_asked(model, asked, options)
        settings = {
            **model.about, **_description(model, asked, options), "threshold": threshold,
            "min_area_px": options.min_area_px, "white": options.white, "frame": asdict(model.config.frame),
        }  # fmt: skip
    folder, todo = _opened(out, settings, photos, options, processes)
    groups = [todo[start : start + options.batch_size] for start in range(0, len(todo), options.batch_size)]
    mine = [photo for group in processes.share(groups) for photo in group]
    failed: dict[str, str] = {}
    main = processes.is_main_process
    before = len(photos) - len(todo)
    if before and main and not quiet:
        print(f"{before} of {len(photos)} photos are done already", file=sys.stderr)
    progress = Progress(  # of the main process's share
        before + len(mine), unit="photos", done=before, active=main and not quiet
    )
    written = 0
    said: dict[str, Any] = {
        "threshold_from": source, "failed": failed, "warnings": model.warnings, "provenance": provenance(),
    }  # fmt: skip
    counts: dict[str, Any] = {}
    try:
        with together(processes):
            for found in predict(model, mine, options, failed=failed):
                folder.add(found.id, found.path, found.image, found.map, found.mask, found.regions)
                written += 1
                progress.advance(
                    before + len(failed) + written - progress.bar.n, about=f"{len(failed)} failed" if failed else ""
                )
        shares = gather(processes, (failed, written))
        failed.update({path: why for share, _ in shares for path, why in share.items()})
        written = sum(number for _, number in shares)
    finally:  # an interrupted run, too, leaves tables of all that it has
        if main:
            counts = folder.finish(said)
        progress.close()
    return {"out": str(out), "threshold": threshold, **said, **counts, "predicted_now": written}


def _opened(
    out: Path, settings: dict[str, Any], photos: Sequence[Photo], options: Options, processes: Processes
) -> tuple[PredictionFolder, list[Photo]]:
    """Return the folder and the photos that it lacks, the same on every process: none writes before all have looked.

    Raises:
        UserError: the folder holds something else.
    """
    folder: PredictionFolder | None = None
    todo: list[Photo] = []
    for turn in (True, False):  # the main process makes or empties the folder before the others look at it
        with together(processes):
            try:
                if turn == processes.is_main_process:
                    redo = options.redo and processes.is_main_process
                    folder = PredictionFolder(out, settings, mm_per_px=options.mm_per_px, redo=redo)
                    todo = [photo for photo in photos if not folder.done(photo.id, photo.path)]
            except ValueError as error:
                raise UserError(str(error)) from error
    assert folder is not None
    return folder, todo


def prompts_for(photos: Sequence[Photo], options: Options) -> dict[str, list[Asked]] | None:
    """Return what a person asked about each photo, by its id; None if nothing was.

    Raises:
        UserError: a photo without a prompt, or a prompt without a photo.
    """
    if options.prompts is None:
        asked = asked_of(options.boxes, options.points)
        return {photo.id: asked for photo in photos} if asked else None
    table = read_prompts(options.prompts)
    used: set[str] = set()
    found = {}
    for photo in photos:
        names = (str(photo.path), photo.id, photo.id + photo.path.suffix, photo.path.name)
        name = next((name for name in names if name in table), None)
        if name is None:
            raise UserError(f"{options.prompts}: expected a prompt for {photo.path}, got none; add one or leave it out")
        used.add(name)
        found[photo.id] = table[name]
    if unused := [name for name in table if name not in used]:
        raise UserError(f"{options.prompts}: expected only photos that were named, got '{unused[0]}'; name it too")
    return found


def how_asked(
    model: Loaded, asked: Mapping[str, list[Asked]] | None, options: Options
) -> tuple[Segmenter, Prompter, float, str]:
    """Return the segmenter and prompter for what is asked, and the threshold with where it comes from.

    Raises:
        UserError: prompts for a network that takes none, or none for a run that was tuned on the truth's boxes.
    """
    segmenter, tta = model.segmenter, "none"
    if isinstance(segmenter, FlippedSegmenter):
        segmenter, tta = segmenter.inner, "flips"
    threshold, source = model.threshold, model.threshold_from
    if asked is None:
        kind = model.config.prompt.kind
        if isinstance(segmenter, SamSegmenter) and kind in PROMPTERS and PROMPTERS[kind].sees_truth:
            raise UserError(f"prompt.kind={kind} is made from the truth, which new photos lack; give boxes or clicks")
        prompter = build_prompter(model.config.prompt)
    else:
        if not isinstance(segmenter, SamSegmenter):
            raise UserError("expected no boxes or clicks: this network takes no prompt; leave them out")
        rule = "top_iou" if segmenter.mask_rule == SINGLE else segmenter.mask_rule
        segmenter = SamSegmenter(
            segmenter.sam, kind=segmenter.kind, prompt=PromptConfig(kind=KIND), everything=segmenter.everything,
            mask_rule=SINGLE if segmenter.kind == "tuned" else rule, architecture=segmenter.architecture,
            weights_sha256=segmenter.weights_sha256, details=segmenter.details,
        )  # fmt: skip
        prompter = GivenPrompter(asked)
        # The validation's threshold belongs to the prompt of training, not to a person's.
        threshold, source = SAMS_OWN, "SAM's own"
    if options.threshold is not None:
        threshold, source = options.threshold, "given"
    return build_tta(segmenter, tta), prompter, threshold, source


def _description(model: Loaded, asked: Mapping[str, list[Asked]] | None, options: Options) -> dict[str, Any]:
    """Return what the predictions' settings say of model and prompts."""
    said = {key: value for key, value in model.segmenter.describe().items() if key not in ("oracle", "kind")}
    if asked is not None:
        said["prompt"] = (
            f"boxes or clicks from {options.prompts}" if options.prompts else [options.boxes, options.points]
        )
    return said


def _tried(
    predictor: Predictor, samples: list[tuple[Photo, Sample]], failed: dict[str, str] | None
) -> Iterator[tuple[Photo, Sample, np.ndarray]]:
    """Yield the samples with their maps; if one of them is at fault, answer the others one by one."""
    try:
        maps = predictor.maps([sample for _, sample in samples])
    except UserError as error:
        if len(samples) == 1:
            _fail(failed, samples[0][0].path, error)
            return
        for one in samples:
            yield from _tried(predictor, [one], failed)
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
            return UserError(f"{photo.path}: expected a readable picture, got '{error}'; check the file")

    waiting: deque[tuple[Photo, Future[np.ndarray | UserError]]] = deque()
    with ThreadPoolExecutor(options.workers) as pool:
        for photo in photos:
            waiting.append((photo, pool.submit(read, photo)))
            if len(waiting) > options.workers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
