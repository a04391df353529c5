"""SAM's encoder attention through ``scaled_dot_product_attention``: same weights, same numbers, no (N, N) matrix.

Paper: Li et al., Exploring Plain Vision Transformer Backbones for Object Detection, ECCV 2022 (decomposed relative
position, section 3); Kirillov et al., ICCV 2023.
Code: segment_anything 1.0 materialises the (N, N) attention and adds the relative position to it. Here the position
is encoded in further channels: a query holds its products with all row and column offsets, a key holds ones at its own
row and column, and their product is the position's term. So torch's fused kernels need no mask.
Without a gradient, in half precision and on CUDA, a kernel of our own adds the position inside instead
(``samis.sam.position_kernel``), if Triton is there.
Equal to stock to 1e-5 in float32, forward and gradient (tests/reference/test_sam_attention.py).
Differs: offsets are read from the table in place: stock's index comes from the host at every call.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Attention, Block
from torch import Tensor, nn

from samis.core.sdpa import exclude_cudnn
from samis.sam.extended import Cropped, Extended, few_offsets, may_keep, resized

MANY_PLACES = 1024
"""Fewest places of a grid for the kernel that adds positions inside: smaller ones cost little either way."""
_kernel: list[Callable[[Tensor, Tensor, Tensor, float], Tensor]] = []
"""That kernel, where the machine has a GPU and Triton, until it fails."""


def use_fused_attention(encoder: nn.Module) -> None:
    """Switch an image encoder's attention and 2-D norms to the fused form, in place; parameters and names do not change.

    From then on no attention of this process uses cuDNN (``samis.core.sdpa``).
    """
    exclude_cudnn()
    if torch.cuda.is_available() and not _kernel:
        try:
            from samis.sam.position_kernel import attend_with_position
        except ImportError:  # torch without Triton, as on Windows: the widened attention does the same
            pass
        else:
            _kernel.append(attend_with_position)
    for module in encoder.modules():
        if isinstance(module, Attention):
            module.forward = types.MethodType(_fused_forward, module)
        elif isinstance(module, LayerNorm2d):
            module.forward = types.MethodType(_norm_channels, module)
        elif isinstance(module, Block):
            for norm in (module.norm1, module.norm2):
                norm.forward = types.MethodType(_norm_cast, norm)


def _fused_forward(self: Attention, x: Tensor) -> Tensor:
    batch, height, width, _ = x.shape
    qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    if (
        self.use_rel_pos
        and _fits_kernel(self, qkv, height, width)
        and (attended := _inside(self, qkv, height, width)) is not None
    ):
        return self.proj(attended.reshape(batch, height, width, -1))  # type: ignore[no-any-return]
    if self.use_rel_pos and (offsets := few_offsets(self, qkv, height, width)) is not None:
        spare = _spare(qkv.shape[-1], height, width)
        further = _kept_channels(height, width, spare, qkv.dtype, qkv.device)
        q, k, v = Extended.apply(qkv, offsets, further, (height, width))  # type: ignore[no-untyped-call]
        out = Cropped.apply(F.scaled_dot_product_attention(q, k, v, scale=self.scale), further[1])  # type: ignore[no-untyped-call]
        return self.proj(out.transpose(1, 2).reshape(batch, height, width, -1))  # type: ignore[no-any-return]
    q, k, v = qkv.unbind(0)
    if not self.use_rel_pos:
        out = F.scaled_dot_product_attention(q, k, v)
    else:
        # The kernel scales positions too, so they are divided by the scale first: in the table, which is small.
        out = _folded(q, k, v, *_relative_position(self, q, height, width, 1 / self.scale), self.scale)
    projected: Tensor = self.proj(out.transpose(1, 2).reshape(batch, height, width, -1))
    return projected


def _fits_kernel(attention: Attention, qkv: Tensor, height: int, width: int) -> bool:
    """Return whether the kernel that adds positions inside does this call."""
    trained = torch.is_grad_enabled() and any(x.requires_grad for x in (qkv, attention.rel_pos_h, attention.rel_pos_w))
    return (
        bool(_kernel)
        and qkv.is_cuda
        and qkv.dtype in (torch.bfloat16, torch.float16)
        and not trained
        and height * width >= MANY_PLACES
        and height * width % 128 == 0
        and width >= 16
        and width & (width - 1) == 0
    )


def _inside(attention: Attention, qkv: Tensor, height: int, width: int) -> Tensor | None:
    """Return the kernel's (B, N, heads, C) attention; None where it cannot be built, which is printed once."""
    rows, columns = _relative_position(attention, qkv[0], height, width, 1.0)
    if torch.compiler.is_compiling():
        return _kernel[0](qkv, rows, columns, attention.scale)
    try:
        return _kernel[0](qkv, rows, columns, attention.scale)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # Triton fails in many ways: no C compiler, an old GPU, too little shared memory
        _kernel.clear()
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        print(f"attention: going on with torch's own kernels, since {type(error).__name__}: {reason}", file=sys.stderr)
        return None


def _relative_position(
    attention: Attention, q: Tensor, height: int, width: int, factor: float
) -> tuple[Tensor, Tensor]:
    """Return each query's products with its offsets to all rows (B, heads, N, height) and columns (B, heads, N, width).

    The last row (column) comes first; all are multiplied by `factor`.
    """
    rows = _offsets(attention.rel_pos_h * factor, height).to(q.dtype)
    columns = _offsets(attention.rel_pos_w * factor, width).to(q.dtype)
    grid = q.reshape(*q.shape[:2], height, width, q.shape[-1])
    by_row = torch.einsum("bnhwc,hck->bnhwk", grid, rows)
    by_column = torch.einsum("bnhwc,wck->bnhwk", grid, columns)
    return by_row.flatten(2, 3), by_column.flatten(2, 3)


def _spare(channels: int, height: int, width: int) -> int:
    """Return the number of padding channels: fused kernels need one width for q, k and v, a multiple of eight."""
    return -(channels + height + width) % 8


def _offsets(table: Tensor, size: int) -> Tensor:
    """Return (size, C, size): for each of `size` places, the (L, C) table's entries for all places, the last one first."""
    return resized(table, size).unfold(0, size, 1)


def _folded(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, columns: Tensor, scale: float) -> Tensor:
    """Return the (B, heads, N, C) attention; queries carry the position as further channels, keys ones."""
    height, width, channels = rows.shape[-1], columns.shape[-1], v.shape[-1]
    spare = _spare(channels, height, width)
    places = (_kept_places if may_keep(k) else _places)(height, width, spare, k.dtype, k.device)
    k = torch.cat([k, places.expand(*k.shape[:2], -1, -1)], -1)
    q = torch.cat([q, rows, columns, *([q.new_zeros(1).expand(*q.shape[:3], spare)] if spare else [])], -1)
    v = F.pad(v, (0, q.shape[-1] - channels))
    return F.scaled_dot_product_attention(q, k, v, scale=scale)[..., :channels]


def _places(height: int, width: int, spare: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return (N, height + width + spare): ones at each place's row and column, the last one first; zeros to fill up."""
    rows = torch.eye(height, dtype=dtype, device=device).flip(1)[:, None].expand(-1, width, -1)
    columns = torch.eye(width, dtype=dtype, device=device).flip(1)[None].expand(height, -1, -1)
    return F.pad(torch.cat([rows, columns], -1), (0, spare)).flatten(0, 1)


@lru_cache(maxsize=8)
def _kept_places(height: int, width: int, spare: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ``_places``, made once for all blocks; an ordinary tensor, since training may use what scoring made."""
    with torch.inference_mode(False):
        return _places(height, width, spare, dtype, device)


@lru_cache(maxsize=8)
def _kept_channels(height: int, width: int, spare: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return (2, 1, 1, N, height + width + spare), made once: the further channels of keys (``_places``) and of values (zeros)."""
    places = _kept_places(height, width, spare, dtype, device)
    with torch.inference_mode(False):
        return torch.stack([places, torch.zeros_like(places)])[:, None, None]


def _norm_cast(self: nn.LayerNorm, x: Tensor) -> Tensor:
    """Normalise, and cast for autocast now what the next linear layer would: windows are then cut from half as many bytes."""
    normed = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
    kind = x.device.type
    return normed.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else normed


def _norm_channels(self: LayerNorm2d, x: Tensor) -> Tensor:
    """Normalise (B, C, H, W) over the channels in one kernel; the encoder's neck holds them last in memory anyway."""
    last = x.permute(0, 2, 3, 1)
    return F.layer_norm(last, last.shape[-1:], self.weight, self.bias, self.eps).permute(0, 3, 1, 2)
