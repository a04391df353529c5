"""Writes a photo graph's ONNX file as OpenVINO IR: weights in half precision, or 8-bit integers calibrated on photos.

Paper: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, CVPR 2018
(doi 10.1109/CVPR.2018.00286).
Code: OpenVINO and NNCF (Intel, Apache-2.0) convert and quantise. Framing, its inverse and the sigmoid stay in floating point.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samis.errors import UserError

INSTALL = "install what it needs: pip install 'samis[openvino]'"
EXACT = [r"^/?(enter|leave)/.*"]
"""Names of the operators that are never quantised: those of ``PhotoGraph.enter`` and ``PhotoGraph.leave``."""


def check_installed(*packages: str) -> None:
    """Refuse at once where a package is missing.

    Args:
        packages: names to import, ``openvino`` or ``nncf``.

    Raises:
        UserError: one cannot be imported.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise UserError(
                f"openvino: expected the package {package}, got none ({error}); {INSTALL}", code="E-EXPORT-PACKAGE"
            ) from error


def write_half(onnx_file: Path, path: Path, metadata: Mapping[str, str]) -> None:
    """Write IR (``path`` and the ``.bin`` next to it) with weights in half precision."""
    import openvino

    _save(openvino.Core().read_model(str(onnx_file)), path, metadata)


def write_int8(
    onnx_file: Path, path: Path, metadata: Mapping[str, str], photos: Sequence[np.ndarray], *, transformer: bool
) -> None:
    """Write IR whose network computes with 8-bit integers, its ranges taken from photos (post-training quantisation).

    Args:
        onnx_file: of ``write_photo_onnx``.
        path: of the ``.xml``.
        metadata: goes into the model's ``rt_info`` under ``samis``.
        photos: (H, W, 3) uint8 each, of the validation split, not empty.
        transformer: whether the network is one, such as a SAM.
    """
    import nncf
    import openvino

    nncf.set_log_level("ERROR")
    model = openvino.Core().read_model(str(onnx_file))
    data = nncf.Dataset(list(photos), lambda photo: np.ascontiguousarray(photo)[None])
    kind = nncf.ModelType.TRANSFORMER if transformer else None
    with contextlib.redirect_stdout(sys.stderr):  # its progress is no result
        model = nncf.quantize(
            model, data, subset_size=len(photos), model_type=kind,
            ignored_scope=nncf.IgnoredScope(patterns=EXACT, validate=False),
        )  # fmt: skip
    _save(model, path, metadata)


def _save(model: Any, path: Path, metadata: Mapping[str, str]) -> None:
    import openvino

    for key, value in metadata.items():
        model.set_rt_info(value, ["samis", key])
    openvino.save_model(model, str(path), compress_to_fp16=True)
