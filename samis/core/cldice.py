"""The centreline Dice loss, for thin structures: a crack that is found along its whole length, whatever its width.

Paper: Shit et al., clDice: A Novel Topology-Preserving Loss Function for Tubular Structure Segmentation, CVPR 2021,
arXiv 2003.07311, algorithms 1 and 2. Code of the paper: github.com/jocpae/clDice (MIT), not copied.
Differs: computed per image, padding never counts, and one pixel is added above and below as in ``samis.core.losses.dice``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_skeleton(x: Tensor, steps: int) -> Tensor:
    """Return the soft skeleton: what erosion step by step leaves behind that opening would remove.

    Args:
        x: (B, 1, S, S) float in [0, 1].
        steps: erosions; at least half of the widest structure's width in frame pixels.

    Returns:
        (B, 1, S, S) float in [0, 1]; of a strip one pixel wide the strip itself.

    >>> strip = torch.zeros(1, 1, 5, 6)
    >>> strip[..., 1:4, :] = 1
    >>> soft_skeleton(strip, 3)[0, 0, :, 2].tolist()
    [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    skeleton = F.relu(x - _dilated(_eroded(x)))
    for _ in range(steps):
        x = _eroded(x)
        left = F.relu(x - _dilated(_eroded(x)))
        skeleton = skeleton + F.relu(left - skeleton * left)
    return skeleton


def cldice(
    logits: Tensor, truth: Tensor, inside: Tensor | None = None, *, steps: int = 10, smooth: float = 1.0
) -> Tensor:
    """Return 1 - soft clDice per image: of the share of the map's skeleton in the truth and of the truth's in the map.

    Args:
        logits: (B, 1, S, S) float.
        truth: (B, 1, S, S) float in {0, 1}.
        inside: (B, 1, S, S) bool, True where the frame shows image; None: everywhere.
        steps: erosions of the soft skeleton; see ``soft_skeleton``.
        smooth: pixels added above and below, so that on an empty mask an empty map costs nothing.

    Returns:
        (B,) float32 in [0, 1].
    """
    shown = torch.ones_like(truth) if inside is None else inside.to(truth.dtype)
    probability, wanted = logits.float().sigmoid() * shown, truth.float() * shown
    with torch.no_grad():
        true_skeleton = soft_skeleton(wanted, steps)
    found_skeleton = soft_skeleton(probability, steps)
    precision = _share(found_skeleton, wanted, smooth)
    recall = _share(true_skeleton, probability, smooth)
    return 1 - 2 * precision * recall / (precision + recall)


def _share(skeleton: Tensor, other: Tensor, smooth: float) -> Tensor:
    """Return (B,) how much of a skeleton is in the other map."""
    return ((skeleton * other).flatten(1).sum(1) + smooth) / (skeleton.flatten(1).sum(1) + smooth)


def _eroded(x: Tensor) -> Tensor:
    """Return the smallest value of each pixel and its four neighbours; the frame's border erodes nothing."""
    upright = -F.max_pool2d(-x, (3, 1), stride=1, padding=(1, 0))
    level = -F.max_pool2d(-x, (1, 3), stride=1, padding=(0, 1))
    return torch.minimum(upright, level)


def _dilated(x: Tensor) -> Tensor:
    """Return the largest value of each pixel and its eight neighbours."""
    return F.max_pool2d(x, 3, stride=1, padding=1)
