"""What is measured of a photo to compare it with others: brightness, contrast, sharpness, size, and its embedding.

Paper: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000 (variance of the Laplacian as sharpness).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from samis.core.contracts import Batch, Placement, Segmenter

MEASURES = ("brightness", "contrast", "sharpness", "size")


def measure_photo(image: np.ndarray) -> dict[str, float]:
    """Return the measures of a photo.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        ``brightness`` and ``contrast``, mean and standard deviation of the grey levels in [0, 255]; ``sharpness``, base-2
        logarithm of the variance of the Laplacian; ``size``, base-2 logarithm of the longer side in px.

    >>> measure_photo(np.full((8, 16, 3), 100, np.uint8))
    {'brightness': 100.0, 'contrast': 0.0, 'sharpness': -10.0, 'size': 4.0}
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    mean, std = cv2.meanStdDev(grey)
    _, edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_32F))
    return {
        "brightness": float(mean[0, 0]),
        "contrast": float(std[0, 0]),
        "sharpness": float(np.log2(max(float(edges[0, 0]) ** 2, 2.0**-10))),
        "size": float(np.log2(max(image.shape[:2]))),
    }


def encoder_of(segmenter: Any) -> nn.Module | None:
    """Return the network that embeds a segmenter's images, or None where it has none."""
    segmenter = getattr(segmenter, "inner", segmenter)
    sam, family = getattr(segmenter, "sam", None), getattr(segmenter, "family", None)
    result: Any = None
    if sam is not None and family is not None:
        result = family.encoder(sam)
    elif hasattr(segmenter, "network"):
        result = getattr(segmenter.network, "encoder", None)
    return result if isinstance(result, nn.Module) else None


def pooled(output: Any, placements: list[Placement]) -> np.ndarray | None:
    """Return the mean embedding of each view over the part that shows the photo.

    Args:
        output: of an encoder: (V, C, g, g), or a list of such, coarsest last.
        placements: of the V views.

    Returns:
        (V, C) float32; None where the output has another form.
    """
    if isinstance(output, list | tuple):
        output = output[-1] if output else None
    if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != len(placements):
        return None
    rows = []
    for values, placement in zip(output.float(), placements, strict=True):
        shown = [
            max(1, -(-side * size // placement.frame_px)) for side, size in zip(values.shape[-2:], placement.scaled_hw, strict=True)
        ]  # fmt: skip
        rows.append(values[:, : shown[0], : shown[1]].mean((-2, -1)))
    return torch.stack(rows).cpu().numpy().astype(np.float32)


class EmbeddingRecorder:
    """A segmenter that keeps the embedding of each photo it predicts, without a second pass (a ``Segmenter``).

    Args:
        inner: what predicts.
    """

    def __init__(self, inner: Segmenter) -> None:
        self.inner = inner
        self._found: dict[str, list[np.ndarray]] = {}

    def predict(self, batch: Batch) -> list[Tensor]:
        """Return the inner segmenter's maps."""
        outputs: list[Any] = []
        with _seen(encoder_of(self.inner), outputs):
            maps = self.inner.predict(batch)
        rows = (
            pooled(outputs[0], batch.placements) if outputs else None
        )  # of mirrored copies the photo itself comes first
        if rows is not None:
            for row, placement in zip(rows, batch.placements, strict=True):
                self._found.setdefault(batch.ids[placement.sample], []).append(row)
        return maps

    def describe(self) -> dict[str, Any]:
        """Return the inner segmenter's description."""
        return self.inner.describe()

    def take(self, sample_id: str) -> np.ndarray | None:
        """Return a photo's (C,) embedding, the mean of its views', and forget it; None where there is none."""
        rows = self._found.pop(sample_id, [])
        return np.mean(rows, axis=0) if rows else None


@contextmanager
def _seen(encoder: nn.Module | None, outputs: list[Any]) -> Iterator[None]:
    if encoder is None:
        yield
        return
    handle = encoder.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        yield
    finally:
        handle.remove()
