"""q, k and v of an encoder block with the position's channels, laid out by few kernels: for small models in training.

Used by ``samis.sam.attention``, which says what the further channels are. There each query's products with the offsets to all
rows and columns are two products over copies in other layouts; here they are one product with the whole tables, read in place:
the query in row i finds its offsets to all rows from place i of the table on. All of it is linear in q, k and v, so that the
backward pass keeps none of them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling.image_encoder import Attention
from torch import Tensor

FEW_TOKENS = 16384
"""Up to so many tokens the number of kernels limits a GPU's speed; beyond, the arithmetic does, and whole tables cost more."""
FEW_PLACES = 256
"""In windows of so many places the whole tables are small: there this method moves half the bytes of the other at any size."""


def may_keep(x: Tensor) -> bool:
    """Return whether a tensor that is made along with `x` may be kept for later calls: not while a graph is traced."""
    return not torch.compiler.is_compiling() and type(x) is Tensor


def few_offsets(attention: Attention, qkv: Tensor, height: int, width: int) -> Tensor | None:
    """Return the table for ``Extended``, or None where its tables are trained, or the method with two products is the faster one.

    (C, 2 height - 1 + 2 width - 1): offsets to rows, then to columns, over the kernel's scale; made once for frozen tables.
    """
    rows, columns = attention.rel_pos_h, attention.rel_pos_w
    tokens = qkv.shape[1] * height * width
    if (
        not may_keep(qkv)
        or (tokens > FEW_TOKENS and not (qkv.is_cuda and height * width <= FEW_PLACES))
        or any(each.requires_grad or each.is_inference() for each in (rows, columns))
    ):
        return None
    wanted = (id(rows), rows._version, id(columns), columns._version, height, width, qkv.dtype, qkv.device)
    kept: Any = vars(attention).get("_samis_offsets")
    if kept is None or kept[1] != wanted:
        with torch.inference_mode(False), torch.no_grad():
            both = torch.cat([resized(rows, height), resized(columns, width)]) / attention.scale
            kept = ((rows, columns), wanted, both.mT.to(qkv.dtype).contiguous())
        vars(attention)["_samis_offsets"] = kept
    table: Tensor = kept[2]
    return table


def resized(table: Tensor, size: int) -> Tensor:
    """Return an (L, C) table of offsets for `size` places, (2 size - 1, C); one made for another grid is resized as stock does."""
    length = 2 * size - 1
    return table if len(table) == length else F.interpolate(table.mT[None], size=length, mode="linear")[0].mT


class Extended(torch.autograd.Function):
    """(3, B, heads, N, C) q, k, v as the fused projection lays them out -> each (B, heads, N, C + height + width + spare).

    Further arguments: the (C, 2 height - 1 + 2 width - 1) offsets and the (2, 1, 1, N, height + width + spare) channels of keys
    and values, both without gradient, and (height, width). Queries get their products with all offsets, the last row and column
    first. Constants are written as tensors: assigning a number goes through one that the host reads, on CUDA.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, offsets: Tensor, constant: Tensor, grid: tuple[int, int]) -> tuple[Tensor, ...]:
        _, batch, heads, many, channels = qkv.shape
        ctx.save_for_backward(offsets)
        ctx.shape, ctx.grid = qkv.shape, grid
        whole = qkv.new_empty(3, batch, heads, many, channels + constant.shape[-1])
        whole[..., :channels] = qkv
        whole[1:, ..., channels:] = constant
        products = torch.bmm(_by_head(qkv[0].transpose(1, 2)), offsets.expand(heads, -1, -1))
        height, width = grid
        further = whole[0, ..., channels:].view(batch, heads, *grid, -1)
        rows, columns = _in_place(products, batch, grid)
        further[..., :height] = rows
        further[..., height : height + width] = columns
        if constant.shape[-1] > height + width:
            further[..., height + width :].zero_()
        return whole[0], whole[1], whole[2]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (offsets,) = ctx.saved_tensors
        _, batch, heads, many, channels = ctx.shape
        height, width = ctx.grid
        whole = torch.cat([gradient[..., :channels].transpose(1, 2) for gradient in gradients], 2)
        products = whole.new_zeros(heads, batch * many, offsets.shape[-1])
        further = gradients[0][..., channels:].view(batch, heads, *ctx.grid, -1)
        rows, columns = _in_place(products, batch, ctx.grid)
        rows.copy_(further[..., :height])
        columns.copy_(further[..., height : height + width])
        _by_head(whole[:, :, :heads]).baddbmm_(products, offsets.mT.expand(heads, -1, -1))
        return whole.view(batch, many, 3, heads, channels).permute(2, 0, 3, 1, 4), None, None, None


class Cropped(torch.autograd.Function):
    """The first C of (B, heads, N, C + further) channels; the gradient gets the (1, 1, N, further) zeros back in one kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, zeros: Tensor) -> Tensor:
        ctx.save_for_backward(zeros)
        return x[..., : x.shape[-1] - zeros.shape[-1]]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (zeros,) = ctx.saved_tensors
        return torch.cat([gradients[0], zeros.expand(*gradients[0].shape[:2], -1, -1)], -1), None


def _by_head(x: Tensor) -> Tensor:
    """Return (heads, B * N, C), a view of (B, N, heads, C)."""
    return x.flatten(0, 1).transpose(0, 1)


def _in_place(products: Tensor, batch: int, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return views (B, heads, height, width, height) and (..., width) of (heads, B * N, L): each place's own offsets."""
    heads, _, length = products.shape
    height, width = grid
    image = height * width * length
    shape, strides = (batch, heads, height, width), (image, batch * image)
    rows = products.as_strided((*shape, height), (*strides, width * length + 1, length, 1))
    columns = products.as_strided((*shape, width), (*strides, width * length, length + 1, 1), 2 * height - 1)
    return rows, columns
