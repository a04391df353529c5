"""How each family of SAM scales and normalises a view: the statistics and the rule by which an image fills the frame.

Papers: Kirillov et al., Segment Anything, ICCV 2023 (the longest side fits, the rest is padded, ImageNet statistics); Ravi et
al., SAM 2, 2024 (arXiv 2408.00714: the image is stretched to the frame); Carion et al., SAM 3, 2025 (stretched, mean and
standard deviation 0.5). Used by ``samis.core.geometry`` alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""Mean of R, G and B in [0, 255] that SAM subtracts (ImageNet's)."""
PIXEL_STD = (58.395, 57.12, 57.375)
"""Standard deviation of R, G and B that SAM divides by (ImageNet's)."""


@dataclass(frozen=True)
class Preprocessing:
    """How a family of SAM sees an image.

    Attributes:
        stretched: whether the image is stretched to the whole frame; else its longest side fits and the rest is padded.
        mean: of R, G and B in [0, 255], subtracted.
        std: likewise, divided by.
        resize: "pil" scales as Pillow does, "torch" as torch does on 8-bit tensors; both bilinear and antialiased, up to one
            grey level apart.
    """

    stretched: bool = False
    mean: tuple[float, float, float] = PIXEL_MEAN
    std: tuple[float, float, float] = PIXEL_STD
    resize: str = "pil"

    def pixels(self, crop: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
        """Scale and normalise a part of an image.

        Args:
            crop: (h, w, 3) uint8 RGB.
            hw: height and width to scale to.

        Returns:
            (H, W, 3) float32.
        """
        crop = np.ascontiguousarray(crop)
        if self.resize == "pil":
            small = Image.fromarray(crop).resize((hw[1], hw[0]), Image.Resampling.BILINEAR)
            scaled = np.asarray(small, dtype=np.float32)
        else:
            channels = torch.from_numpy(crop).permute(2, 0, 1)[None]
            resized = F.interpolate(channels, hw, mode="bilinear", align_corners=False, antialias=True)[0]
            scaled = resized.permute(1, 2, 0).numpy().astype(np.float32)
        normalised: np.ndarray = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return normalised


PREPROCESSING: dict[str, Preprocessing] = {
    "sam": Preprocessing(),
    "sam2": Preprocessing(stretched=True, resize="torch"),
    "sam3": Preprocessing(stretched=True, mean=(127.5,) * 3, std=(127.5,) * 3, resize="torch"),
}
"""Preprocessing by the name of the first family that has it."""
