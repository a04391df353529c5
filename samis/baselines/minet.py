"""MINet: each level listens to its neighbours before the decoder, and to its own half size inside it.

Paper: Pang, Zhao, Zhang, Lu, "Multi-Scale Interactive Network for Salient Object Detection", CVPR 2020 (doi
10.1109/CVPR42600.2020.00943). Blocks by the paper's names: aggregate interaction module (AIM), self-interaction module (SIM),
fusion unit. Loss: cross-entropy + the consistency-enhanced loss (CEL), which weigh the same, on the one output.
VGG-16 has batch norm, as in the authors' public code (github.com/lartpang/MINet).
Differs: CEL has a smooth pixel, without which an image without defect gives no gradient; AdamW instead of SGD. Widths that the
text leaves open are chosen so that the whole has the parameters stated for it (162 million with ResNet-50): inside an AIM the
smallest of the levels that meet there, in the decoder 64, and 32 at its end.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.core.contracts import Batch
from samis.core.losses import bce, cel

LEVELS = 5
WIDTH = 64


class Merge(nn.Module):
    """The sum of one convolution of each branch, resized to the main one.

    Args:
        before: channels of the branches.
        after: channels out.
    """

    def __init__(self, before: list[int], after: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv_norm(channels, after) for channels in before)

    def forward(self, branches: list[Tensor], main: Tensor) -> Tensor:
        """Return (V, after, h, w) features at the size of `main`, before a ReLU."""
        projected = [conv(resized(branch, main)) for conv, branch in zip(self.convs, branches, strict=True)]
        return torch.stack(projected).sum(0)


class Exchange(nn.Module):
    """Every branch becomes the sum of its own convolution and of its neighbours', resized to it.

    Args:
        widths: channels of the branches, shallow to deep.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.near = [range(max(0, target - 1), min(len(widths), target + 2)) for target in range(len(widths))]
        self.merges = nn.ModuleList(
            Merge([widths[source] for source in near], after) for near, after in zip(self.near, widths, strict=True)
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Return the branches, each at its own size."""
        return [
            F.relu(merge([branches[source] for source in near], main))
            for merge, near, main in zip(self.merges, self.near, branches, strict=True)
        ]


class AggregateInteractionModule(nn.Module):
    """AIM: a level and its neighbours, projected to one width, exchange once and merge at the level's size.

    Args:
        before: channels of the two or three levels that meet.
        main: which of them is the module's own.
        after: channels out.
    """

    def __init__(self, before: list[int], main: int, after: int) -> None:
        super().__init__()
        self.main = main
        width = min(before)
        widths = [width] * len(before)
        self.transform = nn.ModuleList(ConvNormRelu(channels, width) for channels in before)
        self.exchange = Exchange(widths)
        self.merge = Merge(widths, width)
        self.out = _conv_norm(width, after)
        self.shortcut = nn.Conv2d(before[main], after, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return (V, after, h, w) features at the own level's size."""
        branches = [transform(level) for transform, level in zip(self.transform, levels, strict=True)]
        main = levels[self.main]
        merged = self.out(F.relu(self.merge(self.exchange(branches), main)))
        return F.relu(merged + self.shortcut(main))


class SelfInteractionModule(nn.Module):
    """SIM: a feature and its half size, of half the width, exchange once and merge."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.high = ConvNormRelu(width, width)
        self.low = ConvNormRelu(width, width // 2)
        self.exchange = Exchange([width, width // 2])
        self.merge = Merge([width, width // 2], width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, width, h, w) features."""
        half = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        return F.relu(self.merge(self.exchange([self.high(x), self.low(half)]), x) + x)


class MINet(nn.Module):
    """(V, 3, S, S) normalised images to (V, 1, S, S) logits.

    Args:
        backbone: timm name; the first five levels are used.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "vgg16_bn", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        channels = self.encoder.channels[:LEVELS]
        count = len(channels)
        widths = [WIDTH // 2] + [WIDTH] * (count - 1)
        self.aims = nn.ModuleList(
            AggregateInteractionModule(channels[max(0, i - 1) : i + 2], min(i, 1), widths[i]) for i in range(count)
        )
        self.sims = nn.ModuleList(SelfInteractionModule(width) for width in widths)
        self.fusions = nn.ModuleList(ConvNormRelu(widths[i], widths[max(0, i - 1)]) for i in range(count))
        self.head = nn.Sequential(ConvNormRelu(widths[0], widths[0]), nn.Conv2d(widths[0], 1, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits at the images' size."""
        levels = self.encoder(images)[: len(self.aims)]
        x = images.new_zeros(())
        for i in reversed(range(len(self.aims))):
            level = self.aims[i](levels[max(0, i - 1) : i + 2])
            x = self.fusions[i](self.sims[i](level if x.ndim == 0 else level + resize_to(x, level)))
        logits: Tensor = self.head(resize_to(x, images))
        return logits

    def loss(self, outputs: Tensor, batch: Batch, mask_loss: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Return cross-entropy + CEL of the one map."""
        return deep_supervision([outputs], batch, _with_consistency)


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Return `x` at the size of `like`: averaged where it is finer, repeated where it is coarser.

    >>> resized(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]]]]), torch.zeros(1, 1, 1, 1)).item()
    4.0
    """
    height, width = like.shape[-2:]
    if x.shape[-2] > height or x.shape[-1] > width:
        return F.adaptive_avg_pool2d(x, (height, width))
    return F.interpolate(x, (height, width), mode="nearest")


def _conv_norm(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after))


def _with_consistency(logits: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
    return bce(logits, truth, inside) + cel(logits, truth, inside)
