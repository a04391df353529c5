"""CSEPNet: features calibrated across scales, and an edge purified by them, guide the decoder.

Paper: Ding, Li, Liu, Wang, Cross-Scale Edge Purification Network for Salient Object Detection of Steel Defect Images,
Measurement, 2022 (doi 10.1016/j.measurement.2022.111429). Training as its authors' page tells: SSIM among the losses.
Differs: of the paper only the title and its authors' page were at hand (VGG-16, 256 px, SGD, no CEL), so that the blocks'
names and insides are our reading: cross-scale interaction is MINet's aggregation of neighbouring levels (Pang et al., CVPR
2020, on whose code the authors say they built), attention is CBAM's; 64 channels; cross-entropy plus SSIM on the map and
cross-entropy on the edge, all weights 1; the edge truth is the mask's rim, two pixels thick. VGG-16 gets batch norm.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samis.baselines.attention import ChannelAttention, SpatialAttention
from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.contracts import Batch
from samis.losses import MaskLoss, bce, edges, ssim


class CrossScaleInteraction(nn.Module):
    """Adds to a level what it and its neighbours hold together, its channels weighed by attention.

    Args:
        width: channels of each level. levels: how many meet here, 2 or 3.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.join = nn.Sequential(ConvNormRelu(levels * width, width, 1), ConvNormRelu(width, width))
        self.calibrate = ChannelAttention(width)

    def forward(self, own: Tensor, neighbours: list[Tensor]) -> Tensor:
        """Return (V, width, h, w) features of the size of `own`."""
        joined = self.join(torch.cat([own, *(resize_to(n, own) for n in neighbours)], 1))
        answer: Tensor = own + joined * self.calibrate(joined)
        return answer


class EdgePurification(nn.Module):
    """Makes an edge feature of the shallow levels, and takes out of it what the deepest does not place on a defect.

    Args:
        width: channels of each level and of the answer. levels: how many shallow levels come in.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.join = nn.Sequential(ConvNormRelu(levels * width, width, 1), ConvNormRelu(width, width))
        self.place = nn.Conv2d(width, 1, 3, padding=1)
        self.sharpen = SpatialAttention()
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, shallow: list[Tensor], deepest: Tensor) -> tuple[Tensor, Tensor]:
        """Return the edge's (V, width, h, w) feature and its (V, 1, h, w) logits, at the first level's size."""
        edge = self.join(torch.cat([resize_to(s, shallow[0]) for s in shallow], 1))
        edge = edge * resize_to(self.place(deepest), edge).sigmoid()
        edge = edge * self.sharpen(edge)
        return edge, self.head(edge)


class CSEPNet(nn.Module):
    """(V, 3, S, S) images to ``{"logits", "edge"}``, both (V, 1, h, w) at the size of the backbone's first level.

    Args:
        backbone: timm name. pretrained: load its ImageNet weights. width: channels of the decoder.
    """

    def __init__(self, backbone: str = "vgg16_bn", *, pretrained: Pretrained = False, width: int = 64) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        levels = len(self.encoder.channels)
        self.reduce = nn.ModuleList(ConvNormRelu(c, width, 1) for c in self.encoder.channels)
        self.interact = nn.ModuleList(CrossScaleInteraction(width, 2 + (0 < i < levels - 1)) for i in range(levels))
        self.purify = EdgePurification(width, min(3, levels))
        self.decode = nn.ModuleList(
            nn.Sequential(ConvNormRelu(3 * width, width, 1), ConvNormRelu(width, width)) for _ in range(levels - 1)
        )
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the map's and the edge's logits."""
        features = [reduce(f) for reduce, f in zip(self.reduce, self.encoder(images), strict=True)]
        levels = []
        for i, interact in enumerate(self.interact):
            neighbours = [features[j] for j in (i - 1, i + 1) if 0 <= j < len(features)]
            levels.append(interact(features[i], neighbours))
        edge, edge_logits = self.purify(levels[:3], levels[-1])
        x = levels.pop()
        for decode in self.decode:
            own = levels.pop()
            x = decode(torch.cat([own, resize_to(x, own), resize_to(edge, own)], 1))
        return {"logits": self.head(x), "edge": edge_logits}

    def loss(self, outputs: dict[str, Tensor], batch: Batch, mask_loss: MaskLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return cross-entropy plus SSIM of the map plus cross-entropy of the edge, (V,), and the parts."""
        answer, parts = deep_supervision([outputs["logits"]], batch, lambda *given: bce(*given) + ssim(*given))
        edge, _ = deep_supervision([outputs["edge"]], batch, lambda x, truth, shown: bce(x, edges(truth, shown), shown))
        return answer + edge, {**parts, "edge": edge.detach().mean()}
