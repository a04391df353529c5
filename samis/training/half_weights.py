"""Weights are cast to half precision once a micro-batch, all in one call, not one by one at each use.

Autocast casts a weight at every use unless it is a leaf that needs a gradient, and even those one by one, each with a cast of
its gradient on the way back: more than half of the kernels that a step of a small SAM launched. Here linears and convolutions see
half-precision copies inside a block: frozen weights' copies are kept, trained weights' are made by one multi-tensor copy that
autograd knows. Autocast then has nothing to cast. The values are those of autocast; outside the block, and on disk, every
weight is its float32 parameter, unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

GROUP = 64
"""Trained weights cast by one call: the gradients of a group arrive together, and with several processes the groups that are
done are sent while the backward pass goes on."""
CAST = (nn.Linear, nn.modules.conv._ConvNd)
"""Modules whose weights and biases autocast would cast; norms and embeddings stay in float32."""


class HalfWeights:
    """Half-precision copies of a learner's weights for training under autocast.

    A convolution that has a ``frozen_norm`` (a batch norm that is a constant, ``samis.sam.trunk``) gets that norm's factors
    into the copy of its weight, and its shift as a bias; the norm, ``folded``, then does nothing.

    Args:
        learner: a torch module. Its method ``half_modules``, if it has one, yields the modules that may be changed; else all. Its
            method ``whole_weights(dtype)``, if it has one, is a block in which some layers use weights that it made itself; it
            yields the modules that are then not used, and are not changed.
        dtype: of the copies; None (float32 training) changes nothing.
    """

    def __init__(self, learner: nn.Module, dtype: torch.dtype | None) -> None:
        self.dtype = dtype
        self._made: dict[Any, tuple[tuple[Tensor, ...], list[int], Tensor]] = {}
        self._whole: Callable[[torch.dtype], AbstractContextManager[set[nn.Module]]] = getattr(
            learner, "whole_weights", lambda dtype: nullcontext(set())
        )
        self._modules: Callable[[], Iterable[nn.Module]] = getattr(learner, "half_modules", learner.modules)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Let the modules use the copies inside the block: the forward and backward pass of one micro-batch."""
        if self.dtype is None:
            yield
            return
        with self._whole(self.dtype) as unused, self._copied(unused):
            yield

    @contextmanager
    def _copied(self, unused: set[nn.Module]) -> Iterator[None]:
        """Let all modules but those `unused` use the copies inside the block."""
        frozen, trained = self._places(unused)
        normed = [(owner, norm) for owner, _, _ in [*frozen, *trained] if (norm := _norm_of(owner)) is not None]
        try:
            for owner, norm in normed:
                norm.folded = True
                owner._parameters["bias"] = self._shift(norm)  # type: ignore[assignment]
            for owner, name, parameter in frozen:
                owner._parameters[name] = self._frozen(owner, parameter)  # type: ignore[assignment]
            for start in range(0, len(trained), GROUP):
                group = trained[start : start + GROUP]
                factors = [self._factor(owner, parameter) for owner, _, parameter in group]
                copies = _Cast.apply(self.dtype, factors, *(parameter for _, _, parameter in group))  # type: ignore[no-untyped-call]
                for (owner, name, _), copy in zip(group, copies, strict=True):
                    owner._parameters[name] = copy
            yield
        finally:
            for owner, norm in normed:
                owner._parameters["bias"], norm.folded = None, False
            for owner, name, parameter in [*frozen, *trained]:
                owner._parameters[name] = parameter

    def _places(self, unused: set[nn.Module]) -> tuple[list[Any], list[Any]]:
        """Return (module, name, parameter) of the frozen and of the trained weights that autocast would cast."""
        frozen, trained = list[Any](), list[Any]()
        for owner in self._modules():
            if isinstance(owner, CAST) and owner not in unused:
                for name, parameter in owner._parameters.items():
                    if parameter is not None and parameter.dtype == torch.float32:
                        (trained if parameter.requires_grad else frozen).append((owner, name, parameter))
        return frozen, trained

    def _frozen(self, owner: nn.Module, parameter: Tensor) -> Tensor:
        """Return the copy of a frozen weight."""
        factor = self._factor(owner, parameter)
        if factor is None:
            return self._kept(lambda weight: weight.to(self.dtype, memory_format=_layout(weight)), parameter)
        return self._kept(
            lambda weight, by: (weight * by).to(self.dtype, memory_format=_layout(weight)), parameter, factor
        )

    def _factor(self, owner: nn.Module, weight: Tensor) -> Tensor | None:
        """Return what a weight is multiplied by, of its shape, float32; None without a norm to fold."""
        norm = _norm_of(owner)
        if norm is None:
            return None

        def spread(factor: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
            scale = factor * (variance + norm.eps).rsqrt()
            return scale.reshape(-1, *[1] * (weight.ndim - 1)).expand_as(weight).contiguous()

        return self._kept(spread, *_constants(norm))

    def _shift(self, norm: Any) -> Tensor:
        """Return what a norm adds, in half precision."""

        def shifted(factor: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
            return (shift - mean * factor * (variance + norm.eps).rsqrt()).to(self.dtype)

        return self._kept(shifted, *_constants(norm))

    def _kept(self, make: Callable[..., Tensor], *of: Tensor) -> Tensor:
        """Return what `make` gives for constants, computed again only if one of them was changed."""
        key = (make.__code__, *map(id, of))
        known = self._made.get(key)
        versions = [each._version for each in of]
        if known is None or known[1] != versions or known[2].device != of[0].device:
            known = of, versions, make(*(each.detach() for each in of))
            self._made[key] = known
        return known[2]


def _layout(weight: Tensor) -> torch.memory_format:
    """Return how a frozen weight's copy is laid out: as a GPU's convolution needs it, channels last as its input.

    Otherwise each call lays it out again, in the forward and in the backward pass. A trained weight's copy stays as it is: a
    multi-tensor copy takes one layout for both sides.
    """
    return torch.channels_last if weight.ndim == 4 and weight.is_cuda else torch.preserve_format


def _norm_of(owner: nn.Module) -> Any:
    """Return the constant norm that a convolution's weight may take in, or None."""
    return vars(owner).get("frozen_norm", (None,))[0]


def _constants(norm: Any) -> tuple[Tensor, ...]:
    return norm.weight, norm.bias, norm.running_mean, norm.running_var


class _Cast(torch.autograd.Function):
    """Cast float32 tensors to one half-precision dtype, and their gradients back, each by one multi-tensor copy.

    Before, those that have a factor (of their own shape) are multiplied by it.
    """

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, factors: list[Tensor | None], *weights: Tensor) -> tuple[Tensor, ...]:
        copies = [torch.empty_like(weight, dtype=dtype) for weight in weights]
        ctx.factors = {place: factor for place, factor in enumerate(factors) if factor is not None}
        values = list(weights)
        if ctx.factors:
            scaled = torch._foreach_mul([values[place] for place in ctx.factors], list(ctx.factors.values()))  # type: ignore[attr-defined]
            for place, value in zip(ctx.factors, scaled, strict=True):
                values[place] = value
        torch._foreach_copy_(copies, values)  # type: ignore[attr-defined]
        return tuple(copies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # Laid out as the parameter is, as autograd would; an unused weight's gradient is zero.
        whole = [torch.empty_like(gradient, dtype=torch.float32) for gradient in gradients]
        torch._foreach_copy_(whole, list(gradients))  # type: ignore[attr-defined]
        if ctx.factors:
            torch._foreach_mul_([whole[place] for place in ctx.factors], list(ctx.factors.values()))  # type: ignore[attr-defined]
        return None, None, *whole
