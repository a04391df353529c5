"""DACNet: three resolutions encoded in cascade, decoded under attention that every deeper stage passes on.

Paper: Zhou, Fang, Liu, Zheng, Sun, Zhang, Yan, Dense Attention-Guided Cascaded Network for Salient Object Detection of
Strip Steel Surface Defects, IEEE TIM 71, 2022 (doi 10.1109/TIM.2021.3132082): high-, medium- and low-resolution branches,
whose last features a cascaded feature integration (CFI) unit fuses; a decoder under dense attention.
Differs: the paper's figures and tables were not at hand, only its abstract. The ResNet-34 of each branch, CBAM's spatial
attention as the cue, the CFI's inside (the cascade feature fusion of Zhao et al., ICNet, ECCV 2018) and the hybrid loss
with all weights 1 (Qin et al., BASNet, CVPR 2019) are our reading. Medium and low are a half and a quarter of the frame,
rounded to whole cells of the deepest level and at least two of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samis.baselines.attention import SpatialAttention
from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.contracts import Batch
from samis.losses import MaskLoss, hybrid


class MultiResolutionEncoder(Encoder):
    """The same backbone three times, with weights of its own for the image, its half and its quarter.

    Args:
        backbone: timm name. pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str, *, pretrained: Pretrained = False) -> None:
        super().__init__(backbone, pretrained=pretrained)
        self.medium = Encoder(backbone, pretrained=pretrained)
        self.low = Encoder(backbone, pretrained=pretrained)

    def branches(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the high branch's features, and the last ones of medium and low."""
        medium = self.medium(resize_to(images, self.smaller(images, 2)))
        low = self.low(resize_to(images, self.smaller(images, 4)))
        return self(images), medium[-1], low[-1]

    def smaller(self, images: Tensor, times: int) -> tuple[int, int]:
        """Return height and width, px, of the images made about `times` smaller, in whole cells of the deepest level."""
        stride = max(self.strides)
        height, width = (max(2, round(side / times / stride)) * stride for side in images.shape[-2:])
        return height, width


class CascadeStep(nn.Module):
    """Enlarges the coarser feature, smooths it with dilation 2, and adds the finer one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=2, dilation=2, bias=False), nn.BatchNorm2d(channels)
        )
        self.fine = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Return features of the shape of `fine`."""
        answer: Tensor = self.coarse(resize_to(coarse, fine)) + self.fine(fine)
        return answer.relu()


class CascadedFeatureIntegration(nn.Module):
    """CFI: low into medium, and both into high."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.low_to_medium = CascadeStep(channels)
        self.medium_to_high = CascadeStep(channels)

    def forward(self, high: Tensor, medium: Tensor, low: Tensor) -> Tensor:
        """Return features of the shape of `high`."""
        answer: Tensor = self.medium_to_high(self.low_to_medium(low, medium), high)
        return answer


class DenseAttentionStage(nn.Module):
    """One decoding stage: the cues of all deeper stages weigh the skip, which then joins the decoder.

    Args:
        skip, deep: channels of the encoder's and of the decoder's feature; the answer has the skip's.
        cues: how many deeper stages there are.
    """

    def __init__(self, skip: int, deep: int, cues: int) -> None:
        super().__init__()
        self.steer = nn.Conv2d(cues, 1, 3, padding=1)
        self.join = nn.Sequential(ConvNormRelu(skip + deep, skip), ConvNormRelu(skip, skip))

    def forward(self, skip: Tensor, deep: Tensor, cues: list[Tensor]) -> Tensor:
        """Return (V, skip, h, w) features."""
        weights = self.steer(torch.cat([resize_to(cue, skip) for cue in cues], 1)).sigmoid()
        answer: Tensor = self.join(torch.cat([skip + skip * weights, resize_to(deep, skip)], 1))
        return answer


class DACNet(nn.Module):
    """(V, 3, S, S) images to a list of logits, from the first level's size down to the deepest's.

    Args:
        backbone: timm name. pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "resnet34", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = MultiResolutionEncoder(backbone, pretrained=pretrained)
        channels = self.encoder.channels[::-1]
        self.integrate = CascadedFeatureIntegration(channels[0])
        self.cues = nn.ModuleList(SpatialAttention() for _ in channels[1:])
        pairs = zip(channels[1:], channels[:-1], strict=True)
        self.stages = nn.ModuleList(DenseAttentionStage(s, d, n) for n, (s, d) in enumerate(pairs, start=1))
        self.sides = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for c in channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits, the answer first."""
        features, medium, low = self.encoder.branches(images)
        x = self.integrate(features.pop(), medium, low)
        logits = [self.sides[0](x)]
        cues: list[Tensor] = []
        for cue, stage, side in zip(self.cues, self.stages, self.sides[1:], strict=True):
            cues.append(cue(x))
            x = stage(features.pop(), x, cues)
            logits.append(side(x))
        return logits[::-1]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: MaskLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the hybrid loss summed over all outputs, (V,), and its parts."""
        return deep_supervision(outputs, batch, hybrid)
