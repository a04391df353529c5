"""Blocks that three or more of the networks share: convolution with norm, resizing to another feature, deep supervision."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.core.contracts import Batch
from samis.core.geometry import shown_inside, to_frame


class ConvNormRelu(nn.Sequential):
    """A convolution without bias, batch norm, ReLU; the size is kept but for `stride`.

    Args:
        before: channels in.
        after: channels out.
        kernel: side, odd. stride, dilation: of the convolution.

    >>> ConvNormRelu(3, 8, dilation=2)(torch.zeros(1, 3, 9, 7)).shape
    torch.Size([1, 8, 9, 7])
    """

    def __init__(self, before: int, after: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        super().__init__(
            nn.Conv2d(before, after, kernel, stride=stride, padding=padding, dilation=dilation, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        )


def resize_to(x: Tensor, like: Tensor | Sequence[int]) -> Tensor:
    """Return features or logits resized bilinearly to the height and width of `like`; `x` itself if they are equal.

    Args:
        x: (V, C, h, w).
        like: a tensor whose last two sides are meant, or the sides themselves.

    >>> resize_to(torch.zeros(1, 2, 4, 4), (9, 7)).shape
    torch.Size([1, 2, 9, 7])
    """
    hw = tuple(like.shape[-2:]) if isinstance(like, Tensor) else tuple(like)
    if tuple(x.shape[-2:]) == hw:
        return x
    return F.interpolate(x, size=hw, mode="bilinear", align_corners=False)


def start_rare(head: nn.Conv2d, share: float = 0.01) -> nn.Conv2d:
    """Return a logit head whose bias says at the start that `share` of the pixels are defects.

    AdamW moves a weight by about the learning rate a step. From a bias of 0 a few hundred steps leave clean surface near a
    probability of 0.1 to 0.2, which ruins MAE, S-measure and weighted F although the defects are detected.

    >>> round(start_rare(nn.Conv2d(3, 1, 1)).bias.sigmoid().item(), 4)
    0.01
    """
    if head.bias is not None:
        nn.init.constant_(head.bias, math.log(share / (1 - share)))
    return head


def deep_supervision(
    outputs: Sequence[Tensor],
    batch: Batch,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    weights: Sequence[float] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum of one loss over a network's outputs, each resized to the frame; padding never counts.

    Args:
        outputs: (V, 1, h, w) logits each, the answer first.
        batch: with masks.
        loss: of ``samis.core.losses``, called as ``loss(logits, truth, inside)``, one value a view.
        weights: one an output; None weighs all 1.

    Returns:
        (V,) float32, and the parts for the log: ``main``, the answer's loss, and ``sides``, the others' weighted sum.

    Raises:
        ValueError: there is not one weight an output, or the batch has no masks.
    """
    weights = [1.0] * len(outputs) if weights is None else weights
    truth = batch.masks
    if truth is None or len(weights) != len(outputs):
        raise ValueError(f"deep supervision: expected masks and {len(outputs)} weights, got {len(weights)}")
    shown = shown_inside(batch, truth.device)
    each = [loss(to_frame(logits, truth.shape[-1]), truth, shown) for logits in outputs]
    total = torch.stack([weight * value for weight, value in zip(weights, each, strict=True)]).sum(0)
    main = each[0].detach().mean()
    parts = {"main": main}
    if len(each) > 1:
        parts["sides"] = total.detach().mean() - weights[0] * main
    return total, parts
