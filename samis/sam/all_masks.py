"""Loss of SAM's other masks: the best of masks 1 to 3 for each prompt, and the predicted IoU of all four.

Paper: Kirillov et al., Segment Anything, ICCV 2023 (doi 10.1109/ICCV51070.2023.00371), appendix A: of several masks only the best
is trained, and the predicted IoU by squared error.
Differs: the best is chosen by the config's mask loss; the truth of a prompt without an object of its own, such as the empty one,
is the view's whole truth.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from samis.core.contracts import Prompt
from samis.core.losses import MaskLoss
from samis.sam.forward import SamOutput


def all_masks_loss(
    output: SamOutput, prompt: Prompt, truth: Tensor, shown: Tensor, mask_loss: MaskLoss
) -> tuple[Tensor, Tensor]:
    """Return the loss of masks 1 to 3 and the squared error of the predicted IoU, of each view, at the decoder's own grid.

    Args:
        output: of P prompts for each of V views.
        prompt: theirs, with ``objects`` where prompts have some of their own.
        truth: (V, 1, S, S) float32 in {0, 1}.
        shown: (V, 1, S, S) bool, where a view shows its image.
        mask_loss: of a mask.

    Returns:
        two (V,) tensors, means over the prompts that are present; 0 for a view without one.
    """
    views, prompts = output.iou.shape[:2]
    cells = output.logits.shape[-1]
    own = truth.expand(-1, prompts, -1, -1) if prompt.objects is None else prompt.objects.float()
    wanted = _pooled(own.reshape(-1, 1, *own.shape[-2:]), cells)
    inside = _pooled(shown.float(), cells).repeat_interleave(prompts, 0) > 0.5
    logits = output.logits.flatten(0, 1)
    with torch.no_grad():
        actual = hard_iou((logits > 0) & inside, wanted > 0.5)
    each = torch.stack([mask_loss(logits[:, number : number + 1], wanted, inside)[0] for number in (1, 2, 3)])
    error = (output.iou.flatten(0, 1) - actual).square().mean(1)
    weight = torch.ones_like(error) if prompt.present is None else prompt.present.flatten().float()
    weight = weight.view(views, prompts) / weight.view(views, prompts).sum(1, keepdim=True).clamp_min(1)
    return tuple((values.view(views, prompts) * weight).sum(1) for values in (each.amin(0), error))  # type: ignore[return-value]


def hard_iou(masks: Tensor, truth: Tensor) -> Tensor:
    """Return the (N, M) IoU of (N, M, c, c) bool masks with (N, 1, c, c) bool truths; of two empty ones 0.

    >>> hard_iou(torch.tensor([[[[True, True]]]]), torch.tensor([[[[True, False]]]])).item()
    0.5
    """
    overlap = (masks & truth).flatten(2).sum(2)
    union = (masks | truth).flatten(2).sum(2)
    return overlap / union.clamp_min(1)


def _pooled(values: Tensor, cells: int) -> Tensor:
    """Return (N, 1, c, c), 1 where at least half of a cell is."""
    return (F.adaptive_avg_pool2d(values, cells) >= 0.5).to(values.dtype)
