"""TSERNet: a first stage predicts a map and its edge, a second one refines the map and uses the edge again.

Paper: Han, Li, Liu, Two-Stage Edge Reuse Network for Salient Object Detection of Strip Steel Surface Defects, IEEE TIM 71,
2022 (doi 10.1109/TIM.2022.3200114): the encoder of the first stage gives features and an edge map; edge-aware
foreground-background integration (EFBI) modules decode them with reverse attention; the second stage, of the same
architecture, encodes the initial map, and edge-aware refinement modules (ERM) decode it.
Differs: the paper's figures and tables were not at hand, only its abstract. The two ResNet-34, the insides of EFBI and ERM
(reverse attention as in Chen et al., ECCV 2018), where the edge is taken from (the first two levels and the deepest), the
hybrid loss on every map (Qin et al., BASNet, CVPR 2019) and cross-entropy on the edge, all weights 1, are our reading. The
second encoder sees the initial map in all three colours and always starts from random weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.contracts import Batch
from samis.losses import MaskLoss, bce, edges, hybrid


class EdgeExtraction(nn.Module):
    """Makes the edge map of the encoder's two shallowest levels and its deepest.

    Args:
        channels: of the three. width: channels of the edge's feature.
    """

    def __init__(self, channels: list[int], width: int) -> None:
        super().__init__()
        self.reduce = nn.ModuleList(ConvNormRelu(c, width, 1) for c in channels)
        self.join = ConvNormRelu(len(channels) * width, width)
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the edge's (V, width, h, w) feature and its (V, 1, h, w) logits, at the first level's size."""
        reduced = [reduce(f) for reduce, f in zip(self.reduce, features, strict=True)]
        edge = self.join(torch.cat([resize_to(r, reduced[0]) for r in reduced], 1))
        return edge, self.head(edge)


class ForegroundBackgroundIntegration(nn.Module):
    """EFBI: a level seen where the deeper map says defect, seen where it says surface, and beside the edge.

    Args:
        channels: of the level, in and out. edge: of the edge's feature.
    """

    def __init__(self, channels: int, edge: int) -> None:
        super().__init__()
        self.foreground = ConvNormRelu(channels, channels)
        self.background = ConvNormRelu(channels, channels)
        self.edge = ConvNormRelu(edge, channels, 1)
        self.join = ConvNormRelu(3 * channels, channels, 1)

    def forward(self, level: Tensor, deeper: Tensor, edge: Tensor) -> Tensor:
        """Return (V, channels, h, w) features; `deeper` are logits (V, 1, ., .), `edge` the edge's feature."""
        defect = resize_to(deeper, level).sigmoid()
        rim = resize_to(self.edge(edge), level)
        seen = [self.foreground(level * defect) + rim, self.background(level * (1 - defect)) + rim, level]
        answer: Tensor = self.join(torch.cat(seen, 1))
        return answer


class EdgeAwareRefinement(nn.Module):
    """ERM: adds to a level what it holds along the edge map of the first stage.

    Args:
        channels: in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.along = ConvNormRelu(channels, channels)

    def forward(self, level: Tensor, edge: Tensor) -> Tensor:
        """Return (V, channels, h, w) features; `edge` are logits (V, 1, ., .)."""
        answer: Tensor = level + self.along(level * resize_to(edge, level).sigmoid())
        return answer


class Decoder(nn.Module):
    """What both stages share: from the deepest level up, join level and decoder, and predict at each.

    Args:
        channels: of the encoder's levels, deep to shallow.
    """

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.bottom = ConvNormRelu(channels[0], channels[0])
        pairs = zip(channels[1:], channels[:-1], strict=True)
        self.join = nn.ModuleList(nn.Sequential(ConvNormRelu(c + deep, c), ConvNormRelu(c, c)) for c, deep in pairs)
        self.sides = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for c in channels)

    def start(self, deepest: Tensor) -> tuple[Tensor, Tensor]:
        """Return the deepest feature and its logits."""
        x = self.bottom(deepest)
        return x, self.sides[0](x)

    def step(self, number: int, level: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature and the logits at the size of `level`, the next shallower one."""
        x = self.join[number](torch.cat([level, resize_to(x, level)], 1))
        return x, self.sides[number + 1](x)


class TSERNet(nn.Module):
    """(V, 3, S, S) images to a list of logits: the second stage's, shallow to deep, the first stage's, and the edge's.

    Args:
        backbone: timm name, of both stages. pretrained: load its ImageNet weights into the first. edge_width: channels of the edge.
    """

    def __init__(self, backbone: str = "resnet34", *, pretrained: Pretrained = False, edge_width: int = 64) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        self.second_encoder = Encoder(backbone)  # sees maps, which ImageNet's weights know nothing of
        channels = self.encoder.channels[::-1]
        self.extract = EdgeExtraction([channels[-1], channels[-2], channels[0]], edge_width)
        self.integrate = nn.ModuleList(ForegroundBackgroundIntegration(c, edge_width) for c in channels[1:])
        self.refine = nn.ModuleList(EdgeAwareRefinement(c) for c in channels[1:])
        self.decoder, self.second_decoder = Decoder(channels), Decoder(channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits, the answer first, the edge last."""
        features = self.encoder(images)
        edge, edge_logits = self.extract([features[0], features[1], features[-1]])
        x, logits = self.decoder.start(features.pop())
        maps = [logits]
        for number, integrate in enumerate(self.integrate):
            x, logits = self.decoder.step(number, integrate(features.pop(), maps[-1], edge), x)
            maps.append(logits)
        initial = resize_to(maps[-1], images).sigmoid().to(images.dtype)
        features = self.second_encoder(initial.expand_as(images))
        x, logits = self.second_decoder.start(features.pop())
        maps.append(logits)
        for number, refine in enumerate(self.refine):
            x, logits = self.second_decoder.step(number, refine(features.pop(), edge_logits), x)
            maps.append(logits)
        return [*reversed(maps), edge_logits]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: MaskLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the hybrid loss summed over all maps plus the edge's cross-entropy, (V,), and the parts."""
        total, parts = deep_supervision(outputs[:-1], batch, hybrid)
        edge, _ = deep_supervision(outputs[-1:], batch, lambda x, truth, shown: bce(x, edges(truth, shown), shown))
        return total + edge, {**parts, "edge": edge.detach().mean()}
