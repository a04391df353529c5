"""TSERNet: a first stage predicts a map and its edge, a small second one refines the map and uses the edge again.

Paper: Han, Li, Liu, Two-Stage Edge Reuse Network for Salient Object Detection of Strip Steel Surface Defects, IEEE TIM 71, 2022
(doi 10.1109/TIM.2022.3200114). Structure, widths, connections and loss as in the authors' public code
(github.com/monxxcn/TSERNet): one ResNet-34 of stride 1 with two further stages and a residual context unit (RCU) on each; an
edge from stages 2 and 6 through multi-scale fusion (MSF, dilations 1, 2, 4, 6); a bridge of three dilated convolutions;
edge-aware foreground-background integration (EFBI) before each decoder stage, whose reverse attention is sigmoid(-x); the
second stage is a U-shape of 64 channels with edge refinement modules (ERM), x - mean over 3 x 3 as its own edge. Supervised:
seven maps of the first stage, five of the second, each by cross-entropy + SSIM + IoU + F-measure (beta 0.3), and the edge by
cross-entropy in which edge pixels count 1 - p and others 1.1 p, p being the edge's share; all weights 1.
Differs: the stem is the backbone's own, with stride 1, so that ImageNet weights fit it too; the public code registers two
convolutions in each EFBI that nothing calls (47.2 M of its 236.8 M parameters; the paper states 189.64 M), they are left out;
no bias before batch norm; the edge's truth is the mask's boundary, two pixels thick, as the authors' edge files are not public; p
is of the image, not of the batch; AdamW instead of Adam.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Pretrained
from samis.baselines.full_size import DEEP, FullSizeEncoder, FurtherStage
from samis.core.contracts import Batch
from samis.core.losses import MaskLoss, edges, hybrid

EDGE = 128
"""Channels in which the edge is looked for."""
WIDTH = 64
"""Channels of the second stage."""
BETA = 0.3
"""Squared weight of precision in the F-measure."""


class ResidualContextUnit(nn.Module):
    """RCU: batch norm, ReLU and a 3 x 3 convolution, twice, around an identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape."""
        answer: Tensor = x + self.layers(x)
        return answer


class EdgeExtraction(nn.Module):
    """The edge's logits from a shallow and the deepest stage, through four dilations.

    Args:
        shallow: channels of the shallow stage.
        deepest: channels of the deepest stage.
        width: channels inside the multi-scale fusion.
    """

    def __init__(self, shallow: int, deepest: int, width: int = 64) -> None:
        super().__init__()
        self.deepest = nn.Sequential(
            *(ConvNormRelu(deepest, deepest) for _ in range(3)), nn.Conv2d(deepest, shallow, 3, padding=1), nn.ReLU()
        )
        self.convert = ConvNormRelu(shallow, width, 1)
        self.scales = nn.ModuleList(ConvNormRelu(width, width, dilation=rate) for rate in (1, 2, 4, 6))
        self.score = nn.Conv2d(4 * width, 1, 3, padding=1)
        self.adjust = nn.Conv2d(1, EDGE, 3, padding=1)
        self.head = nn.Conv2d(EDGE, 1, 3, padding=1)

    def forward(self, shallow: Tensor, deepest: Tensor) -> Tensor:
        """Return (V, 1, h, w) logits at the size of `shallow`."""
        x = self.convert(shallow + resize_to(self.deepest(deepest), shallow))
        score = self.score(torch.cat([scale(x) for scale in self.scales], 1))
        logits: Tensor = self.head(self.adjust(score))
        return logits


class ForegroundBackgroundIntegration(nn.Module):
    """EFBI: the level where the decoder sees nothing, plus the decoder where there is no edge, plus the edge.

    Args:
        channels: of level, decoder and answer.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.level = ConvNormRelu(channels, channels)
        self.background = nn.Sequential(*(ConvNormRelu(channels, channels) for _ in range(3)))
        self.decoder = ConvNormRelu(channels, channels)
        self.inside = nn.Sequential(*(ConvNormRelu(channels, channels) for _ in range(3)))
        self.foreground = nn.Sequential(*(ConvNormRelu(channels, channels) for _ in range(3)))

    def forward(self, level: Tensor, decoder: Tensor, edge: Tensor) -> Tensor:
        """Return (V, channels, h, w) features; `edge` are logits (V, 1, ., .) of any size."""
        edge = resize_to(edge, level)
        background = self.background((-decoder).sigmoid() * self.level(level))
        answer: Tensor = background + self.foreground(self.inside((-edge).sigmoid() * self.decoder(decoder)) + edge)
        return answer


class EdgeRefinementModule(nn.Module):
    """ERM: joins deep and shallow features with the edge, given and computed (the difference from the 3 x 3 neighbourhood)."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.given = nn.Conv2d(1, width, 3, padding=1)
        self.edge = ConvNormRelu(2 * width, width)
        self.join = ConvNormRelu(3 * width, width)

    def forward(self, deep: Tensor, shallow: Tensor, edge: Tensor) -> Tensor:
        """Return (V, width, h, w) features of the size of `shallow`."""
        contrast = F.relu(shallow - F.avg_pool2d(shallow, 3, stride=1, padding=1))
        both = self.edge(torch.cat([self.given(resize_to(edge, shallow)), contrast], 1))
        answer: Tensor = self.join(torch.cat([resize_to(deep, shallow), shallow, both], 1))
        return answer


class SecondStage(nn.Module):
    """A U-shape of 64 channels that corrects the first stage's logits by a residual."""

    def __init__(self, levels: int = 4, width: int = WIDTH) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, width, 3, padding=1)
        self.down = nn.ModuleList(ConvNormRelu(width, width) for _ in range(levels + 1))
        self.up = nn.ModuleList(EdgeRefinementModule(width) for _ in range(levels))
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 3, padding=1) for _ in range(levels))
        self.residual = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, coarse: Tensor, edge: Tensor) -> list[Tensor]:
        """Return the refined logits, (V, 1, h, w), and each level's, shallow to deep."""
        x, skips = self.enter(coarse), []
        for stage in self.down[:-1]:
            skips.append(stage(x))
            x = F.max_pool2d(skips[-1], 2, ceil_mode=True)
        x = self.down[-1](x)
        sides: list[Tensor] = []
        for stage, head, skip in reversed(list(zip(self.up, self.heads, skips, strict=True))):
            x = stage(x, skip, edge)
            sides.insert(0, head(x))
        return [coarse + self.residual(x), *sides]


class TSERNet(nn.Module):
    """(V, 3, S, S) images to a list of 13 logits: refined, second stage 1 to 4, first stage 1 to 6, bridge; the edge is last.

    Args:
        backbone: timm name.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "resnet34", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = FullSizeEncoder(backbone, pretrained=pretrained)
        self.further = nn.ModuleList([FurtherStage(self.encoder.channels[-1]), FurtherStage(DEEP)])
        skips = [*self.encoder.channels, DEEP, DEEP]
        self.context = nn.ModuleList(ResidualContextUnit(c) for c in skips)
        self.edge = EdgeExtraction(skips[1], DEEP)
        self.bridge = nn.Sequential(*(ConvNormRelu(DEEP, DEEP, dilation=2) for _ in range(3)))
        self.integrate = nn.ModuleList(ForegroundBackgroundIntegration(c) for c in skips)
        self.decoder, self.heads = nn.ModuleList(), nn.ModuleList()
        for level, c in enumerate(skips):
            after, dilation = skips[max(0, level - 1)], 2 if level + 1 == len(skips) else 1
            self.decoder.append(
                nn.Sequential(
                    ConvNormRelu(c, c), ConvNormRelu(c, c, dilation=dilation), ConvNormRelu(c, after, dilation=dilation)
                )
            )
            self.heads.append(nn.Conv2d(after, 1, 3, padding=1))
        self.bridge_head = nn.Conv2d(DEEP, 1, 3, padding=1)
        self.second = SecondStage()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits, the answer first, the edge last."""
        skips = self.encoder(images)
        for stage in self.further:
            skips.append(stage(skips[-1]))
        skips = [unit(skip) for unit, skip in zip(self.context, skips, strict=True)]
        edge = self.edge(skips[1], skips[-1])
        x = self.bridge(skips[-1])
        maps = [self.bridge_head(x)]
        stages = list(zip(self.integrate, self.decoder, self.heads, skips, strict=True))
        for integrate, decode, head, skip in reversed(stages):
            x = decode(integrate(skip, resize_to(x, skip), edge))
            maps.insert(0, head(x))
        return [*self.second(maps[0], edge), *maps, edge]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: MaskLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the maps' hybrid and F-measure losses plus the edge's balanced cross-entropy, (V,), and the parts."""
        total, parts = deep_supervision(outputs[:-1], batch, lambda *given: hybrid(*given) + f_measure_loss(*given))
        edge, _ = deep_supervision(
            outputs[-1:], batch, lambda x, truth, shown: balanced_bce(x, edges(truth, shown), shown)
        )
        return total + edge, {**parts, "edge": edge.detach().mean()}


def f_measure_loss(logits: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
    """Return 1 - soft F-measure per image, (V,) float32; one pixel above and below, so that nothing on nothing costs nothing."""
    probability, wanted = logits.float().sigmoid() * inside, truth * inside
    hit, predicted, true = (x.flatten(1).sum(1) for x in (probability * wanted, probability, wanted))
    return 1 - ((1 + BETA) * hit + 1) / (BETA * true + predicted + 1)


def balanced_bce(logits: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
    """Return cross-entropy per image, (V,) float32: edge pixels count 1 - p, others 1.1 p, p the edge's share of the image."""
    shown = inside.float()
    area = shown.flatten(1).sum(1).clamp_min(1)
    share = ((truth * shown).flatten(1).sum(1) / area).view(-1, 1, 1, 1)
    weight = truth * (1 - share) + (1 - truth) * 1.1 * share
    pixel = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    return (pixel * weight * shown).flatten(1).sum(1) / area
