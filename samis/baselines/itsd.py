"""ITSD: a saliency and a contour branch decode side by side and tell each other, and contours say which pixels are hard.

Paper: Zhou, Xie, Lai, Chen, Yang, "Interactive Two-Stream Decoder for Accurate and Fast Saliency Detection", CVPR 2020
(doi 10.1109/CVPR42600.2020.00916). Blocks by the paper's names: channel pooling, interactive two-stream decoder (saliency
branch, contour branch, their fusion), adaptive contour loss (ACT: cross-entropy in which a pixel counts
1 + m * max(predicted contour, true contour)). Contours are trained with cross-entropy.
Differs: VGG-16 has batch norm, since a plain one hardly learns from scratch; the true contour is a rim of 4 pixels, dilation
minus erosion; no gradient flows through ACT's weights, which are normalised to a mean of 1; m is 4 and every stage weighs 1;
AdamW instead of SGD. The decoder's convolutions, three of width 64 in each branch and stage, are chosen so that the whole
comes within 5 % of the 17.08 million parameters that the paper states.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.contracts import Batch
from samis.data.frame import inside, to_frame
from samis.losses import bce, edges

LEVELS = 5
WIDTH = 64
HARD = 4.0
"""m of the adaptive contour loss."""
RIM_PX = 5


def channel_pooling(x: Tensor, width: int = WIDTH) -> Tensor:
    """Return (V, width, h, w): the largest of each group of neighbouring channels; the first ones fill up the last group.

    >>> x = torch.tensor([1.0, 5.0, 2.0, 3.0])[None, :, None, None]
    >>> channel_pooling(x, 2).flatten().tolist()
    [5.0, 3.0]
    """
    group = -(-x.shape[1] // width)
    order = torch.arange(group * width, device=x.device) % x.shape[1]
    return x[:, order].reshape(len(x), width, group, *x.shape[2:]).amax(2)


class InteractiveStage(nn.Module):
    """One level: each branch joins the encoder's feature with what both branches found at the level below."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        before = WIDTH if first else 3 * WIDTH
        self.saliency, self.contour = (
            nn.Sequential(ConvNormRelu(before, WIDTH), ConvNormRelu(WIDTH, WIDTH), ConvNormRelu(WIDTH, WIDTH))
            for _ in range(2)
        )
        self.saliency_head = nn.Conv2d(WIDTH, 1, 3, padding=1)
        self.contour_head = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def forward(self, feature: Tensor, below: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the saliency and the contour feature, (V, width, h, w) each, and the logits of both, (V, 1, h, w).

        Args:
            feature: of the encoder. below: what this returned first at the level below; empty at the deepest.
        """
        joined = torch.cat([feature, *(resize_to(x, feature) for x in below)], 1)
        saliency, contour = self.saliency(joined), self.contour(joined)
        return [saliency, contour], [self.saliency_head(saliency), self.contour_head(contour)]


class ITSD(nn.Module):
    """(V, 3, S, S) normalised images to a dict: the answer's logits, and each stage's saliency and contour logits.

    Args:
        backbone: timm name; the first five levels are used. pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "vgg16_bn", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        count = len(self.encoder.channels[:LEVELS])
        self.stages = nn.ModuleList(InteractiveStage(level == count - 1) for level in range(count))
        self.fusion = nn.Sequential(ConvNormRelu(2 * WIDTH, WIDTH), nn.Conv2d(WIDTH, 1, 3, padding=1))

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Return ``logits``, at the size of the first level, and the lists ``saliency`` and ``contours``, shallow to deep."""
        features = [channel_pooling(feature) for feature in self.encoder(images)[: len(self.stages)]]
        saliency: list[Tensor] = []
        contours: list[Tensor] = []
        branches: list[Tensor] = []
        for stage, feature in zip(reversed(self.stages), reversed(features), strict=True):
            branches, logits = stage(feature, branches)
            saliency.insert(0, logits[0])
            contours.insert(0, logits[1])
        return {"logits": self.fusion(torch.cat(branches, 1)), "saliency": saliency, "contours": contours}

    def loss(self, outputs: dict[str, Any], batch: Batch, mask_loss: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Return ACT on the answer and on each stage's map, plus cross-entropy on each stage's contour."""
        if batch.masks is None:
            raise ValueError("batch: expected masks to learn from, got none")
        shown = inside(batch.placements, batch.masks.device)
        rims = edges(batch.masks, shown, width=RIM_PX)
        found = to_frame(outputs["contours"][0], batch.masks.shape[-1]).detach().float().sigmoid()
        hard = 1 + HARD * torch.maximum(found, rims)

        def adaptive_contour(logits: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
            return bce(logits, truth, inside, pixel_weight=hard)

        each, parts = deep_supervision([outputs["logits"], *outputs["saliency"]], batch, adaptive_contour)
        contour = torch.stack(
            [bce(to_frame(logits, rims.shape[-1]), rims, shown) for logits in outputs["contours"]]
        ).sum(0)
        return each + contour, {**parts, "contours": contour.detach().mean()}
