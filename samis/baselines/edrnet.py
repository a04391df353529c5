"""EDRNet: attention in every block of the encoder, weighted channels and residual blocks in the decoder, 1-D filters at the end.

Paper: Song, Song, Yan, EDRNet: Encoder-Decoder Residual Network for Salient Object Detection of Strip Steel Surface Defects,
IEEE TIM 69, 2020 (doi 10.1109/TIM.2020.3002277). Structure, widths, connections and loss as in the authors' public code
(github.com/SongGuorong/EDRNet): ResNet-34 whose stem has stride 1 and keeps its pooling, CBAM (Woo et al., ECCV 2018) inside
every block; a bridge of stride 2 and of dilations 2 and 4; per stage a channel weighted block (CWB) and two residual decoder
blocks (RDB) with a channel shuffle and one PReLU; a residual refinement structure with 1-D filters (RRS_1D), of dilations 1, 1,
2 and 4; seven supervised outputs, the hybrid loss (Qin et al., BASNet, CVPR 2019) on each, all weights 1.
Differs: the stem is the backbone's own, with stride 1, instead of a new 3 x 3 convolution, so that ImageNet weights fit it too;
no bias before batch norm; AdamW instead of RMSprop.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.attention import ChannelAttention
from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Pretrained
from samis.baselines.full_size import FullSizeEncoder
from samis.core.contracts import Batch
from samis.core.losses import MaskLoss, hybrid
from samis.errors import UserError


class Cbam(nn.Module):
    """Channel attention, then spatial attention whose logits are normalised; at the start all places weigh one half."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels)
        norm = nn.BatchNorm2d(1)
        nn.init.zeros_(norm.weight)
        self.spatial = nn.Sequential(nn.Conv2d(2, 1, 7, padding=3, bias=False), norm)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, C, h, w) features."""
        x = x * self.channel(x)
        seen = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        answer: Tensor = x * self.spatial(seen).sigmoid()
        return answer


class AttentiveEncoder(FullSizeEncoder):
    """A ResNet with CBAM at the end of each block's residual branch.

    Raises:
        UserError: the backbone has no residual blocks with a place for attention.
    """

    def __init__(self, backbone: str, *, pretrained: Pretrained = False) -> None:
        super().__init__(backbone, pretrained=pretrained, removed=1)
        blocks = [module for module in self.network.modules() if hasattr(module, "se") and hasattr(module, "bn2")]
        if not blocks:
            raise UserError(
                f"segmenter.backbone={backbone}: EDRNet needs a ResNet, whose blocks it gives attention; choose another, such as "
                "resnet34",
                code="E-NET-BACKBONE",
            )
        for block in blocks:
            last = block.bn3 if hasattr(block, "bn3") else block.bn2
            block.se = Cbam(last.num_features)


class ChannelWeightedBlock(nn.Module):
    """CWB: the skip's channels, weighted by what skip and decoder hold together, plus the decoder's features.

    Args:
        channels: of both inputs and of the answer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(nn.Conv2d(2 * channels, channels, 1), nn.PReLU(), nn.Conv2d(channels, channels, 1))

    def forward(self, skip: Tensor, deep: Tensor) -> Tensor:
        """Return (V, C, h, w) features; `deep` has the skip's size."""
        pooled = torch.cat([deep, skip], 1).mean((2, 3), keepdim=True)
        answer: Tensor = skip * self.weigh(pooled).sigmoid() + deep
        return answer


class ResidualDecoderBlock(nn.Module):
    """RDB: two 3 x 3 convolutions with a shuffle of two halves of the channels between them, and a 1 x 1, around a shortcut.

    Args:
        before: channels in.
        after: channels out, even.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = _conv_norm(before, after, 3)
        self.second = _conv_norm(after, after, 3)
        self.third = _conv_norm(after, after, 1)
        self.shortcut = nn.Identity() if before == after else _conv_norm(before, after, 1)
        self.activation = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, after, h, w) features."""
        residual = shuffle(self.activation(self.first(x)))
        residual = self.third(self.activation(self.second(residual)))
        answer: Tensor = self.activation(residual + self.shortcut(x))
        return answer


def shuffle(x: Tensor) -> Tensor:
    """Return the channels of two halves in turn.

    >>> shuffle(torch.arange(4.0)[None, :, None, None]).flatten().tolist()
    [0.0, 2.0, 1.0, 3.0]
    """
    views, channels, height, width = x.shape
    return x.reshape(views, 2, channels // 2, height, width).transpose(1, 2).flatten(1, 2)


def _conv_norm(before: int, after: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(after))


class Refinement(nn.Module):
    """RRS_1D: a U-shape of 1-D filters corrects the coarse logits by a residual; skips are what is between the two filters.

    Args:
        width: channels of all layers.
        dilations: of the stages, from the image's size down.
    """

    def __init__(self, width: int = 64, dilations: tuple[int, ...] = (1, 1, 2, 4)) -> None:
        super().__init__()
        before = [1, *[width] * (len(dilations) - 1)]
        self.down_rows = nn.ModuleList(_rows(b, width, d) for b, d in zip(before, dilations, strict=True))
        self.down_columns = nn.ModuleList(_columns(width, width, d) for d in dilations)
        self.bridge = ConvNormRelu(width, width)
        self.up_rows = nn.ModuleList(_rows(width, width, d) for d in dilations)
        self.up_columns = nn.ModuleList(_columns(2 * width, width, d) for d in dilations)
        self.leave = nn.Conv2d(width, 1, 1, bias=False)

    def forward(self, coarse: Tensor) -> Tensor:
        """Return (V, 1, h, w) logits."""
        x, skips = coarse, []
        for rows, columns in zip(self.down_rows, self.down_columns, strict=True):
            skips.append(rows(x))
            x = F.max_pool2d(columns(skips[-1]), 2, ceil_mode=True)
        x = self.bridge(x)
        for rows, columns, skip in reversed(list(zip(self.up_rows, self.up_columns, skips, strict=True))):
            x = columns(torch.cat([rows(resize_to(x, skip)), skip], 1))
        answer: Tensor = coarse + self.leave(x)
        return answer


def _rows(before: int, after: int, dilation: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, (3, 1), padding=(dilation, 0), dilation=(dilation, 1))
    return nn.Sequential(conv, nn.ReLU())


def _columns(before: int, after: int, dilation: int) -> nn.Sequential:
    conv = nn.Conv2d(before, after, (1, 3), padding=(0, dilation), dilation=(1, dilation), bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU())


class EDRNet(nn.Module):
    """(V, 3, S, S) images to a list of seven logits: refined, decoder stages 0 (of the image's size) to 4, bridge.

    Args:
        backbone: timm name of a ResNet.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "resnet34", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = AttentiveEncoder(backbone, pretrained=pretrained)
        channels = self.encoder.channels
        deepest = channels[-1]
        self.bridge = nn.Sequential(
            ConvNormRelu(deepest, deepest, stride=2),
            ConvNormRelu(deepest, deepest, dilation=2),
            ConvNormRelu(deepest, deepest, dilation=4),
        )
        after = [channels[0], *channels[:-1]]
        self.weigh = nn.ModuleList(ChannelWeightedBlock(c) for c in channels)
        self.decode = nn.ModuleList(
            nn.Sequential(ResidualDecoderBlock(c, c), ResidualDecoderBlock(c, out))
            for c, out in zip(channels, after, strict=True)
        )
        self.heads = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for c in [*after, deepest])
        self.refine = Refinement()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits, the answer first."""
        skips = self.encoder(images)
        x = self.bridge(skips[-1])
        maps = [self.heads[-1](x)]
        stages = list(zip(self.weigh, self.decode, self.heads[:-1], skips, strict=True))
        for weigh, decode, head, skip in reversed(stages):
            x = decode(weigh(skip, resize_to(x, skip)))
            maps.insert(0, head(x))
        return [self.refine(maps[0]), *maps]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: MaskLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the hybrid loss summed over all outputs, (V,), and its parts."""
        return deep_supervision(outputs, batch, hybrid)
