"""A tuned SAM that answers one fixed prompt, in segment_anything's own modules: those trace for any number of images.

Code: segment_anything 1.0 (Meta, Apache-2.0), ``MaskDecoder.predict_masks``.
Differs: each image has its own embedding and the same prompt, where the original repeats one image for many prompts; mask 0
alone is drawn, the one that was tuned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

PROMPTS = ("empty", "whole")
"""Kinds of prompts that an exported file makes itself; others need a person, or a grid's many masks."""


class SamLogits(nn.Module):
    """Mask 0 of a tuned SAM for the empty prompt, or for the box around the photo.

    Args:
        sam: the model, merged or with its adapter.
        prompt: one of ``PROMPTS``.
    """

    def __init__(self, sam: nn.Module, prompt: str = "empty") -> None:
        super().__init__()
        self.sam, self.boxed = sam, prompt == "whole"

    def forward(self, images: Tensor, shown: Tensor) -> Tensor:
        """Answer framed images.

        Args:
            images: (N, 3, S, S) float32, normalised.
            shown: (2,) float32, rows and columns of the frame that show the photo.

        Returns:
            (N, 1, h, w) logits.
        """
        sam: Any = self.sam
        encoder, decoder = sam.prompt_encoder, sam.mask_decoder
        source = sam.image_encoder(images)
        views = source[:, :1, :1, :1] * 0  # (N, 1, 1, 1): expands to the batch, whatever its size
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        if self.boxed:
            corners = torch.cat([torch.zeros(2), shown.flip(0)])
            own = torch.cat([own, encoder._embed_boxes(corners[None])[0]])
        tokens = own[None] + views[..., 0]
        source = source + encoder.no_mask_embed.weight[:, :, None, None]
        tokens, places = decoder.transformer(source, encoder.get_dense_pe(), tokens)
        side = encoder.image_embedding_size[0]
        fine = decoder.output_upscaling(places.transpose(1, 2).unflatten(2, (side, side)))
        hyper = decoder.output_hypernetworks_mlps[0](tokens[:, 1])
        return (hyper[:, :, None, None] * fine).sum(1, keepdim=True)


@contextmanager
def stock_forwards(sam: nn.Module) -> Iterator[None]:
    """Let the modules of segment_anything compute as they were written: samis' faster forms cannot be traced.

    Args:
        sam: changed inside the block, and as before after it.
    """
    held = [(module, vars(module).pop("forward")) for module in sam.modules() if _is_replaced(module)]
    try:
        yield
    finally:
        for module, forward in held:
            module.forward = forward


def _is_replaced(module: nn.Module) -> bool:
    forward: Any = vars(module).get("forward")
    home = getattr(getattr(forward, "__func__", None), "__module__", "")
    return home in ("samis.sam.attention", "samis.sam.two_way")
