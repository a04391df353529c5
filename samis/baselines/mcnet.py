"""MCnet: dense blocks, pooled context and attention, integrated level by level.

Paper: Zhang, Song, Xu, He, Niu, Yan, MCnet: Multiple Context Information Segmentation Network of No-Service Rail Surface
Defects, IEEE TIM 70, 2021 (doi 10.1109/TIM.2020.3040890): context from dense blocks, from a pyramid pooling module and
from multi-information integration; attention filters noise out of what is extracted.
Differs: the paper's figures and tables were not at hand, only its abstract. DenseNet-121 gives the dense blocks; the
attention is CBAM; bins 1, 2, 3 and 6 are those of PSPNet (Zhao et al., CVPR 2017), without batch norm behind the pooling,
so that one image a process can be trained; integration, the 128 channels and the plain cross-entropy are our reading.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.attention import ResidualCbam
from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.contracts import Batch
from samis.losses import MaskLoss, bce


class PyramidPooling(nn.Module):
    """Pyramid pooling module: the feature beside its means over 1, 4, 9 and 36 regions.

    Args:
        before, after: channels in and out. bins: regions a side.
    """

    def __init__(self, before: int, after: int, bins: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = bins
        inner = max(1, before // len(bins))
        self.pooled = nn.ModuleList(nn.Sequential(nn.Conv2d(before, inner, 1), nn.ReLU(inplace=True)) for _ in bins)
        self.join = ConvNormRelu(before + inner * len(bins), after)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, after, h, w) features."""
        pairs = zip(self.bins, self.pooled, strict=True)
        context = [resize_to(project(F.adaptive_avg_pool2d(x, side)), x) for side, project in pairs]
        answer: Tensor = self.join(torch.cat([x, *context], 1))
        return answer


class MultiInformationIntegration(nn.Module):
    """Joins three kinds of information at one level: its own detail, the level below, and the pooled context.

    Args:
        width: channels of all three and of the answer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = ResidualCbam(width)
        self.join = nn.Sequential(ConvNormRelu(3 * width, width, 1), ConvNormRelu(width, width))

    def forward(self, detail: Tensor, deep: Tensor, context: Tensor) -> Tensor:
        """Return (V, width, h, w) features of the size of `detail`."""
        detail = self.attention(detail)
        answer: Tensor = self.join(torch.cat([detail, resize_to(deep, detail), resize_to(context, detail)], 1))
        return answer


class MCnet(nn.Module):
    """(V, 3, S, S) images to (V, 1, h, w) logits, h = w being those of the backbone's first level.

    Args:
        backbone: timm name. pretrained: load its ImageNet weights. width: channels of the decoder.
    """

    def __init__(self, backbone: str = "densenet121", *, pretrained: Pretrained = False, width: int = 128) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        channels = self.encoder.channels
        self.reduce = nn.ModuleList(ConvNormRelu(c, width, 1) for c in channels)
        self.context = PyramidPooling(channels[-1], width)
        self.integrate = nn.ModuleList(MultiInformationIntegration(width) for _ in channels)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        features = self.encoder(images)
        context = x = self.context(features[-1])
        for feature, reduce, integrate in reversed(list(zip(features, self.reduce, self.integrate, strict=True))):
            x = integrate(reduce(feature), x, context)
        logits: Tensor = self.head(x)
        return logits

    def loss(self, outputs: Tensor, batch: Batch, mask_loss: MaskLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of the answer, (V,), and its parts."""
        return deep_supervision([outputs], batch, bce)
