"""Exported files as they are used outside: a photo in, map and mask out; and as a Segmenter, for the evaluator.

A file takes whole photos or tiles as they are, so the segmenter reads the photos themselves, not the batch's framed views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samis.core.contracts import Batch, Dataset, Placement
from samis.core.geometry import coverage
from samis.errors import UserError
from samis.export.merged import INSTALL
from samis.export.openvino import check_installed

PhotoFile = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Gives the (H, W) float32 map and (H, W) bool mask of an (H, W, 3) uint8 photo."""


def open_file(path: Path, *, threads: int = 0) -> PhotoFile:
    """Open an exported ``.onnx`` or ``.xml`` on the CPU.

    Args:
        path: of the file.
        threads: that it computes with; 0 leaves it to the runtime.

    Raises:
        UserError: the runtime is missing, or cannot run the file.
    """
    return (_open_onnx if path.suffix == ".onnx" else _open_openvino)(path, threads)


def _open_onnx(path: Path, threads: int) -> PhotoFile:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"{path.name}: expected the package onnxruntime, got none; {INSTALL}", code="E-EXPORT-PACKAGE"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many classes, none of them documented
        raise _cannot_run(path, f"onnxruntime {onnxruntime.__version__}", error) from error

    def answer(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, mask = session.run(["map", "mask"], {"photo": np.ascontiguousarray(photo)[None]})
        return values[0], mask[0]

    return answer


def _open_openvino(path: Path, threads: int) -> PhotoFile:
    check_installed("openvino")
    import openvino

    # On processors with bfloat16 the runtime would choose it; threshold and framing were made for float32.
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    options |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
    try:
        model = openvino.Core().compile_model(str(path), "CPU", options)
    except Exception as error:
        raise _cannot_run(path, f"openvino {openvino.__version__}", error) from error

    def answer(photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        result = model(np.ascontiguousarray(photo)[None])
        return result["map"][0], result["mask"][0].astype(bool)

    return answer


def _cannot_run(path: Path, runtime: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(
        f"{path}: expected a model that {runtime} can run, but {reason}; install a newer runtime, or write the file again",
        code="E-EXPORT-OPERATOR",
    )


def map_of(file: PhotoFile, image: np.ndarray, placements: Sequence[Placement]) -> np.ndarray:
    """Return a photo's (H, W) float32 map: of the whole photo, or of its tiles, blended as samis blends them.

    Args:
        file: from ``open_file``.
        image: (H, W, 3) uint8.
        placements: of the photo; one if it is not cut.
    """
    height, width = image.shape[:2]
    if placements[0].crop_xyxy == (0, 0, width, height):
        return file(image)[0]
    total, weight = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for placement in placements:
        x0, y0, x1, y1 = placement.crop_xyxy
        share = coverage([placement]).numpy()[y0:y1, x0:x1]
        total[y0:y1, x0:x1] += share * file(image[y0:y1, x0:x1])[0]
        weight[y0:y1, x0:x1] += share
    return (total / np.maximum(weight, 1e-12)).clip(0, 1)


class ExportedSegmenter:
    """Scores an exported file (implements ``samis.core.contracts.Segmenter``).

    Args:
        file: from ``open_file``.
        dataset: whose samples the batches are made of; their photos are read from it.
        name: what a row says of it.
    """

    def __init__(self, file: PhotoFile, dataset: Dataset, *, name: str) -> None:
        self.file, self.dataset, self.name = file, dataset, name
        self._index = {sample_id: number for number, sample_id in enumerate(dataset.ids)}

    def predict(self, batch: Batch) -> list[Tensor]:
        """Return one (H, W) float32 map in [0, 1] per image."""
        maps = []
        for number, sample_id in enumerate(batch.ids):
            image = self.dataset[self._index[sample_id]].image
            placed = [placement for placement in batch.placements if placement.sample == number]
            maps.append(torch.from_numpy(map_of(self.file, image, placed)))
        return maps

    def describe(self) -> dict[str, Any]:
        """Return what a score row says of it."""
        return {"kind": "tuned", "prompt": "none", "mask_rule": None, "oracle": False, "exported": self.name}
