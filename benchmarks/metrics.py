"""Time our metrics against PySODMetrics 1.6.2: the same numbers, alternately in one run, on one core.

    python benchmarks/metrics.py                       # drawn images of 200 x 200 and 1024 x 1024
    python benchmarks/metrics.py --folders 900         # also: write, read and score that many maps under every protocol

Claims: with the ground truths' fields kept, at least 5 times as fast at 200 x 200 and 8 times at 1024 x 1024; without,
twice.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy loads its linear algebra

import statistics
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import py_sod_metrics as pysod

from samis.metrics import METRICS, PROTOCOLS, TruthFields, find_metrics, score_image
from samis.metrics.folders import read_pair, score_folders
from samis.metrics.matching import match_files

SAME = ("mae", "f_measure", "weighted_f", "s_measure", "e_measure", "iou")
"""What both compute; ours under ``pysod`` adds the overlap ratio (free) and Pratt's figure."""


def draw(side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a truth (blobs and a scratch, about a tenth of the image) and a plausible 8-bit map of it."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((side, side), np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        centre = rng.integers(side // 5, side - side // 5, 2)
        axes = rng.integers(side // 25, side // 7, 2)
        cv2.ellipse(truth, centre.tolist(), axes.tolist(), float(rng.integers(0, 180)), 0, 360, 255, -1)
    ends = rng.integers(0, side, 4)
    cv2.line(truth, ends[:2].tolist(), ends[2:].tolist(), 255, max(2, side // 60))
    noise = cv2.GaussianBlur(rng.normal(0, 400, (side, side)), (0, 0), 6)
    soft = cv2.GaussianBlur(np.roll(truth, 2, axis=0), (0, 0), side / 80).astype(float)
    return np.clip(soft + noise, 0, 255).astype(np.uint8), truth


def reference(image: np.ndarray, truth: np.ndarray) -> None:
    """Score one image with PySODMetrics, every number that ours gives."""
    kinds = (pysod.IOUHandler, pysod.DICEHandler, pysod.PrecisionHandler, pysod.RecallHandler, pysod.FmeasureHandler)
    handlers = {kind.__name__: kind(with_dynamic=True, with_adaptive=True, with_binary=True) for kind in kinds}
    metrics = (pysod.MAE(), pysod.WeightedFmeasure(), pysod.Smeasure(), pysod.Emeasure(), pysod.FmeasureV2(handlers))
    for metric in metrics:
        metric.step(image, truth)


def median_ms(times: list[float]) -> float:
    """Return the median in ms."""
    return statistics.median(times) * 1e3


def alternate(tasks: dict[str, Callable[[int], object]], rounds: int, images: int) -> dict[str, list[float]]:
    """Time the tasks image by image in turn, so that a busy moment of the machine hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for index in range(rounds * images):
        for name, task in tasks.items():
            start = time.perf_counter()
            task(index % images)
            times[name].append(time.perf_counter() - start)
    return times


def agrees(image: np.ndarray, truth: np.ndarray) -> bool:
    """Return whether MAE, weighted F and S-measure equal PySODMetrics' to 1e-9 (all numbers: tests/reference)."""
    theirs = (pysod.MAE(), pysod.WeightedFmeasure(), pysod.Smeasure())
    for metric in theirs:
        metric.step(image, truth)
    expected = [metric.get_results()[key] for metric, key in zip(theirs, ("mae", "wfm", "sm"), strict=True)]
    ours = score_image(image, truth, ("mae", "weighted_f", "s_measure")).values
    return all(
        abs(ours[name] - value) < 1e-9 for name, value in zip(("mae", "weighted_f", "s_measure"), expected, strict=True)
    )


def compare(side: int, images: int, rounds: int) -> dict[str, Any]:
    """Print the ratios and each metric's share at one size; return the line for machines, truths kept."""
    pairs = [draw(side, seed) for seed in range(images)]
    kept = [TruthFields(truth) for _, truth in pairs]
    for (image, truth), fields in zip(pairs, kept, strict=True):  # fill the fields, warm the code
        score_image(image, truth, truth_fields=fields)
    tasks: dict[str, Callable[[int], object]] = {
        "PySODMetrics": lambda i: reference(*pairs[i]),
        "ours, truths kept": lambda i: score_image(*pairs[i], SAME, truth_fields=kept[i]),
        "ours, truths again": lambda i: score_image(*pairs[i], SAME),
        "ours, truths kept, with overlap ratio and Pratt": lambda i: score_image(*pairs[i], truth_fields=kept[i]),
    }
    times = alternate(tasks, rounds, images)
    base = times["PySODMetrics"]
    print(f"\n{side} x {side}, {images} images, {rounds} rounds, median per image")
    for name, own in times.items():
        ratio = statistics.median([a / b for a, b in zip(base, own, strict=True)])
        print(f"  {name:<50} {median_ms(own):9.2f} ms   {ratio:6.1f} times as fast")
    parts: dict[str, Callable[[int], object]] = {
        name: lambda i, name=name: score_image(*pairs[i], [name], truth_fields=kept[i])  # type: ignore[misc]
        for name in PROTOCOLS["pysod"]
    }
    print("  each metric alone, truths kept (they share the counting of pixels):")
    for name, own in alternate(parts, rounds, images).items():
        print(
            f"    {name:<20} {median_ms(own):8.2f} ms   {median_ms(own) / median_ms(base):6.1%} of PySODMetrics' whole"
        )
    kept_ratio = statistics.median([a / b for a, b in zip(base, times["ours, truths kept"], strict=True)])
    peaks = []
    for task in (tasks["PySODMetrics"], tasks["ours, truths kept"]):
        tracemalloc.start()  # numpy reports its arrays to it
        task(0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return {
        "name": f"metrics: {side} x {side}, truths kept", "ratio": round(kept_ratio, 3),
        "peak_memory_ratio": round(peaks[0] / peaks[1], 3), "equal": all(agrees(*pair) for pair in pairs),
    }  # fmt: skip


def folders(number: int, side: int = 200) -> None:
    """Write maps and masks, then time reading them alone, and reading and scoring under every protocol."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for kind in ("maps", "masks"):
            (root / kind).mkdir()
        for index in range(number):
            for kind, image in zip(("maps", "masks"), draw(side, index), strict=True):
                cv2.imwrite(str(root / kind / f"{index:04d}.png"), image)
        files = match_files(root / "maps", root / "masks")
        start = time.perf_counter()
        pairs = [read_pair(own, protocol="pysod") for own in files]
        reading = time.perf_counter() - start
        assert len(pairs) == number
        print(f"\n{number} maps of {side} x {side} in folders: reading alone {reading:.2f} s")
        for protocol in PROTOCOLS:
            start = time.perf_counter()
            score_folders(files, find_metrics(None, protocol), protocol=protocol)
            print(f"  read and score, {protocol:<12} {time.perf_counter() - start:6.2f} s")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        for workers in sorted({2, cores} - {1}) if cores > 1 else ():
            start = time.perf_counter()
            score_folders(files, find_metrics(None, "pysod"), protocol="pysod", workers=workers)
            print(f"  read and score, pysod, {workers} workers {time.perf_counter() - start:6.2f} s")


def main() -> None:
    """Run the chosen comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sides", type=int, nargs="*", default=[200, 1024], help="image sides in px")
    parser.add_argument("--images", type=int, default=10, help="images per size")
    parser.add_argument("--rounds", type=int, default=3, help="times over the images")
    parser.add_argument("--folders", type=int, default=0, metavar="N", help="also score N maps from folders")
    parser.add_argument("--quick", action="store_true", help="200 x 200 alone, 3 images, 2 rounds")
    parser.add_argument("--json", action="store_true", help="end with one line: name, ratio, peak_memory_ratio, equal")
    quick = {"sides": [200], "images": 3, "rounds": 2} if "--quick" in sys.argv else {}
    parser.set_defaults(**quick)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    assert set(SAME) <= set(METRICS)
    lines = [compare(side, options.images, options.rounds) for side in options.sides]
    if options.folders:
        folders(options.folders)
    equal = all(line["equal"] for line in lines)
    if options.json:
        print(json.dumps(lines[0] | {"equal": equal}))
    raise SystemExit(0 if equal else 1)


if __name__ == "__main__":
    main()
