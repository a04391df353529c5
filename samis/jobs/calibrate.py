"""What samis calibrate does, and training at its end: a run's losses at every threshold, on images that it has not seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from samis.config import Experiment, load_config
from samis.core.contracts import Dataset, Segmenter
from samis.core.files import file_sha256
from samis.core.shipped import CONFIG, find_run, shipped_runs
from samis.data.calibration import check_unseen, image_keys, read_seen
from samis.data.configured import label_of, load_split, load_training, with_clean
from samis.data.pipeline.loading import BatchMaker
from samis.decision.calibration import FILE, Calibration, read_calibration
from samis.decision.of_run import model_settings
from samis.decision.promise import RECORD, calibration_record, promises
from samis.decision.risks import RiskCurves
from samis.errors import ConfigError, UserError
from samis.factory import build_batch_maker
from samis.jobs.load import load_run
from samis.training.precision import default_device


def calibrate(
    model: str | Path, overrides: Sequence[str] = (), *, out: Path | None = None, as_json: bool = False
) -> Path:
    """Calibrate a run on labelled images that it has not seen; print which promises it can keep.

    Args:
        model: run folder, or the name of a shipped adapter.
        overrides: ``data.*`` keys that name other images; the split is ``data.val``.
        out: file to write; None takes ``calibration.json`` in the run folder.
        as_json: print one JSON object instead of text.

    Returns:
        the file.

    Raises:
        UserError: the images had a part in training, or as ``load_run``.
        ConfigError: an override of something else than the data.
    """
    folder = find_run(model)
    for override in overrides:
        if not override.startswith(("data.", "metrics.batch_size=")):
            raise ConfigError(
                f"{override}: a run is calibrated as it was tuned; only data.* and metrics.batch_size may differ",
                code="E-DECIDE-OVERRIDE",
            )
    if out is None and folder in shipped_runs().values():
        raise ConfigError(
            f"{folder}: expected --out FILE, since nothing is written into an adapter that comes along; add --out, and give "
            "the file to samis predict as --calibration",
            code="E-DECIDE-OUT",
        )
    config: Experiment = load_config(folder / CONFIG, overrides)
    images = with_clean(config.data, load_split(config.data, config.data.val))
    images = check_unseen(images, seen_images(folder), run=folder)
    run = load_run(folder)
    run.config.metrics = config.metrics  # the batch size
    made = build_batch_maker(run.config)(images)
    calibration = measure(
        run.segmenter, made, config, images, best=folder / "best", device=default_device(), trained=run.config
    )
    path = out or folder / FILE
    calibration.save(path)
    show(calibration, path, as_json=as_json)
    return path


def seen_images(folder: Path) -> dict[str, set[str]]:
    """Return what a run has seen, see ``read_seen``; of a run that kept no list, from its own config's splits.

    Args:
        folder: of the run.

    Raises:
        UserError: the list is damaged, or there is none and the splits cannot be read.
    """
    if (seen := read_seen(folder)) is not None:
        return seen
    config: Experiment = load_config(folder / CONFIG)
    try:
        training = (
            load_split(config.data, config.data.train, clean=True) if not config.data.limit else load_training(config)
        )
        selection = with_clean(config.data, load_split(config.data, config.data.val))
        return {"training": set(image_keys(training).values()), "selection": set(image_keys(selection).values())}
    except UserError as error:
        raise UserError(
            f"{folder}: expected a list of the images that the run has seen, got none, and its splits cannot be read "
            f"({error.message}); calibrate where its data is, or tune it again",
            code="E-DECIDE-UNCHECKED",
        ) from error


def measure(
    segmenter: Segmenter,
    batches: Any,
    config: Experiment,
    images: Dataset,
    *,
    best: Path,
    device: torch.device,
    trained: Experiment | None = None,
) -> Calibration:
    """Return a model's losses at every threshold.

    Args:
        segmenter: of the best epoch.
        batches: of the calibration images, with truths.
        config: whose data names the images.
        images: calibration images.
        best: folder of the weights.
        device: where batches are sent.
        trained: the run's own config, whose frame and prompt are used; None: `config`.

    Raises:
        UserError: an image without a truth.
    """
    risks = RiskCurves()
    for batch in batches:
        maps = segmenter.predict(batch.to(device))
        for name, values, truth in zip(batch.ids, maps, batch.truths, strict=True):
            if truth is None:
                raise UserError(
                    f"{name}: expected a mask to calibrate on, got none; leave it out, or declare it clean",
                    code="E-DECIDE-UNLABELLED",
                )
            risks.add(values.cpu().numpy(), truth)
    return Calibration.of(
        risks,
        data=label_of(config.data),
        split=images.split,
        created=datetime.now(timezone.utc).date().isoformat(),
        weights_sha256=best_digest(best),
        settings=model_settings(trained or config),
        data_fingerprint=images.fingerprint(),
        ids=list(images.ids),
    )


def calibrate_at_the_end(
    segmenter: Segmenter,
    make_batches: BatchMaker,
    config: Experiment,
    images: Dataset,
    *,
    folder: Path,
    device: torch.device,
) -> str:
    """Calibrate a run whose training has just ended; return the line for its log.

    Args:
        segmenter: of the best epoch.
        make_batches: makes batches without augmentation.
        config: of the run.
        images: set aside from validation.
        folder: of the run.
        device: where batches are sent.
    """
    calibration = measure(segmenter, make_batches(images), config, images, best=folder / "best", device=device)
    calibration.save(folder / FILE)
    return f"calibrated on {calibration.images}; a promise: samis predict {folder} PHOTOS --miss-at-most 0.1"


def best_digest(folder: Path) -> str:
    """Return one sha256 over the weight files of a run's ``best`` folder."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file_sha256(file).encode())
    return digest.hexdigest()


def stated_calibration(folder: Path | None) -> dict[str, Any]:
    """Return the calibration of a run for its rows and card, as ``calibration`` -> ``calibration_record``; {} without one.

    A calibration of other weights than the run's is not one of this run.

    Args:
        folder: of the run; None of what is not trained.

    Raises:
        UserError: the file is damaged.
    """
    if folder is None or not (folder / FILE).is_file():
        return {}
    digest = best_digest(folder / "best")
    calibration = read_calibration(folder / FILE)
    return {RECORD: calibration_record(calibration)} if calibration.weights_sha256 == digest else {}


def show(calibration: Calibration, path: Path, *, as_json: bool) -> None:
    """Print a calibration and the promises that it allows."""
    result = promises(calibration)
    if as_json:
        print(json.dumps({"file": str(path), "images": calibration.images, "promises": result}))
        return
    print(f"calibrated on {calibration.images}")
    for each in result:
        if each["threshold"] is None:
            print(
                f"  {each['promise']}: {'not attainable' if 'not attainable' in each['reason'] else 'too few images'}"
            )
        else:
            print(f"  {each['promise']}: threshold {each['threshold']:.4g}")
    print(f"written: {path}")
