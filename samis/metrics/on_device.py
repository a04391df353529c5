"""Counts a map on a GPU without copying it back: only 8 x 256 counts per image are copied.

That is a map of bytes, or of floats that are bytes / 255. A map of other floats has as many levels as pixels, or nearly, so
that its counts would be larger than itself: `device_pair` fetches it.

The ground truth's distance field is made on the CPU once and sent over; metrics that need connected components or a
distance transform of the map itself (Pratt, boundaries, objects) fetch that one map.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samis.errors import UserError
from samis.metrics.float_pair import is_bytes, make_pair
from samis.metrics.pair import Pair
from samis.metrics.truth import MaskFields, TruthFields


class DevicePair(Pair):
    """A `Pair` whose map stays on its device.

    Args:
        image: (H, W) or (1, H, W) tensor on any device, uint8, or float that is bytes / 255.
        truth: its ground truth's fields.
        protocol: key of ``samis.metrics.PROTOCOLS``.
        threshold: the absolute threshold of the ``inspection`` protocol.

    Raises:
        UserError: not such a tensor, or not of the truth's size; other floats are for `device_pair`.
    """

    def __init__(self, image: Tensor, truth: TruthFields, *, protocol: str = "pysod", threshold: float = 0.5) -> None:
        image = image.detach()
        if image.ndim == 3 and image.shape[0] == 1:
            image = image[0]
        if tuple(image.shape) != truth.hw:
            raise UserError(
                f"map: expected the truth's size {truth.hw}, got {tuple(image.shape)}; resize the map first",
                code="E-METRIC-MAP-SIZE",
            )
        if image.dtype != torch.uint8:
            floats, image = image, _quantise(image)
            if not is_bytes(floats, image, torch.finfo(floats.dtype).eps):
                raise UserError(
                    "map: expected bytes, or floats that are bytes / 255, got other floats; use device_pair()",
                    code="E-METRIC-MAP-FLOATS",
                )
        self.tensor = image
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
        """The map in the CPU's memory, fetched when first used."""
        if self._fetched is None:
            assert self.tensor is not None
            self._fetched = self.tensor.cpu().numpy()
        return self._fetched

    def _count(self, fields: MaskFields, split_yx: tuple[int, int]) -> np.ndarray:
        assert self.tensor is not None
        codes = fields.kept_on(self.tensor.device, split_yx, lambda: fields.codes(split_yx).astype(np.int64) << 8)
        counts = torch.bincount((codes + self.tensor).reshape(-1), minlength=2048)
        return counts.cpu().numpy().astype(np.float64).reshape(4, 2, 256)


def device_pair(image: Tensor, truth: TruthFields, *, protocol: str = "pysod", threshold: float = 0.5) -> Pair:
    """Return the pair of a map on any device, as `samis.metrics.float_pair.make_pair` does of an array.

    Args:
        image: (H, W) or (1, H, W) tensor, uint8 or float in [0, 1]; only floats that are not bytes / 255 are fetched.
        truth: as for `DevicePair`.
        protocol: as for `DevicePair`.
        threshold: as for `DevicePair`.

    Raises:
        UserError: as for `DevicePair`.
    """
    image = image.detach()
    image = image[0] if image.ndim == 3 and image.shape[0] == 1 else image
    floats = image.is_floating_point() and tuple(image.shape) == truth.hw
    if floats and not is_bytes(image, _quantise(image), torch.finfo(image.dtype).eps):
        values = image.cpu().double() if image.dtype == torch.bfloat16 else image.cpu()
        return make_pair(values.numpy(), truth, protocol=protocol, threshold=threshold)
    return DevicePair(image, truth, protocol=protocol, threshold=threshold)


def _quantise(image: Tensor) -> Tensor:
    if not image.is_floating_point():
        raise UserError(
            f"map: expected uint8 or floats in [0, 1], got {image.dtype}; convert it", code="E-METRIC-MAP-TYPE"
        )
    low, high = torch.stack([image.min(), image.max()]).tolist()
    if not (low >= 0 and high <= 1):  # also true of NaN
        raise UserError(
            f"map: expected values in [0, 1], got {low:.4g}..{high:.4g}; apply the sigmoid, or divide by 255",
            code="E-METRIC-MAP-RANGE",
        )
    return torch.floor(image.double() * 255 + 0.5).to(torch.uint8)
