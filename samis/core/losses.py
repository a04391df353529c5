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
from samis.core.cldice import cldice


def bce(
    logits: Tensor,
    truth: Tensor,
    inside: Tensor | None = None,
    *,
    edge_weight: float = 0.0,
    balance: float = 0.0,
    pixel_weight: Tensor | None = None,
) -> Tensor:
    """Return binary cross-entropy per image, the weighted mean over pixels inside.

    Args:
        logits: as the module says.
        truth: likewise.
        inside: likewise.
        edge_weight: pixels near an edge count ``1 + edge_weight * |mean of truth over 31 x 31 - truth|`` (Wei et al., F3Net,
            AAAI 2020, eq. 8); 0 weighs all alike. The 31 scales with the frame (31 at 352).
        balance: share in [0, 1] of class balancing: at 1 defect and surface weigh the same in each image.
        pixel_weight: (B, 1, S, S) float, further weights such as ITSD's adaptive contours; None weighs all alike.

    On an empty mask: the plain mean over the surface, positive unless the logits say "no defect" surely.
    """
    pixel = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    weight = _boundary_weight(truth, inside, edge_weight)
    if pixel_weight is not None:
        weight = weight * pixel_weight.float()
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


def weighted_iou(
    logits: Tensor, truth: Tensor, inside: Tensor | None = None, *, edge_weight: float = 5.0, smooth: float = 1.0
) -> Tensor:
    """Return 1 - soft IoU per image, each pixel weighed as `edge_weight` does in ``bce`` (Wei et al., F3Net, eq. 9).

    `smooth` as in ``dice``: on an empty mask an empty map costs nothing and each false pixel costs.
    """
    weight = _boundary_weight(truth, inside, edge_weight)
    probability = logits.float().sigmoid()
    overlap = (probability * truth * weight).flatten(1).sum(1)
    both = ((probability + truth) * weight).flatten(1).sum(1)
    return 1 - (overlap + smooth) / (both - overlap + smooth)


def cel(logits: Tensor, truth: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return the consistency-enhanced loss per image (Pang et al., MINet, CVPR 2020): (FP + FN) / (FP + 2 TP + FN), soft.

    That is 1 - 2 TP / (predicted + wanted), so it *is* ``dice``, under the name that its paper gives it; with dice's
    `smooth` pixel an empty map costs nothing on an empty mask, where the paper's own formula is 1 and has no gradient.
    """
    return dice(logits, truth, inside)


def ssim(logits: Tensor, truth: Tensor, inside: Tensor | None = None, *, window: int = 11) -> Tensor:
    """Return 1 - SSIM of map and mask per image, the mean over pixels inside (Wang et al., IEEE TIP 2004, eq. 13).

    Args:
        logits: as the module says.
        truth: likewise.
        inside: likewise.
        window: side of the Gaussian window of standard deviation 1.5 pixels, odd. It is normalised over the pixels inside, so that
            neither padding nor the frame's border enters a mean.

    The constants are 0.01^2 and 0.03^2 (range 1), as in BASNet (Qin et al., CVPR 2019, eq. 4). On an empty mask an empty
    map costs nothing; a uniform map of 1/2 costs almost 1 already.
    """
    weight = _ones(truth, inside)
    x, y = logits.float().sigmoid(), truth
    sums = _blur(torch.cat([m * weight for m in (x, y, x * x, y * y, x * y)] + [weight], 1), window)
    means = sums[:, :5] / sums[:, 5:].clamp_min(1e-6)
    mean_x, mean_y, square_x, square_y, product = torch.chunk(means, 5, 1)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    spread = (square_x - mean_x**2).clamp_min(0) + (square_y - mean_y**2).clamp_min(0)
    structure = (2 * (product - mean_x * mean_y) + c2) / (spread + c2)
    pixel = (1 - luminance * structure) * weight
    return pixel.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6)


def hybrid(logits: Tensor, truth: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return cross-entropy plus 1 - SSIM plus 1 - IoU per image: BASNet's hybrid loss (Qin et al., CVPR 2019, eq. 2)."""
    return bce(logits, truth, inside) + ssim(logits, truth, inside) + iou(logits, truth, inside)


def edges(truth: Tensor, inside: Tensor | None = None, *, width: int = 3) -> Tensor:
    """Return the boundaries of the truth's regions: dilation minus erosion by a square.

    Args:
        truth: as the module says.
        inside: likewise; padding takes no part, so a region that runs into it has no boundary there.
        width: side of the square, odd; the boundary is ``width - 1`` pixels thick.

    Returns:
        (B, 1, S, S) float32 in {0, 1}; all zero on an empty mask.
    """
    shown = _ones(truth, inside)
    grown = F.max_pool2d(truth * shown, width, stride=1, padding=width // 2)
    eaten = F.max_pool2d((1 - truth) * shown, width, stride=1, padding=width // 2)
    return grown * eaten * shown


def l1(logits: Tensor, truth: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return the mean absolute difference of map and mask per image: the soft form of the MAE metric."""
    weight = _ones(truth, inside)
    pixel = (logits.float().sigmoid() - truth).abs() * weight
    return pixel.flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1e-6)


PARTS = ("bce", "iou", "dice", "focal", "l1", "ssim", "cldice")
"""Parts of the loss, each with its weight in ``LossConfig``."""


class MaskLoss:
    """A weighted sum of the losses above, per image."""

    def __init__(self, config: LossConfig) -> None:
        self.config = config

    def __call__(self, logits: Tensor, truth: Tensor, inside: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (B,) float32, the loss of each image, and the parts' means, detached, for the log."""
        c = self.config
        parts: dict[str, Tensor] = {}
        weighted = list[Tensor]()
        terms: dict[str, tuple[float, Callable[[], Tensor]]] = {
            "bce": (c.bce, lambda: bce(logits, truth, inside, edge_weight=c.edge_weight, balance=c.balance)),
            "iou": (c.iou, lambda: iou(logits, truth, inside)),
            "dice": (c.dice, lambda: dice(logits, truth, inside)),
            "focal": (c.focal, lambda: focal(logits, truth, inside)),
            "l1": (c.l1, lambda: l1(logits, truth, inside)),
            "ssim": (c.ssim, lambda: ssim(logits, truth, inside)),
            "cldice": (c.cldice, lambda: cldice(logits, truth, inside, steps=c.cldice_steps)),
        }
        for name, (weight, term) in terms.items():
            if weight:
                value = term()
                parts[name] = value.detach().mean()
                weighted.append(value if weight == 1 else weight * value)
        return sum(weighted[1:], weighted[0]) if weighted else torch.zeros(len(logits), device=logits.device), parts


def foreground_shares(logits: Tensor, truth: Tensor, inside: Tensor) -> Callable[[], dict[str, Tensor]]:
    """Return what gives ``predicted_share`` and ``truth_share``, the foreground's share of the pixels inside.

    A prediction that falls to nothing shows in them first. Logits without a gradient; computed when it is called.
    """

    def shares() -> dict[str, Tensor]:
        area = inside.sum().clamp_min(1)
        return {"predicted_share": ((logits > 0) & inside).sum() / area, "truth_share": (truth * inside).sum() / area}

    return shares


def _ones(truth: Tensor, inside: Tensor | None) -> Tensor:
    return torch.ones_like(truth) if inside is None else inside.to(truth.dtype)


def _boundary_weight(truth: Tensor, inside: Tensor | None, edge_weight: float) -> Tensor:
    """Return what each pixel counts, 0 outside; the local mean is taken over pixels inside."""
    weight = _ones(truth, inside)
    if not edge_weight:
        return weight
    window = 2 * round((31 * truth.shape[-1] / 352 - 1) / 2) + 1
    defect, shown = _window_sum(torch.cat([truth * weight, weight], 1), window).chunk(2, 1)
    local = defect / shown.clamp_min(1e-6 * window**2)
    return torch.addcmul(weight, weight, (local - truth).abs(), value=edge_weight)


def _window_sum(x: Tensor, window: int) -> Tensor:
    """Return the sum over a square window of odd side around each pixel, zeros beyond the border.

    By running sums: ``avg_pool2d`` adds up each window again, which at 1024 px costs more than the network.

    >>> _window_sum(torch.ones(1, 1, 3, 3), 3)[0, 0, 0].tolist()
    [4.0, 6.0, 4.0]
    """
    padded = F.pad(x, (window // 2 + 1, window // 2) * 2)
    for dim in (-1, -2):
        sums = padded.cumsum(dim)
        padded = sums.narrow(dim, window, x.shape[dim]) - sums.narrow(dim, 0, x.shape[dim])
    return padded


def _blur(x: Tensor, window: int) -> Tensor:
    """Filter (B, C, H, W) by a Gaussian of standard deviation 1.5 px, zeros beyond the border.

    A sum of shifted copies and no convolution: autocast and TF32 would round one so much that the variances drown.
    """
    steps = torch.arange(window) - window // 2
    kernel = torch.exp(-(steps**2) / (2 * 1.5**2))
    taps = (kernel / kernel.sum()).tolist()
    height, width = x.shape[-2:]
    x = F.pad(x, [window // 2] * 4)
    x = sum((tap * x[..., i : i + height, :] for i, tap in enumerate(taps)), x.new_zeros(()))
    return sum((tap * x[..., i : i + width] for i, tap in enumerate(taps)), x.new_zeros(()))


def _class_weight(truth: Tensor, weight: Tensor, balance: float) -> Tensor:
    positive = (truth * weight).flatten(1).sum(1)
    negative = ((1 - truth) * weight).flatten(1).sum(1)
    both = (positive > 0) & (negative > 0)
    half = (positive + negative) / 2
    up = torch.where(both, half / positive.clamp_min(1e-6), torch.ones_like(half)) ** balance
    down = torch.where(both, half / negative.clamp_min(1e-6), torch.ones_like(half)) ** balance
    return truth * up[:, None, None, None] + (1 - truth) * down[:, None, None, None]


def _areas(logits: Tensor, truth: Tensor, inside: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    weight = _ones(truth, inside)
    probability, wanted = logits.float().sigmoid() * weight, truth * weight
    overlap = (probability * wanted).flatten(1).sum(1)
    return overlap, probability.flatten(1).sum(1), wanted.flatten(1).sum(1)
