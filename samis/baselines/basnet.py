"""BASNet: a densely supervised encoder-decoder that predicts, and a small one that refines what it predicted.

Paper: Qin, Zhang, Huang, Gao, Dehghan, Jagersand, "BASNet: Boundary-Aware Salient Object Detection", CVPR 2019
(doi 10.1109/CVPR.2019.00766). Blocks by the paper's names: predict module (encoder whose first stage keeps the image's size, four
stages of the backbone and two more, bridge, decoder, one side output a stage), residual refinement module (RRM_Ours). Loss: the
hybrid loss, cross-entropy + SSIM + IoU, on all eight outputs, each weighing 1 (alpha of eq. 1).
Differs: the input layer is the backbone's own, with both of its halvings taken out, instead of a new 3 x 3 convolution of
stride 1, so that ImageNet weights fit it too; AdamW instead of Adam.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Pretrained
from samis.baselines.full_size import DEEP, FullSizeEncoder, FurtherStage
from samis.core.contracts import Batch
from samis.core.losses import hybrid

REFINE = 64
"""Channels of the refinement module."""


class ResidualRefinementModule(nn.Module):
    """RRM_Ours: four levels of one convolution down, a bridge, four up; adds its answer to the coarse logits."""

    def __init__(self, levels: int = 4) -> None:
        super().__init__()
        self.input = nn.Conv2d(1, REFINE, 3, padding=1)
        self.encoder = nn.ModuleList(ConvNormRelu(REFINE, REFINE) for _ in range(levels))
        self.bridge = ConvNormRelu(REFINE, REFINE)
        self.decoder = nn.ModuleList(ConvNormRelu(2 * REFINE, REFINE) for _ in range(levels))
        self.output = nn.Conv2d(REFINE, 1, 3, padding=1)

    def forward(self, coarse: Tensor) -> Tensor:
        """Return refined (V, 1, h, w) logits."""
        x = self.input(coarse)
        skips = []
        for stage in self.encoder:
            skips.append(stage(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bridge(x)
        for stage, skip in zip(self.decoder, reversed(skips), strict=True):
            x = stage(torch.cat([resize_to(x, skip), skip], 1))
        return coarse + self.output(x)


class BASNet(nn.Module):
    """(V, 3, S, S) normalised images to a list of eight logits: refined, decoder stages 1 to 6, bridge.

    Args:
        backbone: timm name.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "resnet34", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = FullSizeEncoder(backbone, pretrained=pretrained)
        self.further = nn.ModuleList([FurtherStage(self.encoder.channels[-1]), FurtherStage(DEEP)])
        self.bridge = nn.Sequential(*(ConvNormRelu(DEEP, DEEP, dilation=2) for _ in range(3)))
        skips = [*self.encoder.channels, DEEP, DEEP]
        after = [min(DEEP, skips[0]), *(min(DEEP, channels) for channels in skips[:-1])]
        before = [*after[1:], DEEP]
        self.decoder = nn.ModuleList(
            nn.Sequential(
                ConvNormRelu(below + skip, min(DEEP, skip)),
                ConvNormRelu(min(DEEP, skip), min(DEEP, skip)),
                ConvNormRelu(min(DEEP, skip), out),
            )
            for below, skip, out in zip(before, skips, after, strict=True)
        )
        self.heads = nn.ModuleList(nn.Conv2d(channels, 1, 3, padding=1) for channels in [*after, DEEP])
        self.refine = ResidualRefinementModule()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return logits, the first two at the images' size, the others at their stages'."""
        skips = self.encoder(images)
        for stage in self.further:
            skips.append(stage(skips[-1]))
        x = self.bridge(skips[-1])
        maps = [self.heads[-1](x)]
        for stage, head, skip in reversed(list(zip(self.decoder, self.heads[:-1], skips, strict=True))):
            x = stage(torch.cat([resize_to(x, skip), skip], 1))
            maps.insert(0, head(x))
        return [self.refine(maps[0]), *maps]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the hybrid losses of all outputs."""
        return deep_supervision(outputs, batch, hybrid)
