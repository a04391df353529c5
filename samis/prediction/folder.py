"""Photos into a folder of predictions: one process or several, continued where an earlier run stopped."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from samis.core.progress import Progress
from samis.core.provenance import provenance
from samis.data.pipeline.photos import Photo
from samis.prediction.deciding import ImageDecider, image_decider, kept_promise
from samis.prediction.model import LoadedModel
from samis.prediction.options import Options
from samis.prediction.photos import predict
from samis.prediction.predictions import PredictionFolder
from samis.prediction.prompting import describe_prompts, prompts_for, resolve_prompt
from samis.training.precision import default_device
from samis.training.processes import Processes
from samis.training.sync import collective_guard, gather


def predict_to(
    out: Path,
    model: LoadedModel,
    photos: Sequence[Photo],
    options: Options,
    *,
    quiet: bool = False,
    processes: Processes | None = None,
) -> dict[str, Any]:
    """Predict photos into a folder, continuing where an earlier run stopped.

    Several processes share the photos, in the groups that one process would make: each writes its own predictions, the main
    one the tables.

    Args:
        out: folder of predictions.
        model: from ``samis.jobs.predict.load_model``.
        photos: from ``find_photos``.
        options: how they are predicted.
        quiet: no progress bar.
        processes: those that share the photos; None is this one alone.

    Returns:
        What ``predictions.json`` holds besides the settings, and ``predicted_now``, the number of photos of this run.

    Raises:
        UserError: the folder holds something else, or a prompt is missing.
    """
    processes = processes or Processes(0, 1, default_device())
    with collective_guard(processes):
        prompts = prompts_for(photos, options)
        _, _, threshold, source = resolve_prompt(model, prompts, options)
        settings = {
            **model.about, **describe_prompts(model, prompts, options), "threshold": threshold,
            "min_area_px": options.min_area_px, "white": options.white, "frame": asdict(model.config.frame),
        }  # fmt: skip
        decider = image_decider(model, options, threshold, own=source == model.threshold_from)
        promise = {"promise": kept_promise(model, options).as_dict()} if options.promise else {}
    folder, todo = _open_folder(out, settings, photos, options, processes, decider)
    notes: dict[str, Any] = {
        "threshold_from": source, **promise, "failed": {}, "warnings": model.warnings, "provenance": provenance(),
    }  # fmt: skip
    before = len(photos) - len(todo)
    if before and processes.is_main_process and not quiet:
        print(f"{before} of {len(photos)} photos are done already", file=sys.stderr)
    groups = [todo[start : start + options.batch_size] for start in range(0, len(todo), options.batch_size)]
    mine = [photo for group in processes.share(groups) for photo in group]
    progress = Progress(  # of the main process's share
        before + len(mine), unit="photos", done=before, active=processes.is_main_process and not quiet
    )
    counts: dict[str, Any] = {}
    try:
        written = _write_share(folder, model, mine, options, processes, progress, notes["failed"])
    finally:  # an interrupted run, too, leaves tables of all that it has
        if processes.is_main_process:
            counts = folder.finish(notes, model.fingerprint)
        progress.close()
    return {"out": str(out), "threshold": threshold, **notes, **counts, "predicted_now": written}


def _write_share(
    folder: PredictionFolder,
    model: LoadedModel,
    photos: Sequence[Photo],
    options: Options,
    processes: Processes,
    progress: Progress,
    failed: dict[str, str],
) -> int:
    """Predict this process's photos; return how many all processes wrote, and collect their failures in `failed`.

    Args:
        folder: where the predictions go.
        model: what predicts.
        photos: this process's share.
        options: how they are predicted.
        processes: those that share the photos.
        progress: advanced for every photo, predicted or failed.
        failed: takes file -> reason.
    """
    written, before = 0, progress.bar.n
    with collective_guard(processes):
        for each in predict(model, photos, options, failed=failed):
            folder.add(each.id, each.path, each.image, each.map, each.mask, each.regions, each.scores, each.drift)
            written += 1
            progress.advance(
                before + len(failed) + written - progress.bar.n, about=f"{len(failed)} failed" if failed else ""
            )
    shares = gather(processes, (failed, written))
    failed.update({path: why for share, _ in shares for path, why in share.items()})
    return sum(number for _, number in shares)


def _open_folder(
    out: Path,
    settings: dict[str, Any],
    photos: Sequence[Photo],
    options: Options,
    processes: Processes,
    decider: ImageDecider,
) -> tuple[PredictionFolder, list[Photo]]:
    """Return the folder and the photos that it lacks, the same on every process: none writes before all have read it.

    Args:
        out: folder of predictions.
        settings: what decides the outcome; see ``PredictionFolder``.
        photos: the photos to predict.
        options: whose ``mm_per_px`` and ``redo`` the folder takes.
        processes: those that share the photos.
        decider: how the images get their verdicts.

    Raises:
        UserError: the folder holds something else.
    """
    folder: PredictionFolder | None = None
    todo: list[Photo] = []
    for turn in (True, False):  # the main process makes or empties the folder before the others read it
        with collective_guard(processes):
            if turn == processes.is_main_process:
                redo = options.redo and processes.is_main_process
                folder = PredictionFolder(
                    out, settings, mm_per_px=options.mm_per_px, redo=redo,
                    image_rule=decider.rule, image_threshold=decider.threshold,
                )  # fmt: skip
                todo = [photo for photo in photos if not folder.done(photo.id, photo.path)]
    assert folder is not None
    return folder, todo
