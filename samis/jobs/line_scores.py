"""Scores and times exported files next to the run that they were made of: one evaluator, the same photos, the same processor."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samis.core.contracts import Batch, Dataset, Sample, Segmenter
from samis.data.base import subset
from samis.evaluation.cost import IMAGES, WARM_UPS, device_name
from samis.evaluation.evaluator import Evaluator
from samis.evaluation.labels import digits, label
from samis.export.exported import ExportedSegmenter, map_of, open_file
from samis.factory import build_batch_maker
from samis.jobs.line_graph import framing_of
from samis.jobs.load import LoadedRun
from samis.prediction import Predictor
from samis.prompts import build_prompter

COLUMNS = ("s_measure", "weighted_f", "mae")


class MaskIou:
    """A segmenter that also notes the IoU of its masks, cut at the run's threshold (a ``Segmenter``).

    Args:
        inner: who answers.
        threshold: above which a pixel is a defect.
    """

    def __init__(self, inner: Segmenter, threshold: float) -> None:
        self.inner, self.threshold = inner, threshold
        self.ious: list[float] = []

    def predict(self, batch: Batch) -> list[Tensor]:
        """Return the inner segmenter's maps."""
        maps = self.inner.predict(batch)
        for values, truth in zip(maps, batch.truths, strict=True):
            if truth is not None and truth.any():
                mask = values.cpu().numpy() > self.threshold
                self.ious.append(float((mask & truth).sum() / (mask | truth).sum()))
        return maps

    def describe(self) -> dict[str, Any]:
        """Return what the inner segmenter says."""
        return self.inner.describe()


def score_files(run: LoadedRun, files: Mapping[str, Path], dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Score and time the run ("original") and its files.

    Args:
        run: its learner on the CPU.
        files: target -> file.
        dataset: labelled photos.

    Returns:
        target -> ``metrics``, ``mask_iou`` (mean IoU of the masks at the run's threshold), ``p50_ms``, ``p95_ms`` (photo to map,
        batch 1), ``timed_images``, ``device``.
    """
    config, threads = run.config, torch.get_num_threads()
    threshold = run.threshold
    framing = framing_of(config)
    predictor = Predictor(run.segmenter, framing, build_prompter(config.prompt))

    def own(image: np.ndarray) -> np.ndarray:
        return predictor.maps([Sample("timed", image)])[0]

    segmenters: dict[str, tuple[Segmenter, Callable[[np.ndarray], Any]]] = {"original": (run.segmenter, own)}
    for target, path in files.items():
        file = open_file(path, threads=threads)

        def of_file(image: np.ndarray, file: Any = file) -> np.ndarray:
            return map_of(file, image, framing.placements((image.shape[0], image.shape[1])))

        segmenters[target] = (ExportedSegmenter(file, dataset, name=target), of_file)
    timed = subset(dataset, IMAGES)
    photos = [timed[number].image for number in range(len(timed))]
    result = {}
    for target, (segmenter, call) in segmenters.items():
        noted = MaskIou(segmenter, threshold)
        evaluator = Evaluator(
            build_batch_maker(config)(dataset), dataset.ids, protocol=config.metrics.protocol, names=config.metrics.names,
            threshold=threshold, alone=True, progress=True, truth_cache=0,
        )  # fmt: skip
        metrics = evaluator(noted).metrics
        mask_iou = float(np.mean(noted.ious)) if noted.ious else None
        result[target] = {"metrics": metrics, "mask_iou": mask_iou, **latency(call, photos)}
    return result


def latency(call: Callable[[np.ndarray], Any], photos: Sequence[np.ndarray]) -> dict[str, Any]:
    """Time one photo at a time, from its pixels in memory to its map in memory.

    Args:
        call: gives a photo's map.
        photos: (H, W, 3) uint8 each, at least one.
    """
    for _ in range(WARM_UPS):
        call(photos[0])
    times = []
    for photo in photos:
        start = time.perf_counter()
        call(photo)
        times.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "timed_images": len(times), "device": device_name("cpu")}


def score_table(report: Mapping[str, Any]) -> str:
    """Return the scores of ``line_ready.json`` as aligned text."""
    original, scored = report["original"], report["scored"]
    shown = [name for name in COLUMNS if name in original["metrics"]] or list(original["metrics"])[:3]
    rows = [("original", original, None)] + [(file["target"], file["scores"], file) for file in report["files"]]
    header = ["", *(label(name) for name in shown), "IoU of masks", "p50 ms", "p95 ms", "MB", "map differs by"]
    lines = [header]
    for name, scores, file in rows:
        iou = scores["mask_iou"]
        lines.append(
            [
                name,
                *(f"{scores['metrics'][metric]:.{digits(metric)}f}" for metric in shown),
                "" if iou is None else f"{iou:.3f}",
                f"{scores['p50_ms']:.1f}",
                f"{scores['p95_ms']:.1f}",
                "" if file is None else f"{file['megabytes']:.1f}",
                "" if file is None else f"{file['difference']:.1g}",
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    aligned = []
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        aligned.append("  ".join([first.ljust(widths[0]), *cells]))
    cut = f"masks cut at the run's threshold {float(report['threshold']):.3f}"
    about = f"{report['data']}, {scored['split']}, {scored['images']} images; {cut}"
    timed = (
        f"latency: photo to map, batch 1, median and 95th percentile of {original['timed_images']} photos on "
        f"{original['device']}"
    )
    return "\n".join([about, *aligned, timed])
