"""CSEPNet: levels meet by each other's spatial attention, and two scales in a level purify its edges.

Paper: Ding, Li, Liu, Wang, Cross-Scale Edge Purification Network for Salient Object Detection of Steel Defect Images,
Measurement, 2022 (doi 10.1016/j.measurement.2022.111429). Structure, widths, connections and loss as in the authors' public
code (github.com/showmaker369/CSEPNet): VGG-16 with batch norm; CBAM of maxima alone on each level; 64 channels, 32 in the
shallowest; five cross-scale feature interaction blocks (CSFI) in which x - mean over 3 x 3 weighs edges (there is no edge
branch and no edge truth), four cross-scale context blocks (CSC) between the levels; five supervised outputs, CEL (Pang et al.,
MINet, CVPR 2020) + cross-entropy + IoU + SSIM on each, all weights 1.
Differs: the public code runs each of the four deeper CSFI twice on the same input, here its answer is used twice; the CEL is of
each image, not of the batch; AdamW instead of SGD. A backbone may have fewer levels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.core.contracts import Batch
from samis.core.losses import MaskLoss, cel, hybrid

LEVELS = 5
WIDTH, SHALLOW = 64, 32
"""Channels of the levels, and of the shallowest."""


class MaximumAttention(nn.Module):
    """(V, C, h, w) features to (V, 1, h, w) weights: a 7 x 7 convolution over the channels' maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weights in (0, 1)."""
        answer: Tensor = self.conv(x.amax(1, keepdim=True))
        return answer.sigmoid()


class Gate(nn.Module):
    """Channel attention of the maximum over places, then ``MaximumAttention``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 16)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), nn.ReLU(), nn.Conv2d(hidden, channels, 1, bias=False)
        )
        self.place = MaximumAttention()

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, C, h, w) features."""
        x = x * self.channel(x.amax((2, 3), keepdim=True)).sigmoid()
        answer: Tensor = x * self.place(x)
        return answer


class CrossAttention(nn.Module):
    """Joins two scales, each first weighed by the other's spatial attention; a gate of both then mixes them.

    Args:
        before: channels of the coarse feature.
        after: of the fine one and of the answer.
        complementary: the gate g gives the fine feature 1 - g (inside a CSFI); else both get g (CSC).
    """

    def __init__(self, before: int, after: int, *, complementary: bool) -> None:
        super().__init__()
        self.complementary = complementary
        self.coarse = ConvNormRelu(before, after)
        self.of_fine, self.of_coarse = MaximumAttention(), MaximumAttention()
        self.gate = nn.Sequential(ConvNormRelu(2 * after, after), nn.Conv2d(after, after, 3, padding=1))
        self.fuse = ConvNormRelu(after, after)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Return (V, after, h, w) features of the size of `fine`."""
        coarse = self.coarse(resize_to(coarse, fine))
        seen = [fine * self.of_coarse(coarse) + fine, coarse * self.of_fine(fine) + coarse]
        gate = self.gate(torch.cat(seen, 1)).sigmoid()
        answer: Tensor = self.fuse(coarse * gate + fine * (1 - gate if self.complementary else gate))
        return answer


class EdgePurification(nn.Module):
    """Adds to a feature itself, weighted by its difference from its 3 x 3 neighbourhood."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        edge = x - F.avg_pool2d(x, 3, stride=1, padding=1)
        answer: Tensor = x + x * self.weigh(edge).sigmoid()
        return answer


class CrossScaleInteraction(nn.Module):
    """CSFI: a level and its half exchange features twice, both purified, and meet again around an identity.

    Args:
        high: channels of the level.
        low: of its half.
    """

    def __init__(self, high: int, low: int) -> None:
        super().__init__()
        self.high, self.low = ConvNormRelu(high, high), ConvNormRelu(high, low)
        self.purify_high, self.purify_low = (nn.ModuleList(EdgePurification(c) for _ in range(2)) for c in (high, low))
        self.high_to_high, self.high_to_low = _conv(high, high), _conv(high, low)
        self.low_to_low, self.low_to_high = _conv(low, low), _conv(low, high)
        self.join_high, self.join_low = ConvNormRelu(high, high), ConvNormRelu(low, low)
        self.last_high, self.last_low = _conv(high, high), _conv(low, low)
        self.meet = CrossAttention(low, high, complementary=True)
        self.leave = _conv(high, high)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        high = self.high_to_high(self.purify_high[0](self.high(x)))
        low = self.low_to_low(self.purify_low[0](self.low(_half(x))))
        joined_high = self.purify_high[1](self.join_high(high + self.low_to_high(resize_to(low, high))))
        joined_low = self.purify_low[1](self.join_low(low + self.high_to_low(_half(high))))
        met = self.meet(self.last_high(joined_high), self.last_low(joined_low))
        answer: Tensor = self.leave(met + x)
        return answer


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1)


def _half(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True)


class SideHead(nn.Sequential):
    """Three 3 x 3 convolutions, a transposed one that doubles the side, and a convolution to logits."""

    def __init__(self, width: int) -> None:
        super().__init__(
            *(ConvNormRelu(width, width) for _ in range(3)),
            nn.Dropout(0.5),
            nn.ConvTranspose2d(width, width, 2, stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )


class CSEPNet(nn.Module):
    """(V, 3, S, S) images to a list of five logits, the answer at the size of the backbone's first level.

    Args:
        backbone: timm name; the first five levels are used.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "vgg16_bn", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        channels = self.encoder.channels[:LEVELS]
        widths = [SHALLOW, *[WIDTH] * (len(channels) - 1)]
        self.gates = nn.ModuleList(Gate(c) for c in channels)
        self.reduce = nn.ModuleList(_conv(c, width) for c, width in zip(channels, widths, strict=True))
        self.interact = nn.ModuleList(CrossScaleInteraction(width, width // 2) for width in widths)
        after = [SHALLOW, *widths[:-1]]
        self.up = nn.ModuleList(ConvNormRelu(width, out) for width, out in zip(widths, after, strict=True))
        self.context = nn.ModuleList(CrossAttention(width, width, complementary=False) for width in widths[:-1])
        self.sides = nn.ModuleList(SideHead(width) for width in widths[1:])
        self.head = nn.Sequential(nn.Conv2d(SHALLOW, 1, 1), nn.Conv2d(1, 1, 3, padding=1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits, the answer first."""
        features = self.encoder(images)[: len(self.gates)]
        levels = [reduce(gate(f)) for gate, reduce, f in zip(self.gates, self.reduce, features, strict=True)]
        maps: list[Tensor] = []
        x = levels[-1]
        for number in reversed(range(len(levels))):
            if number + 1 < len(levels):
                x = self.context[number](levels[number], x)
            x = self.interact[number](x)
            if number:
                maps.insert(0, self.sides[number - 1](x))
            x = self.up[number](x)
        return [self.head(x), *maps]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: MaskLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return CEL + cross-entropy + IoU + SSIM summed over all outputs, (V,), and their parts."""
        return deep_supervision(outputs, batch, lambda *given: hybrid(*given) + cel(*given))
