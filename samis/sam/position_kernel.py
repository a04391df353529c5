"""A Triton kernel for the encoder's global attention: positions are added inside, so that queries and keys stay narrow.

Paper: Dao, FlashAttention-2, 2023 (arXiv 2307.08691), Algorithm 1; Li et al., ECCV 2022 (decomposed relative position).
Torch's fused kernels know no such position, so that ``samis.sam.attention`` widens queries, keys and values from 64 to 192
channels for a grid of 64 x 64, three times the arithmetic. Here one step of the inner loop takes one row of the grid's keys:
the position's term of the columns is the same at each step, and that of the row is one number a query.
Differs: forward only, in half precision, on CUDA; all other cases use widened channels. Equal to stock attention
(tests/unit/sam/test_position_kernel.py runs the kernel in Triton's interpreter on a CPU).
"""
# mypy: disable-error-code="no-untyped-def, untyped-decorator, misc"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CONFIGS = [
    triton.Config({"BLOCK": block}, num_warps=warps, num_stages=3) for block, warps in ((128, 8), (128, 4), (64, 4))
]


@triton.jit
def _attend(
    q_in, k_in, v_in, rows_in, columns_in, out, by_batch, by_head, by_place, heads, scale,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    log2_e = 1.4426950408889634
    places: tl.constexpr = HEIGHT * WIDTH
    head = tl.program_id(1)
    start = (head // heads).to(tl.int64) * by_batch + (head % heads) * by_head
    place, channel, column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, PADDED), tl.arange(0, WIDTH)
    real = channel < CHANNELS
    q = tl.load(q_in + start + place[:, None] * by_place + channel[None, :], mask=real[None, :], other=0.0)
    query = head.to(tl.int64) * places + place
    # The last row and column come first in the offsets.
    by_column = tl.load(columns_in + query[:, None] * WIDTH + (WIDTH - 1 - column)[None, :]).to(tl.float32) * log2_e
    largest = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    values = tl.zeros([BLOCK, PADDED], tl.float32)
    for row in range(HEIGHT):
        at = start + (row * WIDTH + column) * by_place
        k = tl.load(k_in + at[None, :] + channel[:, None], mask=real[:, None], other=0.0)
        by_row = tl.load(rows_in + query * HEIGHT + (HEIGHT - 1 - row)).to(tl.float32) * log2_e
        score = tl.dot(q, k) * (scale * log2_e) + by_column + by_row[:, None]
        new = tl.maximum(largest, tl.max(score, 1))
        weight = tl.exp2(score - new[:, None])
        shrink = tl.exp2(largest - new)
        v = tl.load(v_in + at[:, None] + channel[None, :], mask=real[None, :], other=0.0)
        values = values * shrink[:, None] + tl.dot(weight.to(v.dtype), v)
        total = total * shrink + tl.sum(weight, 1)
        largest = new
    values = values / total[:, None]
    target = (head // heads).to(tl.int64) * places + place
    at = (target[:, None] * heads + head % heads) * CHANNELS + channel[None, :]
    tl.store(out + at, values.to(out.dtype.element_ty), mask=real[None, :])


_tuned = triton.autotune(CONFIGS, key=["WIDTH", "CHANNELS"])(_attend)


@torch.library.custom_op("samis::attend_with_position", mutates_args=())
def attend_with_position(qkv: Tensor, rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    """Return (B, N, heads, C) attention over a grid whose position is decomposed, in the dtype of `qkv`.

    Args:
        qkv: (3, B, heads, N, C), any strides but the last, which is 1, and the same for all three. N = height * width, a
            multiple of 128; width a power of two, at least 16.
        rows: (B, heads, N, height) products of the queries with their row offsets, the last one first.
        columns: (B, heads, N, width) products with their column offsets, likewise.
        scale: of the products of queries and keys.
    """
    _, batch, heads, places, channels = qkv.shape
    height, width = rows.shape[-1], columns.shape[-1]
    rows, columns = rows.contiguous(), columns.contiguous()
    out = qkv.new_empty(batch, places, heads, channels)
    sizes = {
        "HEIGHT": height, "WIDTH": width, "CHANNELS": channels, "PADDED": max(16, triton.next_power_of_2(channels)),
    }  # fmt: skip
    arguments = (*qkv.unbind(0), rows, columns, out, *qkv.stride()[1:4], heads, scale)
    # Bound by strides in one order: batch, head, place.
    if qkv.is_cuda:
        _tuned[lambda meta: (places // meta["BLOCK"], batch * heads)](*arguments, **sizes)
    else:  # Triton's interpreter
        _attend[(places // 64, batch * heads)](*arguments, **sizes, BLOCK=64)
    return out


@attend_with_position.register_fake
def _(qkv: Tensor, rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    _, batch, heads, places, channels = qkv.shape
    return qkv.new_empty(batch, places, heads, channels)
