"""Two options of the image encoder: activations computed again instead of kept, and torch.compile where it works.

Paper: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016 (arXiv 1604.06174).
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from samis.sam.trunk import TrunkEmbed


def checkpoint_blocks(encoder: nn.Module) -> None:
    """Keep only each block's (and the trunk's) input for the backward pass, which computes the rest again; same numbers."""
    trunk = [encoder.patch_embed] if isinstance(encoder.patch_embed, TrunkEmbed) else []
    for block in (*trunk, *encoder.blocks):  # type: ignore[misc, operator]
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

    def forward(self: nn.Module, images: Tensor) -> Tensor:
        if not failed:
            try:
                # Each batch size gets kernels of its own; a run has few.
                made.extend([] if made else [compiler(plain, dynamic=False)])
                compiled: Tensor = made[0](self, images)
                return compiled
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # compilers fail in many ways; the model's own fault fails below once more
                reason = (str(error).strip().splitlines() or [""])[0][:200]
                message = f"going on without torch.compile, since {type(error).__name__}: {reason}"
                failed.append(message)
                print(f"segmenter.compile: {message}", file=sys.stderr)
        return plain(self, images)

    encoder.forward = types.MethodType(forward, encoder)


def _checkpointed(self: nn.Module, x: Tensor) -> Tensor:
    if not torch.is_grad_enabled():
        return type(self).forward(self, x)
    output: Tensor = checkpoint(type(self).forward, self, x, use_reentrant=False)
    return output
