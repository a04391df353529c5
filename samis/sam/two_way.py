"""SAM's two-way transformer for P prompts of one image: image tokens are shared while they can be, never repeated.

Paper: Kirillov et al., Segment Anything, ICCV 2023 (doi 10.1109/ICCV51070.2023.00371), appendix A (mask decoder).
Code: the modules, their weights and their order are segment_anything's; only the order of multiplication differs.
Differs: segment_anything copies the image's tokens for each prompt and projects all 4096 of them in every attention.
Here the first layer projects them once an image, since all prompts still see the same image; later, a projection of the
many image tokens moves to the few prompt tokens: q (k W)^T = (q W^T) k^T, and A (v W) = (A v) W. A single prompt, as in
training, has its tokens projected as in stock and goes through torch's fused attention. Equal to stock to 1e-5.
"""

from __future__ import annotations

import math
import types
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling.transformer import Attention, TwoWayTransformer
from torch import Tensor, nn

from samis.core.sdpa import exclude_cudnn


def use_broadcast_attention(decoder: nn.Module) -> None:
    """Switch every attention of a mask decoder to the broadcasting form, in place; parameters and names do not change."""
    exclude_cudnn()
    for module in decoder.modules():
        if isinstance(module, Attention) and "forward" not in vars(module):
            module.forward = types.MethodType(_forward, module)


def attend(transformer: TwoWayTransformer, image: Tensor, positions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Let prompts and image attend to each other, as ``TwoWayTransformer.forward`` does.

    Args:
        transformer: of a decoder that went through ``use_broadcast_attention``.
        image: (V, 1, N, C) image tokens of V views, or (V, P, N, C) where prompts changed them.
        positions: (1, 1, N, C) of the image tokens.
        tokens: (V, P, T, C) prompt tokens.

    Returns:
        prompt tokens (V, P, T, C) and image tokens (V, P, N, C).
    """
    queries, keys = tokens, image
    for layer in transformer.layers:
        queries, keys = layer(queries=queries, keys=keys, query_pe=tokens, key_pe=positions)
    attended = transformer.final_attn_token_to_image(q=queries + tokens, k=keys + positions, v=keys)
    return transformer.norm_final_attn(queries + attended), keys


def _forward(self: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend from q (V, P, M, C) to k, v (V, P, N, C), where either may have P = 1; stock's three dimensions work too."""
    if q.ndim == 3:
        attended: Tensor = _forward(self, q[:, None], k[:, None], v[:, None])[:, 0]
        return attended
    if q.shape[1] == k.shape[1] == 1:
        return _one_prompt(self, q, k, v)
    few = min(q.shape[-2], k.shape[-2]) * self.num_heads < self.internal_dim
    if few and q.shape[-2] < k.shape[-2] and _plain(self.k_proj, self.v_proj) and k.shape[1] == q.shape[1]:
        return _few_queries(self, q, k, v)
    if few and q.shape[-2] > k.shape[-2] and _plain(self.q_proj, self.out_proj):
        return _many_queries(self, q, k, v)
    queries, keys, values = self.q_proj(q), self.k_proj(k), self.v_proj(v)
    prompts, length = max(q.shape[1], k.shape[1]), q.shape[-2]
    if q.shape[1] != k.shape[1] and q.shape[1] > 1:  # one image, many prompts: their tokens form one sequence
        queries = queries.flatten(1, 2)[:, None]
    queries, keys, values = (_heads(x, self.num_heads) for x in (queries, keys, values))
    weights = (queries @ keys.mT / math.sqrt(queries.shape[-1])).softmax(-1)
    joined = _join(weights @ values)
    if joined.shape[1] != prompts:
        joined = joined.reshape(-1, prompts, length, joined.shape[-1])
    return self.out_proj(joined)  # type: ignore[no-any-return]


def _one_prompt(self: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend for one prompt a view, where no projection can be shared or moved with gain: few kernels matter more."""
    queries, keys, values = (
        _heads(x.squeeze(1), self.num_heads) for x in (self.q_proj(q), self.k_proj(k), self.v_proj(v))
    )
    joined = _join(F.scaled_dot_product_attention(queries, keys, values))
    return self.out_proj(joined.unsqueeze(1))  # type: ignore[no-any-return]


def _few_queries(self: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Project the few queries instead of the many keys and values."""
    queries = _heads(self.q_proj(q), self.num_heads)
    shape, width = queries.shape[:-1], queries.shape[-1]
    k_proj, v_proj = _base(self.k_proj), _base(self.v_proj)
    projected = torch.einsum("vphmd,hdc->vphmc", queries, k_proj.weight.reshape(self.num_heads, width, -1))
    # The keys' bias adds alike to all scores of a query; it stays in, since a trained parameter needs its gradient.
    offset = queries @ k_proj.bias.reshape(self.num_heads, width, 1)
    weights = ((projected.flatten(2, 3) @ k.mT + offset.flatten(2, 3)) / math.sqrt(width)).softmax(-1)
    seen = (weights @ v).reshape(*shape, -1)
    values = torch.einsum("vphmc,hdc->vphmd", seen, v_proj.weight.reshape(self.num_heads, width, -1))
    return self.out_proj(_join(values) + v_proj.bias)  # type: ignore[no-any-return]


def _many_queries(self: Attention, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Project the few keys and values instead of the many queries and answers."""
    keys, values = (_heads(x, self.num_heads) for x in (self.k_proj(k), self.v_proj(v)))
    views, prompts, heads, few, width = keys.shape
    scale = math.sqrt(width)
    q_proj, out_proj = _base(self.q_proj), _base(self.out_proj)
    if q.shape[1] != prompts:  # one image, many prompts: its tokens are projected once
        queries = _heads(self.q_proj(q), heads)[:, 0]
        in_line = keys.transpose(1, 2).reshape(views, heads, prompts * few, width)
        scores = (in_line @ queries.mT / scale).reshape(views, heads, prompts, few, -1).transpose(1, 2)
    else:
        projected = torch.einsum("vphtd,hdc->vphtc", keys, q_proj.weight.reshape(heads, width, -1))
        offset = keys @ q_proj.bias.reshape(heads, width, 1)
        scores = ((projected.flatten(2, 3) @ q.mT).reshape(views, prompts, heads, few, -1) + offset) / scale
    weights = scores.softmax(-2).flatten(2, 3)
    answers = torch.einsum("vphtd,chd->vphtc", values, out_proj.weight.reshape(-1, heads, width))
    # The weights of each head add up to one, so each brings its share of the bias: one pass less over the image.
    return weights.mT @ (answers + out_proj.bias / heads).flatten(2, 3)


def _base(layer: nn.Module) -> Any:
    """Return the pretrained layer below an adapter that is switched off, else the layer."""
    return layer.base_layer if getattr(layer, "disable_adapters", False) else layer


def _plain(*layers: nn.Module) -> bool:
    """Return whether weights may be read past a layer's own forward: not where an adapter or a hook changes it."""
    return all(type(_base(layer)) is nn.Linear and not layer._forward_hooks for layer in layers)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.reshape(*x.shape[:-1], heads, -1).transpose(-2, -3)


def _join(x: Tensor) -> Tensor:
    return x.transpose(-2, -3).flatten(-2)
