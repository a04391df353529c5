"""Losses on logits at frame resolution, per image, then averaged over images; padding never counts.

Each function takes ``logits`` (B, 1, S, S) float, ``truth`` (B, 1, S, S) float in {0, 1} and ``inside`` (B, 1, S, S) bool
or None (True where the frame shows image), and returns (B,) float32, one value an image. ``MaskLoss`` mixes them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from samis.config import LossConfig


def bce(
    logits: Tensor, truth: Tensor, inside: Tensor | None = None, *, edge_weight: float = 0.0, balance: float = 0.0
) -> Tensor:
    """Return binary cross-entropy per image, the weighted mean over pixels inside.

    Args:
        logits, truth, inside: as the module says.
        edge_weight: pixels near a rim count ``1 + edge_weight * |mean of truth over 31 x 31 - truth|`` (Wei et al., F3Net,
            AAAI 2020, eq. 8); 0 weighs all alike. The 31 scales with the frame (31 at 352).
        balance: share in [0, 1] of class balancing: at 1 defect and surface weigh the same in each image.

    On an empty mask: the plain mean over the surface, positive unless the logits say "no defect" surely.
    """
    pixel = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    weight = _ones(truth, inside)
    if edge_weight:
        window = 2 * round((31 * truth.shape[-1] / 352 - 1) / 2) + 1
        local = F.avg_pool2d(truth, window, stride=1, padding=window // 2, count_include_pad=False)
        weight = weight * (1 + edge_weight * (local - truth).abs())
    if balance:
        weight = weight * _class_weight(truth, weight, balance)
    return (pixel * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6)


def focal(
    logits: Tensor, truth: Tensor, inside: Tensor | None = None, *, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Return the focal loss per image, the mean over pixels inside (Lin et al., ICCV 2017, eq. 5).

    Focused pixel by pixel, before any mean. On an empty mask: small and positive.
    """
    pixel = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    probability = logits.float().sigmoid()
    miss = probability + truth - 2 * probability * truth
    pixel = (alpha * truth + (1 - alpha) * (1 - truth)) * miss**gamma * pixel
    weight = _ones(truth, inside)
    return (pixel * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6)


def dice(logits: Tensor, truth: Tensor, inside: Tensor | None = None, *, smooth: float = 1.0) -> Tensor:
    """Return 1 - soft Dice per image (Milletari et al., 3DV 2016, squared terms left out as in SAM's own loss).

    `smooth` pixels are added above and below, so that on an empty mask an empty map costs nothing and each false pixel costs.
    """
    overlap, predicted, wanted = _areas(logits, truth, inside)
    return 1 - (2 * overlap + smooth) / (predicted + wanted + smooth)


def iou(logits: Tensor, truth: Tensor, inside: Tensor | None = None, *, smooth: float = 1.0) -> Tensor:
    """Return 1 - soft IoU per image (Rahman and Wang, ISVC 2016); `smooth` as in ``dice``."""
    overlap, predicted, wanted = _areas(logits, truth, inside)
    return 1 - (overlap + smooth) / (predicted + wanted - overlap + smooth)


def l1(logits: Tensor, truth: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return the mean absolute difference of map and mask per image: the soft form of the MAE metric."""
    weight = _ones(truth, inside)
    pixel = (logits.float().sigmoid() - truth).abs() * weight
    return pixel.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6)


class MaskLoss:
    """A weighted sum of the losses above, per image."""

    def __init__(self, config: LossConfig) -> None:
        self.config = config

    def __call__(self, logits: Tensor, truth: Tensor, inside: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (B,) float32, the loss of each image, and the parts' means, detached, for the log."""
        c = self.config
        parts: dict[str, Tensor] = {}
        total = torch.zeros(logits.shape[0], device=logits.device)
        terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "bce": (c.bce, lambda: bce(logits, truth, inside, edge_weight=c.edge_weight, balance=c.balance)),
            "iou": (c.iou, lambda: iou(logits, truth, inside)),
            "dice": (c.dice, lambda: dice(logits, truth, inside)),
            "focal": (c.focal, lambda: focal(logits, truth, inside)),
            "l1": (c.l1, lambda: l1(logits, truth, inside)),
        }
        for name, (weight, term) in terms.items():
            if weight:
                value = term()
                parts[name] = value.detach().mean()
                total = total + weight * value
        return total, parts


def _ones(truth: Tensor, inside: Tensor | None) -> Tensor:
    return torch.ones_like(truth) if inside is None else inside.to(truth.dtype)


def _class_weight(truth: Tensor, weight: Tensor, balance: float) -> Tensor:
    positive = (truth * weight).flatten(1).sum(1)
    negative = ((1 - truth) * weight).flatten(1).sum(1)
    both = (positive > 0) & (negative > 0)
    half = (positive + negative) / 2
    up = torch.where(both, half / positive.clamp_min(1e-6), torch.ones_like(half)) ** balance
    down = torch.where(both, half / negative.clamp_min(1e-6), torch.ones_like(half)) ** balance
    return truth * up[:, None, None, None] + (1 - truth) * down[:, None, None, None]


def _areas(logits: Tensor, truth: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    probability = logits.float().sigmoid() * _ones(truth, inside)
    overlap = (probability * truth).flatten(1).sum(1)
    return overlap, probability.flatten(1).sum(1), truth.flatten(1).sum(1)
