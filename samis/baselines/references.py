"""Box references: the filled box, and Otsu's threshold inside it; a segmenter with box prompts should score above both.

Paper: Otsu, A Threshold Selection Method from Gray-Level Histograms, IEEE Trans. SMC 1979 (doi 10.1109/TSMC.1979.4310076).
Differs: the side of the threshold that fills less of the box's border is called the defect, since a tight box cuts off
surface at its corners.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from samis.core.contracts import Batch
from samis.core.geometry import to_file_size
from samis.core.preprocessing import PIXEL_MEAN, PIXEL_STD
from samis.errors import UserError

REFERENCES = ("filled_box", "otsu_box")
"""Names of the two, as ``segmenter.name`` takes them."""


class BoxReference:
    """Answers each box of the prompt without any learning; several boxes of an image are united.

    Args:
        name: one of ``REFERENCES``.
    """

    def __init__(self, name: str) -> None:
        if name not in REFERENCES:
            raise ValueError(f"expected one of {', '.join(REFERENCES)}, got {name!r}")
        self.name = name

    def predict(self, batch: Batch) -> list[Tensor]:
        """Return (H, W) float32 maps, 1 on what is taken for defect.

        Raises:
            UserError: the prompt holds no boxes.
        """
        boxes = batch.prompt.boxes_xyxy
        if boxes is None:
            raise UserError(
                f"{self.name}: expected boxes, got prompt '{batch.prompt.kind}'; set prompt.kind=box",
                code="E-NET-NO-BOXES",
            )
        present = batch.prompt.present
        framed = torch.zeros_like(batch.images[:, :1], device="cpu")
        for view, placement in enumerate(batch.placements):
            grey = _grey(batch.images[view].cpu())
            for number, box in enumerate(boxes[view].cpu().numpy()):
                if present is None or bool(present[view, number]):
                    self._answer(framed[view, 0].numpy(), grey, box, placement.scaled_hw)
        return to_file_size(framed, batch.placements)

    def _answer(self, answer: np.ndarray, grey: np.ndarray, box: np.ndarray, scaled_hw: tuple[int, int]) -> None:
        height, width = scaled_hw
        x0, y0 = (max(0, int(v)) for v in np.floor(box[:2]))
        x1, y1 = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
        if x1 <= x0 or y1 <= y0:
            return
        inner = np.ones((y1 - y0, x1 - x0), bool) if self.name == "filled_box" else defect_side(grey[y0:y1, x0:x1])
        answer[y0:y1, x0:x1] = np.maximum(answer[y0:y1, x0:x1], inner)

    def describe(self) -> dict[str, Any]:
        """Return a score row's description: an oracle, since its boxes come from the truth."""
        return {
            "kind": "baseline",
            "name": self.name,
            "prompt": "box",
            "mask_rule": None,
            "oracle": True,
            "weights_sha256": None,
        }


def otsu_threshold(grey: np.ndarray) -> int:
    """Return the grey level that parts the histogram best: above it is one class, up to it the other.

    Args:
        grey: uint8, any shape.

    >>> otsu_threshold(np.array([10, 10, 12, 200, 201], np.uint8))
    12
    """
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nan_to_num(between).argmax())


def defect_side(grey: np.ndarray) -> np.ndarray:
    """Return (h, w) bool: the side of Otsu's threshold that covers less of the border; all of a flat patch."""
    if grey.min() == grey.max():
        return np.ones(grey.shape, bool)
    bright: np.ndarray = grey > otsu_threshold(grey)
    border = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    return ~bright if border.mean() > 0.5 else bright


def _grey(image: Tensor) -> np.ndarray:
    """Return (S, S) uint8 from a (3, S, S) normalised view."""
    mean, std = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STD)
    rgb = image * std[:, None, None] + mean[:, None, None]
    levels: np.ndarray = rgb.mean(0).clamp(0, 255).round().numpy().astype(np.uint8)
    return levels
