"""SAM's encoder attention through ``scaled_dot_product_attention``: same weights, same numbers, no (N, N) matrix.

Paper: Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, ECCV 2022 (decomposed relative
position, section 3); Kirillov et al., ICCV 2023.
Code: segment_anything 1.0 materialises the (N, N) attention and adds the relative position to it. Here the position
rides along as further channels: a query brings its products with all row and column offsets, a key says by ones which
row and which column it stands in, and their product is the position's share. So torch's fused kernels need no mask.
Equal to stock to 1e-5 in float32, forward and gradient (tests/reference/test_sam_attention.py).
"""

from __future__ import annotations

import types

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor, nn


def use_fused_attention(encoder: nn.Module) -> None:
    """Switch every attention of an image encoder to the fused form, in place; parameters and their names do not change."""
    for module in encoder.modules():
        if isinstance(module, Attention):
            module.forward = types.MethodType(_fused_forward, module)


def _fused_forward(self: Attention, x: Tensor) -> Tensor:
    batch, height, width, _ = x.shape
    qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    channels = v.shape[-1]
    if self.use_rel_pos:
        rows, columns = _relative_position(self, q, height, width)
        q = torch.cat([q * self.scale, rows, columns], -1)
        k = torch.cat([k, _places(height, width, k).expand(*k.shape[:2], -1, -1)], -1)
        # Fused kernels want one width for all three, a multiple of eight.
        wide = -(-q.shape[-1] // 8) * 8
        q, k, v = (F.pad(each, (0, wide - each.shape[-1])) for each in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :channels]
    else:
        out = F.scaled_dot_product_attention(q, k, v)
    projected: Tensor = self.proj(out.transpose(1, 2).reshape(batch, height, width, -1))
    return projected


def _relative_position(attention: Attention, q: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return each query's products with its offsets to all rows (B, heads, N, height) and columns (B, heads, N, width)."""
    rows = get_rel_pos(height, height, attention.rel_pos_h)
    columns = get_rel_pos(width, width, attention.rel_pos_w)
    grid = q.reshape(*q.shape[:2], height, width, q.shape[-1])
    by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, rows.to(q.dtype))
    by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, columns.to(q.dtype))
    return by_row.flatten(2, 3), by_column.flatten(2, 3)


def _places(height: int, width: int, like: Tensor) -> Tensor:
    """Return (N, height + width), ones at each place's row and column."""
    rows = torch.eye(height, dtype=like.dtype, device=like.device)[:, None].expand(-1, width, -1)
    columns = torch.eye(width, dtype=like.dtype, device=like.device)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
