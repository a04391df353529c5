"""Move a SAM to another frame: interpolate its absolute and relative positions, keep every other weight.

Paper: Dosovitskiy et al., ICLR 2021, section 3.2 (interpolated positions); SAM's own ``get_rel_pos`` interpolates the
relative ones on the fly in the same way.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def resized_weights(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return `weights` with the encoder's positions interpolated to the shapes in `wanted`.

    Args:
        weights: name -> tensor of a SAM at its frame.
        wanted: name -> tensor of a SAM of the same architecture at another frame (only shapes are read).

    Returns:
        a new dict; tensors that fit are the same objects. Tensors that differ otherwise are left for strict loading to refuse.
    """
    moved = dict(weights)
    for name, tensor in weights.items():
        if name not in wanted or tensor.shape == wanted[name].shape:
            continue
        if name.endswith("image_encoder.pos_embed"):
            size = wanted[name].shape[1:3]
            grid = F.interpolate(tensor.permute(0, 3, 1, 2).float(), size, mode="bicubic", align_corners=False)
            moved[name] = grid.permute(0, 2, 3, 1).to(tensor.dtype)
        elif name.endswith(("rel_pos_h", "rel_pos_w")):
            length = wanted[name].shape[0]
            line = F.interpolate(tensor.T[None].float(), length, mode="linear", align_corners=False)
            moved[name] = line[0].T.to(tensor.dtype).contiguous()
    return moved
