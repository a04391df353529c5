"""Writes a photo graph as one ONNX file that says in its metadata what it is, and with which threshold its mask was cut."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from samis.errors import UserError
from samis.export.merged import INSTALL
from samis.export.photo_graph import PhotoGraph
from samis.export.stock_sam import stock_forwards

OPSET = 17
AXES = {0: "batch", 1: "height", 2: "width"}


def write_photo_onnx(graph: PhotoGraph, path: Path, metadata: Mapping[str, str], example: np.ndarray) -> None:
    """Write ``photo`` (N, H, W, 3) uint8 -> ``map`` (N, H, W) float32 and ``mask`` (N, H, W) bool.

    Args:
        graph: on the CPU.
        path: of the file.
        metadata: goes into the file's ``metadata_props``.
        example: (H, W, 3) uint8 photo to trace with; H, W and the frame should differ.

    Raises:
        UserError: the package onnx is missing, or the network has an operation that ONNX lacks.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"onnx: expected the package {error.name}, got none; {INSTALL}", code="E-EXPORT-PACKAGE"
        ) from error
    photo = torch.from_numpy(np.array(example))[None]
    names = ["photo", "map", "mask"]
    with warnings.catch_warnings(), torch.no_grad(), stock_forwards(graph), pooling_by_products():
        warnings.simplefilter("ignore")
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # where it fails torch prints the whole graph
                torch.onnx.export(
                    graph.eval(), (photo,), str(path), input_names=names[:1], output_names=names[1:],
                    dynamic_axes=dict.fromkeys(names, AXES), opset_version=OPSET, dynamo=False,
                )  # fmt: skip
        except torch.onnx.errors.OnnxExporterError as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"{path.name}: expected a network whose operations ONNX has, but {reason}; export another network",
                code="E-EXPORT-UNSUPPORTED",
            ) from error
    add_metadata(path, metadata)


@contextlib.contextmanager
def pooling_by_products() -> Iterator[None]:
    """Let adaptive average pooling be two products with constant matrices: the tracer refuses it where a size seems free.

    Inside the frame no size is free, so that the sizes at the time of tracing are those of every photo.
    """
    functional: Any = F
    original = functional.adaptive_avg_pool2d

    def pooled(x: Tensor, output_size: Any) -> Tensor:
        sizes = (output_size, output_size) if isinstance(output_size, int) else output_size
        rows, columns = (
            _means(int(x.shape[dim]), int(x.shape[dim] if size is None else size))
            for dim, size in zip((-2, -1), sizes, strict=True)
        )
        return rows.to(x) @ x @ columns.to(x).transpose(-2, -1)

    functional.adaptive_avg_pool2d = pooled
    try:
        yield
    finally:
        functional.adaptive_avg_pool2d = original


def _means(before: int, after: int) -> Tensor:
    """Return the (after, before) weights of one dimension of adaptive average pooling."""
    weights = torch.zeros(after, before)
    for number in range(after):
        start, stop = number * before // after, -(-(number + 1) * before // after)
        weights[number, start:stop] = 1 / (stop - start)
    return weights


def add_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Put keys and values into the ``metadata_props`` of an ONNX file, in place of those it has."""
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.save(model, str(path))
