"""One low-rank layer with the fewest matrix products, forward and backward; same algebra as peft's.

peft adds ``lora_B(lora_A(x)) * scaling`` to the layer's output: two products, a multiplication and an addition, and twice
as many on the way back. Here scale and additions are part of the products (``alpha`` and ``beta`` of BLAS): eight kernels a layer
and step instead of twelve, and in half precision two roundings less.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn


def use_few_products(layer: Linear) -> None:
    """Let a low-rank linear of peft go through ``LowRank`` wherever that is what it computes, in place."""
    layer.forward = types.MethodType(_forward, layer)  # type: ignore[method-assign]


def _forward(self: Linear, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    whole = getattr(self, "whole", None)
    if whole is not None and not (args or kwargs):  # made beforehand (``samis.adapters.whole``)
        return torch.nn.functional.linear(x, *whole)
    name = plain_adapter(self)
    if name is None or args or kwargs or torch.compiler.is_compiling():
        output: Tensor = type(self).forward(self, x, *args, **kwargs)
        return output
    base, factors = self.base_layer, (self.lora_A[name].weight, self.lora_B[name].weight)
    if any(each is not None and each.dtype != x.dtype for each in (base.weight, base.bias, *factors)):
        return type(self).forward(self, x)  # type: ignore[no-any-return]
    made: Tensor = LowRank.apply(x, base.weight, base.bias, *factors, self.scaling[name])  # type: ignore[no-untyped-call]
    return made


def plain_adapter(layer: Linear) -> str | None:
    """Return the one adapter of a layer that is its frozen linear plus two factors, and nothing else; else None."""
    names = [name for name in layer.active_adapters if name in layer.lora_A]
    if layer.disable_adapters or layer.merged or len(names) != 1 or _has_variant(layer, names[0]):
        return None
    base, dropout = layer.base_layer, layer.lora_dropout[names[0]]
    plain = type(base) is nn.Linear and not base._forward_hooks and not base.weight.requires_grad
    drops = isinstance(dropout, nn.Dropout) and dropout.training and dropout.p > 0
    biased = layer.lora_bias.get(names[0], False) or (base.bias is not None and base.bias.requires_grad)
    return names[0] if plain and not drops and not biased else None


def _has_variant(layer: Linear, name: str) -> bool:
    """Whether an adapter is more than two factors (DoRA and its kind); peft before 0.16 keeps that in ``use_dora``."""
    return name in getattr(layer, "lora_variant", {}) or bool(getattr(layer, "use_dora", {}).get(name))


class LowRank(torch.autograd.Function):
    """x W^T + bias + scale x A^T B^T, for (..., in) x, frozen W (out, in) and bias, trained A (rank, in) and B (out, rank)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        low = torch.addmm(a[:, 0], flat, a.mT, beta=0, alpha=scale)  # beta=0: its first argument is ignored
        out = torch.nn.functional.linear(flat, weight, bias).addmm_(low, b.mT)
        ctx.save_for_backward(flat, low, weight, a, b)
        ctx.shape, ctx.scale = x.shape, scale
        return out.reshape(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat, low, weight, a, b = ctx.saved_tensors
        gradient = gradients[0].reshape(-1, len(weight))
        of_low = torch.addmm(b[0], gradient, b, beta=0, alpha=ctx.scale)
        of_x = (gradient @ weight).addmm_(of_low, a).reshape(ctx.shape) if ctx.needs_input_grad[0] else None
        return of_x, None, None, of_low.mT @ flat, gradient.mT @ low, None
