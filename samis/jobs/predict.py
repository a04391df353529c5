"""Predicts photos with a run folder, a shipped adapter by its name, or the zero-shot SAM of a config."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samis.config import Experiment, load_config
from samis.core.shipped import find_model, find_run
from samis.decision.of_run import RunDecisions
from samis.drift.fingerprint import FILE, Fingerprint, drift_lines
from samis.errors import ConfigError
from samis.factory import build_segmenter
from samis.jobs.calibrate import best_digest
from samis.jobs.load import load_run
from samis.jobs.predictions_page import page_if_interrupted, write_predictions_page
from samis.prediction import Options, find_photos, predict_to
from samis.prediction.model import SAMS_OWN, LoadedModel, tuned_side
from samis.training.processes import open_processes, report_dead_process
from samis.training.sync import collective_guard

OF_A_RUN = ("frame.tile_px", "frame.overlap", "segmenter.tta")
"""Keys that may differ from a run's own config; all else is part of what was learnt."""

NO_FINGERPRINT = "not compared with the training photos: this model has no fingerprint of them"


def load_model(model: str | Path, overrides: Sequence[str] = ()) -> LoadedModel:
    """Load a run folder, a shipped adapter by its name, or the zero-shot SAM that a config names.

    Raises:
        ConfigError: an override that a run does not allow, or a config that names nothing to predict with.
        UserError: as ``load_run`` and ``build_segmenter``.
    """
    path = find_model(model)
    if path.is_dir():
        return _loaded_run(path, overrides)
    config: Experiment = load_config(path, overrides)
    if config.segmenter.name == "run":
        kept = [override for override in overrides if override.startswith(OF_A_RUN)]
        return _loaded_run(find_run(config.segmenter.run or ""), [*kept, f"segmenter.tta={config.segmenter.tta}"])
    if config.segmenter.name != "sam":
        raise ConfigError(
            f"{path}: segmenter.name: expected sam or run to predict with, got {config.segmenter.name}",
            code="E-CONFIG-NETWORK",
        )
    return LoadedModel(build_segmenter(config), config, SAMS_OWN, "SAM's own", {"model": str(path)})


def _loaded_run(folder: Path, overrides: Sequence[str]) -> LoadedModel:
    for override in overrides:
        if override.partition("=")[0] not in OF_A_RUN:
            raise ConfigError(
                f"{override}: a run is used as it was tuned; only {', '.join(OF_A_RUN)} may differ",
                code="E-PREDICT-OVERRIDE",
            )
    changed: Experiment | None = load_config(folder / "config.yaml", overrides) if overrides else None
    run = load_run(folder, tta=changed.segmenter.tta if changed else None)
    tuned = tuned_side(run.provenance.get("photo_px"), run.config)
    run.config.frame = changed.frame if changed else run.config.frame
    result = run.provenance.get("threshold") or {}
    digest = best_digest(folder / "best")
    about = {"model": str(folder), "best_sha256": digest}
    source = "validation" if result else "not chosen: this run stored none from validation"
    decisions = RunDecisions.of(folder, run.provenance, digest)
    threshold = float(result.get("value", SAMS_OWN))
    fingerprint = Fingerprint.load(folder / FILE)
    return LoadedModel(
        run.segmenter, run.config, threshold, source, about, tuned, decisions=decisions, fingerprint=fingerprint
    )


def predict_photos(
    model: str | Path,
    patterns: Sequence[str],
    out: Path,
    options: Options,
    overrides: Sequence[str] = (),
    *,
    dry_run: bool = False,
    as_json: bool = False,
) -> int:
    """Predict photos into a folder and print the result; several processes (``accelerate launch``) share the photos.

    Args:
        model: as for ``load_model``.
        overrides: likewise.
        patterns: files, folders and globs.
        out: folder for the results.
        options: how.
        dry_run: say what would be done, and stop.
        as_json: print one JSON object instead of text.

    Returns:
        exit code: 1 if some photos could not be read.

    Raises:
        UserError: no photos, no such model, or as ``predict_to``.
    """
    processes = open_processes()
    with collective_guard(processes):  # a mistake is reported once
        photos = find_photos(list(patterns), leave_out=out)
        loaded = load_model(model, overrides)
    if processes.is_main_process and not as_json:
        tiles = loaded.config.frame.tile_px or "none"
        print(f"{model}: {len(photos)} photos -> {out}, tiles {tiles}")
    if dry_run:
        return 0
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    with report_dead_process(processes), page_if_interrupted(out, active=processes.is_main_process):
        result = predict_to(out, loaded, photos, options, quiet=as_json, processes=processes)
    if not processes.is_main_process:
        return 1 if result["failed"] else 0
    page = write_predictions_page(out)
    if as_json:
        print(json.dumps(result))
    else:
        _show(result, out)
        print(f"look at them: {page}")
    for path in result["gone"]:
        print(f"no longer there, left out of the tables: {path}", file=sys.stderr)
    for reason in result["failed"].values():
        print(f"not predicted: {reason}", file=sys.stderr)
    return 1 if result["failed"] else 0


def _show(result: dict[str, Any], out: Path) -> None:
    """Print what a folder of predictions holds."""
    print(
        f"threshold {result['threshold']:.4g} ({result['threshold_from']}); {result['images']} photos in {result['out']}, "
        f"{result['defective']} with defects, {result['regions']} regions"
    )
    outcome = result["verdicts"]
    print(
        f"verdicts: {outcome['defective']} defective, {outcome['OK']} OK ({outcome['rule']} above {outcome['threshold']:.4g}); "
        f"{out / 'images.csv'}"
    )
    for line in drift_lines(result["drift"]) if result["drift"] else (NO_FINGERPRINT,):
        print(line)
