"""Small low-rank layers as one weight each, W + scale B A, computed for all layers of a shape together once a micro-batch.

A low-rank layer by itself takes eight matrix products a step (``samis.adapters.low_rank``), a linear with one weight three.
Where the matrices are small the number of kernels limits a GPU's speed, so that in training in half precision the sums are
computed first, in float32, a batch of layers at a time, and rounded once; the gradient of a sum gives those of its factors.
Larger layers stay as they are: there the gradient of the whole weight costs more than it saves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn

from samis.adapters.low_rank import plain_adapter

SMALL = 2**18
"""Most elements of a weight whose sum is made: those of a layer from 512 to 512 channels."""


@dataclass
class _Group:
    """Layers whose weights (out, in), rank and scale are the same.

    Attributes:
        scale: of the update.
        layers: each with the name of its adapter.
        weights: (layers, out, in) float32, frozen.
        biases: (out,) or None, in half precision.
        versions: of the frozen tensors that weights and biases were computed from.
    """

    scale: float
    layers: list[tuple[Linear, str]]
    weights: Tensor
    biases: list[Tensor | None]
    versions: list[Any]


class WholeWeights:
    """The whole weights of a model's small low-rank layers.

    Args:
        model: whose layers went through ``use_few_products``.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [layer for layer in model.modules() if isinstance(layer, Linear)]
        self._made: dict[Any, _Group] = {}

    @contextmanager
    def swapped(self, dtype: torch.dtype) -> Iterator[set[nn.Module]]:
        """Let small layers use whole weights in `dtype` inside the block; yield the modules whose own weights are unused there."""
        groups = self._groups(dtype)
        layers = [each for group in groups for each in group.layers]
        if not layers:
            yield set()
            return
        factors = [part[name].weight for layer, name in layers for part in (layer.lora_A, layer.lora_B)]
        whole = _Sum.apply(dtype, [(group.weights, group.scale) for group in groups], *factors)  # type: ignore[no-untyped-call]
        biases = [bias for group in groups for bias in group.biases]
        try:
            for (layer, _), weight, bias in zip(layers, whole, biases, strict=True):
                vars(layer)["whole"] = (weight, bias)
            yield {
                part for layer, name in layers for part in (layer.base_layer, layer.lora_A[name], layer.lora_B[name])
            }
        finally:
            for layer, _ in layers:
                vars(layer).pop("whole", None)

    def _groups(self, dtype: torch.dtype) -> list[_Group]:
        """Return the small layers that are no more than a linear and two factors, by shape."""
        by_shape: dict[Any, list[tuple[Linear, str]]] = {}
        for layer in self._layers:
            name, base = plain_adapter(layer), layer.base_layer
            if name is not None and base.weight.numel() <= SMALL and base.weight.dtype == torch.float32:
                key = (*base.weight.shape, len(layer.lora_A[name].weight), layer.scaling[name], dtype)
                by_shape.setdefault(key, []).append((layer, name))
        return [self._kept(key, layers, dtype) for key, layers in by_shape.items()]

    def _kept(self, key: Any, layers: list[tuple[Linear, str]], dtype: torch.dtype) -> _Group:
        """Return a group; its frozen tensors are gathered again only if one of them was changed."""
        bases = [layer.base_layer for layer, _ in layers]
        frozen = [each for base in bases for each in (base.weight, base.bias) if each is not None]
        versions = [(id(each), each._version, each.device) for each in frozen]
        known = self._made.get(key)
        if known is None or known.versions != versions:
            with torch.no_grad():
                weights = torch.stack([base.weight for base in bases])
                biases = [None if base.bias is None else base.bias.to(dtype) for base in bases]
            known = _Group(key[3], layers, weights, biases, versions)
            self._made[key] = known
        return known


class _Sum(torch.autograd.Function):
    """W + scale B A of each layer in half precision, from its trained float32 factors A (rank, in) and B (out, rank)."""

    @staticmethod
    def forward(
        ctx: Any, dtype: torch.dtype, groups: list[tuple[Tensor, float]], *factors: Tensor
    ) -> tuple[Tensor, ...]:
        pairs, place = list[tuple[Tensor, Tensor]](), 0
        for weights, _ in groups:
            a, b = (factor.new_empty(len(weights), *factor.shape) for factor in factors[place : place + 2])
            pairs.append((a, b))
            place += 2 * len(weights)
        views = [each for a, b in pairs for pair in zip(a.unbind(), b.unbind(), strict=True) for each in pair]
        torch._foreach_copy_(views, list(factors))  # type: ignore[attr-defined]
        ctx.scales, ctx.shapes = [scale for _, scale in groups], [weights.shape for weights, _ in groups]
        ctx.save_for_backward(*(each for pair in pairs for each in pair))
        sums = list[Tensor]()
        kind = factors[0].device.type
        with torch.autocast(kind, enabled=False):
            for (weights, scale), (a, b) in zip(groups, pairs, strict=True):
                sums += torch.baddbmm(weights, b, a, alpha=scale).to(dtype).unbind()
        return tuple(sums)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        wholes = [gradients[0].new_empty(shape, dtype=torch.float32) for shape in ctx.shapes]
        torch._foreach_copy_([view for whole in wholes for view in whole.unbind()], list(gradients))  # type: ignore[attr-defined]
        of_factors = list[Tensor]()
        for whole, scale, a, b in zip(wholes, ctx.scales, saved[::2], saved[1::2], strict=True):
            # The first argument of a product with beta=0 is ignored; this saves a multiplication by the scale.
            of_a = torch.baddbmm(a, b.mT, whole, beta=0, alpha=scale).unbind()
            of_b = torch.baddbmm(b, whole, a.mT, beta=0, alpha=scale).unbind()
            of_factors += [each for pair in zip(of_a, of_b, strict=True) for each in pair]
        return None, None, *of_factors
