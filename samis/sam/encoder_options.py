"""Two options of the image encoder: activations computed again instead of kept, and torch.compile where it works.

Paper: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016 (arXiv 1604.06174).
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_blocks(blocks: Iterable[nn.Module]) -> None:
    """Keep only each block's input for the backward pass, which computes the rest again; same numbers.

    Args:
        blocks: of the encoder, as ``samis.sam.interface.Family.blocks`` lists them; changed in place.
    """
    for block in blocks:
        block.forward = types.MethodType(_checkpointed, block)


def compile_encoder(encoder: nn.Module, *, compiler: Callable[..., Any] = torch.compile) -> None:
    """Compile the encoder's forward; where a call fails, a line says why and all calls go on without the compiler.

    Args:
        encoder: changed in place; parameters and names stay.
        compiler: ``torch.compile``, or its replacement in a test.
    """
    plain = type(encoder).forward
    made: list[Any] = []
    failed: list[str] = []

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not failed:
            try:
                # Each batch size gets kernels of its own; a run has few.
                made.extend([] if made else [compiler(plain, dynamic=False)])
                return made[0](self, *args, **kwargs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # compilers fail in many ways; the model's own fault fails below once more
                reason = (str(error).strip().splitlines() or [""])[0][:200]
                message = f"going on without torch.compile, since {type(error).__name__}: {reason}"
                failed.append(message)
                print(f"segmenter.compile: {message}", file=sys.stderr)
        return plain(self, *args, **kwargs)

    encoder.forward = types.MethodType(forward, encoder)


def _checkpointed(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return type(self).forward(self, *args, **kwargs)
    return checkpoint(type(self).forward, self, *args, use_reentrant=False, **kwargs)
