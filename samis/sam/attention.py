"""SAM's encoder attention through ``scaled_dot_product_attention``: same weights, same numbers, far less memory.

Paper: Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, ECCV 2022 (decomposed relative
position, section 3); Kirillov et al., ICCV 2023.
Code: segment_anything 1.0 materialises the (N, N) attention; here the relative position is folded into the bias that
torch's fused kernel adds. Equal to stock to 1e-5 in float32, forward and gradient (tests/reference/test_sam_attention.py).
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
    bias = _relative_position(self, q, height, width) if self.use_rel_pos else None
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    projected: Tensor = self.proj(out.transpose(1, 2).reshape(batch, height, width, -1))
    return projected


def _relative_position(attention: Attention, q: Tensor, height: int, width: int) -> Tensor:
    """Return the (B, heads, N, N) bias: each query's product with its row offsets plus with its column offsets."""
    rows = get_rel_pos(height, height, attention.rel_pos_h)
    columns = get_rel_pos(width, width, attention.rel_pos_w)
    grid = q.reshape(*q.shape[:2], height, width, q.shape[-1])
    by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, rows.to(q.dtype))
    by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, columns.to(q.dtype))
    return (by_row[..., :, None] + by_column[..., None, :]).flatten(4).flatten(2, 3)
