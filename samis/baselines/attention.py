"""Attention over channels and over places, as three or more of the surface-defect networks use it.

Paper: Woo et al., CBAM: Convolutional Block Attention Module, ECCV 2018 (doi 10.1007/978-3-030-01234-2_1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """(V, C, h, w) features to (V, C, 1, 1) weights in (0, 1): one small network on the average and on the maximum.

    Args:
        channels: C.
        reduction: how many times fewer the hidden layer has, but at least 4.

    >>> ChannelAttention(8)(torch.zeros(1, 8, 5, 3)).shape
    torch.Size([1, 8, 1, 1])
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(4, channels // reduction)
        self.shared = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the weights."""
        answer: Tensor = self.shared(x.mean((2, 3), keepdim=True)) + self.shared(x.amax((2, 3), keepdim=True))
        return answer.sigmoid()


class SpatialAttention(nn.Module):
    """(V, C, h, w) features to (V, 1, h, w) weights in (0, 1): a 7 x 7 convolution over channel mean and maximum.

    >>> SpatialAttention()(torch.zeros(1, 8, 5, 3)).shape
    torch.Size([1, 1, 5, 3])
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weights."""
        answer: Tensor = self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1))
        return answer.sigmoid()


class ResidualCbam(nn.Module):
    """Features plus themselves after channel, then spatial attention; the sum keeps what both would switch off.

    Args:
        channels: of the features, in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, C, h, w) features."""
        chosen = x * self.channel(x)
        return x + chosen * self.spatial(chosen)
