"""ITSD: a saliency and a contour branch decode side by side, take turns, and contours say which pixels are hard.

Paper: Zhou, Xie, Lai, Chen, Yang, "Interactive Two-Stream Decoder for Accurate and Fast Saliency Detection", CVPR 2020 (doi
10.1109/CVPR42600.2020.00916). Structure, widths, connections and loss as in the authors' public code
(github.com/moothes/ITSD-pytorch): plain VGG-16; channel pooling to 64 channels; at each level the saliency branch joins what
the encoder, the level below and the contour branch give, its prediction block hands 32 channels to the contour branch, and that
one's 32 channels to the next level; GroupNorm with two channels a group; each prediction is the largest of four channels; the
last head enlarges and fuses five decoded levels of 8 channels. Loss: adaptive contour loss (ACT: cross-entropy in which a pixel
counts 1 + 4 max(predicted contour, true contour) of its own level) on each map, cross-entropy on each contour, weights .1, .3,
.5, .7, .9 from the deepest level up, 1.5 for the answer.
Differs: the public code registers a second last head that nothing calls (0.39 M of its 17.08 M parameters), it is left out; the
true contour is a band of 4 pixels, dilation minus erosion; maps are enlarged to the frame instead of truths made smaller; no
gradient flows through ACT's weights, which are normalised to a mean of 1; AdamW instead of SGD. A backbone may have fewer
levels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.core.contracts import Batch
from samis.core.geometry import shown_inside, to_frame
from samis.core.losses import bce, edges

LEVELS = 5
WIDTH = 64
DEPTHS = (3, 2, 2, 1, 1)
"""Convolutions at the start of each branch's level, deep to shallow."""
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Of the levels' losses, deep to shallow."""
ANSWER_WEIGHT = 1.5
HARD = 4.0
"""m of the adaptive contour loss."""
BOUNDARY_PX = 5


def channel_pooling(x: Tensor, width: int = WIDTH) -> Tensor:
    """Return (V, width, h, w): the largest of each group of neighbouring channels; the first ones fill up the last group.

    >>> x = torch.tensor([1.0, 5.0, 2.0, 3.0])[None, :, None, None]
    >>> channel_pooling(x, 2).flatten().tolist()
    [5.0, 3.0]
    """
    group = -(-x.shape[1] // width)
    order = torch.arange(group * width, device=x.device) % x.shape[1]
    return x[:, order].reshape(len(x), width, group, *x.shape[2:]).amax(2)


def _half(x: Tensor) -> Tensor:
    return channel_pooling(x, WIDTH // 2)


def _convs(count: int) -> list[nn.Module]:
    return [layer for _ in range(count) for layer in (nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU())]


def _enlarging(count: int) -> list[nn.Module]:
    return [nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(count)]


def _grouped(after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(WIDTH, after, 3, padding=1), nn.GroupNorm(after // 2, after), nn.ReLU())


class SaliencyBlock(nn.Module):
    """One level of the saliency branch: the encoder's feature joins before and after the level's convolutions.

    Args:
        depth: how many convolutions.
        deepest: there is no level below.
    """

    def __init__(self, depth: int, *, deepest: bool) -> None:
        super().__init__()
        self.before = None if deepest else _grouped(WIDTH // 2)
        self.convs = nn.Sequential(*_convs(depth))
        self.after = _grouped(WIDTH // 2)
        self.last = nn.Sequential(*_convs(1))

    def forward(self, below: Tensor, feature: Tensor) -> Tensor:
        """Return (V, 64, h, w) features of the size of the encoder's `feature`."""
        if self.before is not None:
            below = torch.cat([_half(resize_to(below, feature)), self.before(feature)], 1)
        answer: Tensor = self.last(torch.cat([_half(self.convs(below)), self.after(feature)], 1))
        return answer


class ContourBlock(nn.Module):
    """One level of the contour branch: convolutions, enlarging, convolutions."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(*_convs(depth))
        self.last = nn.Sequential(_grouped(WIDTH), *_convs(1))

    def forward(self, below: Tensor, like: Tensor) -> Tensor:
        """Return (V, 64, h, w) features of the size of `like`."""
        answer: Tensor = self.last(resize_to(self.convs(below), like))
        return answer


class PredictionBlock(nn.Module):
    """What a branch tells the other, 32 channels, and its logits, the largest of four channels."""

    def __init__(self) -> None:
        super().__init__()
        self.hand = nn.Sequential(nn.Conv2d(WIDTH, WIDTH // 2, 3, padding=1), nn.ReLU())
        self.logits = nn.Conv2d(WIDTH // 2, 4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (V, 32, h, w) features and (V, 1, h, w) logits."""
        handed = self.hand(x)
        return handed, self.logits(handed).amax(1, keepdim=True)


class LastHead(nn.Module):
    """Decodes each level up to the shallowest one's size, to 8 channels, and fuses them to logits."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.decode = nn.ModuleList(nn.Sequential(*_enlarging(level)) for level in range(levels))
        self.reduce = nn.ModuleList(nn.Conv2d(WIDTH, 8, 3, padding=1) for _ in range(levels))
        self.fuse = nn.Conv2d(8 * levels, 8, 3, padding=1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return (V, 1, h, w) logits at the size of the first of `levels`, shallow to deep."""
        decoded = []
        for level, (x, convs, reduce) in enumerate(zip(levels, self.decode, self.reduce, strict=True)):
            for step, conv in enumerate(convs.children()):
                like = levels[level - 1 - step]
                # The authors' third enlargement is bilinear, all others repeat pixels.
                x = F.relu(conv(x))
                x = resize_to(x, like) if step == 2 else F.interpolate(x, size=like.shape[-2:], mode="nearest")
            decoded.append(F.relu(reduce(x)))
        answer: Tensor = self.fuse(torch.cat(decoded, 1)).amax(1, keepdim=True)
        return answer


class ITSD(nn.Module):
    """(V, 3, S, S) normalised images to a dict: the answer's logits, and each level's saliency and contour logits.

    Args:
        backbone: timm name; the first five levels are used.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "vgg16", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        count = len(self.encoder.channels[:LEVELS])
        depths = DEPTHS[:count]
        self.saliency = nn.ModuleList(SaliencyBlock(depth, deepest=not i) for i, depth in enumerate(depths))
        self.contour = nn.ModuleList(ContourBlock(depth) for depth in depths)
        self.predict_saliency = nn.ModuleList(PredictionBlock() for _ in depths)
        self.predict_contour = nn.ModuleList(PredictionBlock() for _ in depths)
        self.last = LastHead(count)

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Return ``logits``, at the size of the first level, and the lists ``saliency`` and ``contours``, shallow to deep."""
        features = [channel_pooling(feature) for feature in self.encoder(images)[: len(self.saliency)]]
        saliency: list[Tensor] = []
        contours: list[Tensor] = []
        decoded: list[Tensor] = []
        below, contour, contour_feature = features[-1], None, None
        for number, feature in enumerate(reversed(features)):
            x = self.saliency[number](below, feature)
            if contour_feature is not None:
                x = torch.cat([_half(x), resize_to(contour_feature, x)], 1)
            handed, logits = self.predict_saliency[number](x)
            saliency.insert(0, logits)
            contour = self.contour[number](x if contour is None else contour, x)
            contour = torch.cat([_half(contour), handed], 1)
            contour_feature, logits = self.predict_contour[number](contour)
            contours.insert(0, logits)
            decoded.insert(0, x)
            below = x
        return {"logits": self.last(decoded), "saliency": saliency, "contours": contours}

    def loss(self, outputs: dict[str, Any], batch: Batch, mask_loss: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of ACT on the answer and on each level's map, and of cross-entropy on each contour."""
        if batch.masks is None:
            raise ValueError("batch: expected masks to train on, got none")
        side = batch.masks.shape[-1]
        shown = shown_inside(batch, batch.masks.device)
        boundary = edges(batch.masks, shown, width=BOUNDARY_PX)
        contours = [to_frame(logits, side) for logits in outputs["contours"]]
        weights = WEIGHTS[: len(contours)][::-1]

        def adaptive(logits: Tensor, contour: Tensor) -> Tensor:
            hard = 1 + HARD * torch.maximum(contour.detach().float().sigmoid(), boundary)
            value, _ = deep_supervision([logits], batch, lambda *given: bce(*given, pixel_weight=hard))
            return value

        main = adaptive(outputs["logits"], contours[0])
        pairs = list(zip(weights, outputs["saliency"], contours, strict=True))
        sides = torch.stack([weight * adaptive(logits, contour) for weight, logits, contour in pairs]).sum(0)
        contour = torch.stack([weight * bce(logits, boundary, shown) for weight, _, logits in pairs]).sum(0)
        parts = {"main": main, "sides": sides, "contours": contour}
        total = ANSWER_WEIGHT * main + sides + contour
        return total, {name: value.detach().mean() for name, value in parts.items()}
