"""Count a map that lives on a GPU without bringing it back: only 8 x 256 counts per image travel.

The ground truth's distance field is made on the CPU once and sent over; metrics that need connected components or a
distance transform of the map itself (Pratt, boundaries, objects) fetch that one map.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samis.contracts import UserError
from samis.metrics.pair import Pair
from samis.metrics.truth import MaskFields, TruthFields


class DevicePair(Pair):
    """A `Pair` whose map stays on its device.

    Args:
        image: (H, W) or (1, H, W) tensor on any device, uint8, or float in [0, 1] (rounded half up to bytes).
        truth: its ground truth's fields.
        protocol: key of ``samis.metrics.PROTOCOLS``.
        threshold: the absolute threshold of the ``inspection`` protocol.

    Raises:
        UserError: not such a tensor, or not of the truth's size.
    """

    def __init__(self, image: Tensor, truth: TruthFields, *, protocol: str = "pysod", threshold: float = 0.5) -> None:
        image = image.detach()
        if image.ndim == 3 and image.shape[0] == 1:
            image = image[0]
        if tuple(image.shape) != truth.hw:
            raise UserError(
                f"map: expected the truth's size {truth.hw}, got {tuple(image.shape)}; resize the map first"
            )
        self.tensor = image if image.dtype == torch.uint8 else _quantise(image)
        if truth.ignored is not None and truth.ignored.any():
            left_out = torch.from_numpy(truth.ignored).to(image.device)
            self.tensor = torch.where(left_out, self.tensor[~left_out].min(), self.tensor)
        self.truth = truth
        self.protocol = protocol
        self.threshold = threshold
        self._counts = {}
        self._fetched: np.ndarray | None = None

    @property
    def map_u8(self) -> np.ndarray:  # type: ignore[override]
        """The map in the CPU's memory, fetched when first asked for."""
        if self._fetched is None:
            assert self.tensor is not None
            self._fetched = self.tensor.cpu().numpy()
        return self._fetched

    def _count(self, fields: MaskFields, split_yx: tuple[int, int]) -> np.ndarray:
        assert self.tensor is not None
        codes = fields.kept_on(self.tensor.device, split_yx, lambda: fields.codes(split_yx).astype(np.int64) << 8)
        counts = torch.bincount((codes + self.tensor).reshape(-1), minlength=2048)
        return counts.cpu().numpy().astype(np.float64).reshape(4, 2, 256)


def _quantise(image: Tensor) -> Tensor:
    if not image.is_floating_point():
        raise UserError(f"map: expected uint8 or floats in [0, 1], got {image.dtype}")
    low, high = torch.stack([image.min(), image.max()]).tolist()
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise UserError(
            f"map: expected values in [0, 1], got {low:.4g}..{high:.4g}; apply the sigmoid, or divide by 255"
        )
    return torch.floor(image.double() * 255 + 0.5).to(torch.uint8)
