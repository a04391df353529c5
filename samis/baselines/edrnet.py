"""EDRNet: attention in the encoder, weighted channels and residual blocks in the decoder, a refinement of 1-D filters.

Paper: Song, Song, Yan, EDRNet: Encoder-Decoder Residual Network for Salient Object Detection of Strip Steel Surface
Defects, IEEE TIM 69, 2020 (doi 10.1109/TIM.2020.3002277): an encoder with attention; channels weighted blocks (CWB) and
residual decoder blocks (RDB) in turn; a residual refinement structure with 1-D filters (RRS_1D); deep supervision.
Differs: the paper's figures and tables were not at hand, only its abstract. From other papers come CBAM as the attention,
the CWB's inside (the channel attention block of Yu et al., DFN, CVPR 2018), the ResNet-34 with one stage more and the
hybrid loss with all weights 1 (both BASNet's, Qin et al., CVPR 2019). The stem keeps ImageNet's stride of 2, so that
the last decoder block enlarges by 2 without a skip.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.attention import ResidualCbam
from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.contracts import Batch
from samis.losses import MaskLoss, hybrid


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around an identity: the basic block of ResNet-34."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNormRelu(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        return F.relu(x + self.second(self.first(x)))


class ChannelsWeightedBlock(nn.Module):
    """CWB: the skip's channels, weighted by what skip and decoder hold together, plus the decoder's features.

    Args:
        channels: of both inputs and of the answer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, channels, 1))

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        """Return (V, C, h, w) features; `deep` has the skip's size."""
        pooled = torch.cat([skip, deep], 1).mean((2, 3), keepdim=True)
        answer: Tensor = skip * self.weigh(pooled).sigmoid() + deep
        return answer


class ResidualDecoderBlock(nn.Module):
    """RDB: a bottleneck that enlarges, around a shortcut that enlarges too.

    Args:
        before, after: channels in and out.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        inner = max(1, before // 4)
        self.reduce = ConvNormRelu(before, inner, 1)
        self.spread = nn.Sequential(
            ConvNormRelu(inner, inner), nn.Conv2d(inner, after, 1, bias=False), nn.BatchNorm2d(after)
        )
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, hw: tuple[int, int]) -> Tensor:
        """Return (V, after, *hw) features."""
        residual = self.spread(resize_to(self.reduce(x), hw))
        answer: Tensor = self.activation(residual + resize_to(self.shortcut(x), hw))
        return answer


class OneDimensional(nn.Sequential):
    """A 3 x 1 and a 1 x 3 convolution in place of a 3 x 3 one, then batch norm and ReLU."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(
            nn.Conv2d(before, after, (3, 1), padding=(1, 0)),
            nn.Conv2d(after, after, (1, 3), padding=(0, 1), bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )


class Refinement(nn.Module):
    """RRS_1D: a small U-shaped network of 1-D filters that corrects the coarse logits by a residual.

    Args:
        width: channels of all its layers. levels: how often it halves.
    """

    def __init__(self, width: int = 64, levels: int = 4) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.down = nn.ModuleList(OneDimensional(width, width) for _ in range(levels))
        self.bottom = OneDimensional(width, width)
        self.up = nn.ModuleList(OneDimensional(2 * width, width) for _ in range(levels))
        self.leave = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, coarse: Tensor) -> Tensor:
        """Return (V, 1, h, w) logits."""
        x, skips = self.enter(coarse), []
        for block in self.down:
            skips.append(block(x))
            x = F.max_pool2d(skips[-1], 2, ceil_mode=True)
        x = self.bottom(x)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = block(torch.cat([skip, resize_to(x, skip)], 1))
        answer: Tensor = coarse + self.leave(x)
        return answer


class EDRNet(nn.Module):
    """(V, 3, S, S) images to a list of logits: refined (S), coarse (S), then each decoder block's and the extra stage's.

    Args:
        backbone: timm name. pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "resnet34", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        channels = self.encoder.channels
        self.attention = nn.ModuleList(ResidualCbam(c) for c in channels)
        self.extra = nn.Sequential(*(ResidualBlock(channels[-1]) for _ in range(3)))
        weigh, decode, sides = [], [], [nn.Conv2d(channels[-1], 1, 3, padding=1)]
        for level in reversed(range(len(channels))):
            after = channels[max(0, level - 1)]
            weigh.append(ChannelsWeightedBlock(channels[level]))
            decode.append(ResidualDecoderBlock(channels[level], after))
            sides.append(nn.Conv2d(after, 1, 3, padding=1))
        self.weigh, self.decode, self.sides = nn.ModuleList(weigh), nn.ModuleList(decode), nn.ModuleList(sides)
        self.refine = Refinement()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits, the answer first."""
        skips = [attend(f) for attend, f in zip(self.attention, self.encoder(images), strict=True)]
        x = self.extra(F.max_pool2d(skips[-1], 2, ceil_mode=True))
        sizes = [tuple(f.shape[-2:]) for f in [images, *skips[:-1]]]
        logits = [self.sides[0](x)]
        x = resize_to(x, skips[-1])
        for weigh, decode, side in zip(self.weigh, self.decode, self.sides[1:], strict=True):
            x = decode(weigh(skips.pop(), x), sizes.pop())
            logits.append(side(x))
        return [self.refine(logits[-1]), *reversed(logits)]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: MaskLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the hybrid loss summed over all outputs, (V,), and its parts."""
        return deep_supervision(outputs, batch, hybrid)
