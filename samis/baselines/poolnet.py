"""PoolNet: a feature pyramid in which pooling tells every level where the object is and mixes scales.

Paper: Liu, Hou, Cheng, Feng, Jiang, "A Simple Pooling-Based Design for Real-Time Salient Object Detection", CVPR 2019 (doi
10.1109/CVPR.2019.00404). Blocks by the paper's names: global guidance module (GGM) of a pyramid pooling module (PPM) and global
guiding flows (GGFs), feature aggregation module (FAM). Loss: cross-entropy of the one output.
Differs: the paper's option of training jointly with edge detection on another data set is left out, as the data pipeline has no
second set; batch norm after the new convolutions, because training here may start from scratch; AdamW instead of Adam.
Levels of the pyramid have 128, 256, 256, 512 and 512 channels, shallow to deep, a second convolution fuses each with its
guiding flow and the level below, and the pyramid pooling has a reduction of its own, as in the authors' public code for
ResNet-50 (github.com/backseason/PoolNet).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.core.contracts import Batch
from samis.core.losses import bce

WIDTHS = (128, 256, 256, 512, 512)
"""Channels of the pyramid's levels, shallow to deep; a backbone with fewer levels takes the deepest."""


class PyramidPoolingModule(nn.Module):
    """The deepest feature and its means over a 1 x 1, 3 x 3 and 5 x 5 grid."""

    def __init__(self, width: int, grids: tuple[int, ...] = (1, 3, 5)) -> None:
        super().__init__()
        self.grids = grids
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.ReLU()) for _ in grids)
        self.joined = ConvNormRelu(width * (len(grids) + 1), width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, width, h, w) features."""
        pooled = [
            resize_to(branch(F.adaptive_avg_pool2d(x, grid)), x)
            for grid, branch in zip(self.grids, self.branches, strict=True)
        ]
        answer: Tensor = self.joined(torch.cat([x, *pooled], 1))
        return answer


class FeatureAggregationModule(nn.Module):
    """The feature plus its averages over 2, 4 and 8 cells, each convolved, and a convolution of their sum."""

    def __init__(self, before: int, after: int, rates: tuple[int, ...] = (2, 4, 8)) -> None:
        super().__init__()
        self.rates = rates
        self.branches = nn.ModuleList(nn.Conv2d(before, before, 3, padding=1, bias=False) for _ in rates)
        self.joined = ConvNormRelu(before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, after, h, w) features."""
        total = x
        for rate, branch in zip(self.rates, self.branches, strict=True):
            pooled = F.avg_pool2d(x, rate, ceil_mode=True, count_include_pad=False)
            total = total + resize_to(branch(pooled), x)
        answer: Tensor = self.joined(F.relu(total))
        return answer


class PoolNet(nn.Module):
    """(V, 3, S, S) normalised images to (V, 1, S / s, S / s) logits, s the stride of the shallowest level used.

    Args:
        backbone: timm name.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "resnet50", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        channels = self.encoder.channels[-len(WIDTHS) :]
        widths = WIDTHS[-len(channels) :]
        self.laterals = nn.ModuleList(
            ConvNormRelu(before, width, 1) for before, width in zip(channels, widths, strict=True)
        )
        self.reduced = ConvNormRelu(channels[-1], widths[-1], 1)
        self.pyramid_pooling = PyramidPoolingModule(widths[-1])
        self.guiding_flows = nn.ModuleList(ConvNormRelu(widths[-1], width) for width in widths[:-1])
        self.fused = nn.ModuleList(ConvNormRelu(width, width) for width in widths[:-1])
        after = (widths[0], *widths[:-1])
        self.aggregations = nn.ModuleList(
            FeatureAggregationModule(width, narrower) for width, narrower in zip(widths, after, strict=True)
        )
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits at the size of the shallowest level."""
        features = self.encoder(images)[-len(self.laterals) :]
        levels = [lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)]
        guidance = self.pyramid_pooling(self.reduced(features[-1]))
        x = levels[-1]
        for index in reversed(range(len(levels) - 1)):
            level = levels[index]
            x = resize_to(self.aggregations[index + 1](x), level)
            x = self.fused[index](x + level + self.guiding_flows[index](resize_to(guidance, level)))
        logits: Tensor = self.head(self.aggregations[0](x))
        return logits

    def loss(self, outputs: Tensor, batch: Batch, mask_loss: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Return cross-entropy at the frame's size."""
        return deep_supervision([outputs], batch, bce)
