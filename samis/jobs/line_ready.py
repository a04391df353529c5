"""Writes a run as files for a production line: photos in, maps and masks out, scored next to the run that they were made of."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from samis.config import Experiment, load_config
from samis.core.contracts import Sample
from samis.core.files import write_atomic
from samis.core.geometry import Framing
from samis.core.provenance import provenance
from samis.core.weight_files import usual_rights
from samis.data import load_dataset
from samis.data.base import subset
from samis.data.configured import load_split
from samis.errors import ConfigError, UserError, did_you_mean
from samis.export.exported import open_file
from samis.export.openvino import check_installed, write_half, write_int8
from samis.export.photo_onnx import write_photo_onnx
from samis.jobs.line_graph import build_graph, check_run, framing_of, metadata_of
from samis.jobs.line_scores import score_files
from samis.jobs.load import LoadedRun, load_run
from samis.prediction import Predictor
from samis.prompts import build_prompter

TARGETS = {
    "onnx": ".onnx",
    "openvino-fp16": "_fp16.xml",
    "openvino-int8": "_int8.xml",
}
"""Target -> how its file's name ends."""
NEEDS = {"onnx": (), "openvino-fp16": ("openvino",), "openvino-int8": ("openvino", "nncf")}
TOLERANCE = {"onnx": 1e-3, "openvino-fp16": 0.1}
"""Largest difference of a map from samis' own; half precision moves it most at the edges of defects. INT8 has no bound: its score
says what it costs."""
SIDES = ((1.0, 1.0), (0.6, 0.93), (0.4, 0.27), (1.5, 1.1), (1.1, 2.3))
"""Heights and widths, in frames, of the photos with which a file is compared."""
REPORT = "line_ready.json"
OF_DATA = ("data.", "metrics.")


@dataclass
class LineFile:
    """One file that was written.

    Attributes:
        target: key in ``TARGETS``.
        path: of the file.
        megabytes: its size, with the ``.bin`` of an IR.
        difference: largest difference of its maps from samis' own, over the photos that it was compared with.
        flipped: share of these photos' pixels whose mask is another one.
        scores: see ``samis.jobs.line_scores.score_files``; empty if it was not scored.
    """

    target: str
    path: str
    megabytes: float
    difference: float
    flipped: float
    scores: dict[str, Any] = field(default_factory=dict)


def write_line_files(
    run_folder: Path,
    out: Path,
    targets: Sequence[str],
    *,
    overrides: Sequence[str] = (),
    split: str | None = None,
    score: bool = False,
    calibrate: int = 100,
) -> dict[str, Any]:
    """Write the files, and the report ``line_ready.json`` next to them.

    Args:
        run_folder: as samis train writes.
        out: folder for the files; made if missing.
        targets: keys of ``TARGETS``.
        overrides: ``key=value`` of data and metrics, for calibration and scores.
        split: that is scored; None takes ``data.test``.
        score: whether to score each file and the run itself, and time them.
        calibrate: number of validation photos that INT8 takes its ranges from.

    Returns:
        what the report holds.

    Raises:
        UserError: an unknown target, a run or an override that does not fit, a missing package, no photos to calibrate on, or
            a file that gives other maps than the run.
    """
    check_targets(targets)
    config = read_config(run_folder, overrides)
    check_run(config, run_folder)
    photos = _calibration(config, calibrate) if "openvino-int8" in targets else []
    dataset = load_split(config.data, split or config.data.test) if score else None
    run = load_run(run_folder)
    run.learner.to("cpu")
    run.config.data, run.config.metrics = config.data, config.metrics
    files = _write(run, out, targets, photos)
    scores = {} if dataset is None else score_files(run, {file.target: Path(file.path) for file in files}, dataset)
    for each in files:
        each.scores = scores.get(each.target, {})
    report = {
        "run": str(run_folder),
        **metadata_of(run),
        "files": [vars(each) for each in files],
        "calibration": {"split": config.data.val, "photos": len(photos)} if photos else None,
        "original": scores.get("original"),
        "scored": None if dataset is None else {"split": dataset.split, "images": len(dataset), "data": dataset.fingerprint()},
        "provenance": provenance(),
    }  # fmt: skip
    write_atomic(out / REPORT, json.dumps(report, indent=1) + "\n")
    return report


def check_targets(targets: Sequence[str]) -> None:
    """Refuse unknown targets, and known ones whose packages are missing.

    Raises:
        ConfigError: an unknown target.
        UserError: a package is missing.
    """
    for target in targets:
        if target not in TARGETS:
            raise ConfigError(
                f"--to: expected some of {', '.join(TARGETS)}, got {target!r}{did_you_mean(target, TARGETS)}",
                code="E-EXPORT-TARGET",
            )
        check_installed(*NEEDS[target])


def read_config(folder: Path, overrides: Sequence[str]) -> Experiment:
    """Return the run's config, with overrides of where the data are and how it is scored."""
    for override in overrides:
        if not override.startswith(OF_DATA):
            raise ConfigError(
                f"{override}: a run is exported as it was tuned; only keys of data and metrics may differ",
                code="E-EXPORT-OVERRIDE",
            )
    config: Experiment = load_config(folder / "config.yaml", overrides)
    return config


def _calibration(config: Experiment, count: int) -> list[np.ndarray]:
    """Return photos (or tiles) of the validation split, spread over its classes.

    Raises:
        UserError: there are none.
    """
    where = f"data.val={config.data.val}"
    try:
        dataset = load_split(config.data, config.data.val)
    except UserError as error:
        raise UserError(
            f"openvino-int8: {where}: expected validation images to calibrate on, got none ({error.message}); set data.root",
            code="E-EXPORT-CALIBRATION",
        ) from error
    if not len(dataset) or count < 1:
        raise UserError(
            f"openvino-int8: {where}: expected at least 1 validation image to calibrate on, got {min(count, len(dataset))}; "
            "set data.val and --calibrate",
            code="E-EXPORT-CALIBRATION",
        )
    framing = framing_of(config)
    chosen = subset(dataset, count)
    return [tile for number in range(len(chosen)) for tile in _tiles(chosen[number].image, framing)][:count]


def _tiles(image: np.ndarray, framing: Framing) -> list[np.ndarray]:
    boxes = [placement.crop_xyxy for placement in framing.placements((image.shape[0], image.shape[1]))]
    return [image[y0:y1, x0:x1] for x0, y0, x1, y1 in boxes]


def _write(run: LoadedRun, out: Path, targets: Sequence[str], photos: Sequence[np.ndarray]) -> list[LineFile]:
    """Write the targets in a hidden folder, compare each with the run, and only then give it its name."""
    out.mkdir(parents=True, exist_ok=True)
    workshop = out / f".{os.getpid()}.export"
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir()
    metadata = metadata_of(run)
    name = run.config.experiment
    onnx_file = workshop / f"{name}{TARGETS['onnx']}"
    probes = _probes(run)
    try:
        write_photo_onnx(build_graph(run), onnx_file, metadata, probes[1][0])
        writers: dict[str, Callable[[Path], None]] = {
            "openvino-fp16": lambda path: write_half(onnx_file, path, metadata),
            "openvino-int8": lambda path: write_int8(
                onnx_file, path, metadata, photos, transformer=run.config.segmenter.name == "sam"
            ),
        }
        made = []
        for target in TARGETS:
            if target in targets:
                path = workshop / f"{name}{TARGETS[target]}"
                if target in writers:
                    writers[target](path)
                made.append((target, path, *_compared(target, path, probes, run.threshold)))
        return [_kept(out, target, path, *differences) for target, path, *differences in made]
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _kept(out: Path, target: str, path: Path, difference: float, flipped: float) -> LineFile:
    parts = [path.with_suffix(".bin"), path] if path.suffix == ".xml" else [path]
    size = sum(part.stat().st_size for part in parts) / 1e6
    for part in parts:
        usual_rights(part)
        os.replace(part, out / part.name)
    return LineFile(target, str(out / path.name), round(size, 3), difference, flipped)


def _probes(run: LoadedRun) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return photos of several sizes with the run's own maps."""
    framing = framing_of(run.config)
    whole = Framing(framing.frame_px)
    predictor = Predictor(run.segmenter, whole, build_prompter(run.config.prompt))
    drawn = load_dataset("procedural", split="test", surface="steel", count=len(SIDES))
    probes = []
    for number, (height, width) in enumerate(SIDES):
        size = (round(width * framing.frame_px), round(height * framing.frame_px))
        photo = np.asarray(Image.fromarray(drawn[number].image).resize(size))
        probes.append((photo, predictor.maps([Sample(f"probe {number}", photo)])[0]))
    return probes


def _compared(
    target: str, path: Path, probes: Sequence[tuple[np.ndarray, np.ndarray]], threshold: float
) -> tuple[float, float]:
    """Return the largest difference of a file's maps from the run's, and the share of pixels whose mask differs.

    Raises:
        UserError: the difference is above the target's tolerance.
    """
    file, worst, flipped, pixels = open_file(path), 0.0, 0, 0
    for photo, expected in probes:
        values, mask = file(photo)
        worst = max(worst, float(np.abs(values - expected).max()))
        flipped += int((mask != (expected > threshold)).sum())
        pixels += mask.size
    if not worst <= TOLERANCE.get(target, 1.0):
        raise UserError(
            f"{path.name}: expected the run's maps within {TOLERANCE.get(target, 1.0):g}, got a difference of {worst:.2g}; it was "
            "not kept. Report this with the versions that 'pip list' prints",
            code="E-EXPORT-DIFFERS",
        )
    return worst, flipped / pixels
