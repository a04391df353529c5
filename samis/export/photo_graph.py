"""A network with everything around it as one traceable module: uint8 photos of any size in, maps and masks at their size out.

Framing and its inverse are written as products with matrices that are made from the photo's size inside the graph, since no
runtime offers Pillow's resize. Both passes round to 8 bits as Pillow does. Exact for photos of up to 8192 px that are at most 16
times as long as the frame.

Code: Pillow (MIT-CMU licence), ``Resample.c``: the triangle filter, its support and normalisation, weights of 22 bits. Here each
weight is split into two factors of 11 bits, whose sums float32 holds exactly, so that ties of two grey levels fall as Pillow's do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from samis.core.geometry import to_frame
from samis.core.preprocessing import PIXEL_MEAN, PIXEL_STD

HALF = 2048
"""Of the 22 bits of a weight, what one of its two factors counts."""


class PhotoGraph(nn.Module):
    """Photos in, maps and masks out.

    Args:
        network: gives (N, 1, h, w) logits of (N, 3, S, S) framed images and of (2,) float32, their rows and columns that show
            the photo.
        frame_px: side S of the square frame.
        threshold: in [0, 1); the mask is where the map is above it.
    """

    def __init__(self, network: nn.Module, *, frame_px: int, threshold: float) -> None:
        super().__init__()
        self.frame_px, self.threshold = frame_px, threshold
        self.enter = EnterFrame(frame_px)
        self.network = network
        self.leave = LeaveFrame(frame_px)

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """Segment photos.

        Args:
            photo: (N, H, W, 3) uint8, RGB.

        Returns:
            map (N, H, W) float32 in [0, 1] and mask (N, H, W) bool.
        """
        images, scaled_hw = self.enter(photo)
        values = self.leave(self.network(images, scaled_hw), scaled_hw, torch._shape_as_tensor(photo)[1:3])
        return values, values > self.threshold


class EnterFrame(nn.Module):
    """``samis.core.geometry.frame_image`` of whole photos: scaled, normalised, padded with zeros right and below."""

    def __init__(self, frame_px: int) -> None:
        super().__init__()
        self.frame_px = frame_px

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, 3, S, S) images, and (2,) float32 rows and columns that show the photo."""
        hw = torch._shape_as_tensor(photo)[1:3].float()
        shown = scaled_hw(hw, self.frame_px)
        pixels = photo.permute(0, 3, 1, 2).float()
        (high, low), (tall, short) = (shrink_matrices(hw[dim], shown[dim], self.frame_px) for dim in (1, 0))
        wide = _rounded(pixels @ high.transpose(-2, -1), pixels @ low.transpose(-2, -1))
        small = _rounded(tall @ wide, short @ wide)
        mean, std = (small.new_tensor(values)[:, None, None] for values in (PIXEL_MEAN, PIXEL_STD))
        steps = torch.arange(self.frame_px).float()
        inside = (steps < shown[0]).float()[:, None] * (steps < shown[1]).float()[None]
        framed = (small - mean) / std * inside
        return framed.reshape(-1, 3, self.frame_px, self.frame_px), shown  # so that a tracer knows the sides


class LeaveFrame(nn.Module):
    """``samis.core.geometry.to_file_size`` of uncut photos, and the sigmoid last."""

    def __init__(self, frame_px: int) -> None:
        super().__init__()
        self.frame_px = frame_px

    def forward(self, logits: Tensor, shown: Tensor, file_hw: Tensor) -> Tensor:
        """Return (N, H, W) maps of (N, 1, h, w) logits; `shown` as from ``EnterFrame``, `file_hw` (2,) int64."""
        framed = to_frame(logits, self.frame_px)[:, 0]
        hw = file_hw.float()
        rows, columns = (enlarge_matrix(shown[dim], hw[dim], self.frame_px) for dim in range(2))
        return (rows @ (framed @ columns.transpose(-2, -1))).sigmoid()


def scaled_hw(hw: Tensor, frame_px: int) -> Tensor:
    """Return (2,) rows and columns that a photo fills, as ``samis.core.geometry.scaled_size`` does; float32.

    The share above a whole number is compared with one half instead of adding it: a float32 sum could round up.
    Exact for photos of up to 8192 px.
    """
    exact = hw * frame_px / hw.max()
    whole = exact.floor()
    return (whole + (exact - whole >= 0.5).float()).clamp_min(1)


def shrink_matrices(length: Tensor, shown: Tensor, frame_px: int) -> tuple[Tensor, Tensor]:
    """Return the weights with which L pixels become the first `shown` of S, the others 0: Pillow's, in units of 2^-22.

    Args:
        length: L, a float32 scalar.
        shown: how many pixels of the frame they become, a float32 scalar.
        frame_px: S.

    Returns:
        (S, L) float32 each: whole numbers from 0 to 2^11; a weight is the first times 2^11, plus the second.
    """
    source = 2 * _steps(length) + 1
    target = 2 * torch.arange(frame_px).float() + 1
    apart = (source[None] * shown - target[:, None] * length).abs()
    heights = (2 * torch.maximum(length, shown) - apart).relu() * (target < 2 * shown).float()[:, None]
    total = heights.sum(1, keepdim=True).clamp_min(1)
    high, rest = _divided(heights, total)
    low, rest = _divided(rest, total)
    return high, low + (2 * rest >= total).float()


def _divided(rest: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """Return 2^11 rest / total as a whole number, and what remains: long division, in which float32 holds every number exactly.

    Args:
        rest: whole numbers from 0 to `total`.
        total: whole numbers from 1 to 2^18.
    """
    result = torch.zeros_like(rest)
    for bits in (6, 5):
        scaled = rest * 2**bits
        digit = (scaled / total).floor()
        rest = scaled - digit * total
        over = (rest >= total).float() - (
            rest < 0
        ).float()  # where a runtime's quotient was rounded past a whole number
        result, rest = result * 2**bits + digit + over, rest - over * total
    return result, rest


def enlarge_matrix(shown: Tensor, length: Tensor, frame_px: int) -> Tensor:
    """Return the (L, S) float32 weights of a bilinear resize, corners not aligned, of the first `shown` of S values to L."""
    place = ((2 * _steps(length) + 1) * shown - length) / (2 * length)
    place = torch.minimum(place.clamp_min(0), shown - 1)
    return (1 - (place[:, None] - torch.arange(frame_px).float()[None]).abs()).relu()


def _steps(length: Tensor) -> Tensor:
    """Return 0, 1 ... as float32, `length` of them; its count stays symbolic in a traced graph."""
    count: Any = length.long()
    return torch.arange(count).float()


def _rounded(high: Tensor, low: Tensor) -> Tensor:
    """Return (2^11 high + low) / 2^22, rounded half up to whole grey levels in [0, 255]; `high` and `low` are whole numbers."""
    carried = ((low + HALF**2 / 2) / HALF).floor()
    return ((high + carried) / HALF).floor().clamp(0, 255)
