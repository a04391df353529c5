"""Weights are cast to half precision once a micro-batch, all in one call, not one by one at each use.

Autocast casts a weight at every use unless it is a leaf that needs a gradient, and even those one by one, each with a cast of
its gradient on the way back: more than half of the kernels that a step of a small SAM launched. Here linears and convolutions see
half-precision copies inside a block: frozen weights' copies are kept, trained weights' are made by one multi-tensor copy that
autograd knows. Autocast finds nothing left to cast. The values are those of autocast; outside the block, and on disk, every
weight is the same float32 parameter as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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

    Args:
        learner: a torch module. Its method ``half_modules``, if it has one, yields the modules that may be changed; else all.
        dtype: of the copies; None (float32 training) changes nothing.
    """

    def __init__(self, learner: nn.Module, dtype: torch.dtype | None) -> None:
        self.dtype, self._frozen = dtype, dict[int, tuple[int, Tensor]]()
        self._modules: Callable[[], Iterable[nn.Module]] = getattr(learner, "half_modules", learner.modules)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Let the modules see the copies inside the block: the forward and backward pass of one micro-batch."""
        if self.dtype is None:
            yield
            return
        frozen, trained = self._places()
        try:
            for owner, name, parameter in frozen:
                owner._parameters[name] = self._kept(parameter)  # type: ignore[assignment]
            for start in range(0, len(trained), GROUP):
                group = trained[start : start + GROUP]
                copies = _Cast.apply(self.dtype, *(parameter for _, _, parameter in group))  # type: ignore[no-untyped-call]
                for (owner, name, _), copy in zip(group, copies, strict=True):
                    owner._parameters[name] = copy
            yield
        finally:
            for owner, name, parameter in [*frozen, *trained]:
                owner._parameters[name] = parameter

    def _places(self) -> tuple[list[Any], list[Any]]:
        """Return (module, name, parameter) of the frozen and of the trained weights that autocast would cast."""
        frozen, trained = list[Any](), list[Any]()
        for owner in self._modules():
            if isinstance(owner, CAST):
                for name, parameter in owner._parameters.items():
                    if parameter is not None and parameter.dtype == torch.float32:
                        (trained if parameter.requires_grad else frozen).append((owner, name, parameter))
        return frozen, trained

    def _kept(self, parameter: Tensor) -> Tensor:
        """Return the copy of a frozen weight, made anew only if the weight was changed."""
        version, copy = self._frozen.get(id(parameter), (-1, parameter))
        if version != parameter._version or copy.device != parameter.device:
            copy = parameter.detach().to(self.dtype)
            self._frozen[id(parameter)] = parameter._version, copy
        return copy


class _Cast(torch.autograd.Function):
    """Cast float32 tensors to one half-precision dtype, and their gradients back, each by one multi-tensor copy."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        copies = [torch.empty_like(weight, dtype=dtype) for weight in weights]
        torch._foreach_copy_(copies, list(weights))  # type: ignore[attr-defined]
        return tuple(copies)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # Laid out as the parameter is, as autograd would; an unused weight's gradient is zero.
        whole = [torch.empty_like(gradient, dtype=torch.float32) for gradient in gradients]
        torch._foreach_copy_(whole, list(gradients))  # type: ignore[attr-defined]
        return None, *whole
