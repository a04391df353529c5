"""SAM's forward, differentiable and for any batch: V views, P prompts each, all four masks and their predicted IoU.

Differs from segment_anything's own ``Sam.forward``: that one runs under ``no_grad`` and one image at a time, and its mask
decoder refuses several images that each carry prompts. The numbers are the same (tests/reference/test_sam_forward.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from torch import Tensor

from samis.contracts import Prompt


@dataclass
class SamOutput:
    """What SAM answers.

    Attributes:
        logits: (V, P, 4, h, w) float32 at the decoder's own grid (a quarter of a token): mask 0 is the single answer,
            masks 1 to 3 the alternatives for an ambiguous prompt.
        iou: (V, P, 4) float32, the IoU that SAM itself predicts for each mask.
    """

    logits: Tensor
    iou: Tensor


def encode(sam: Sam, images: Tensor) -> Tensor:
    """Return (V, C, g, g) embeddings of (V, 3, S, S) framed images."""
    embeddings: Tensor = sam.image_encoder(images)
    return embeddings


def embed_prompts(sam: Sam, prompt: Prompt, views: int) -> tuple[Tensor, Tensor]:
    """Return sparse (V * P, N, C) and dense (V * P, C, g, g) prompt embeddings, by SAM's own prompt encoder."""
    points = boxes = None
    if prompt.points_xy is not None and prompt.point_labels is not None:
        points = (prompt.points_xy.flatten(0, 1), prompt.point_labels.flatten(0, 1))
    if prompt.boxes_xyxy is not None:
        boxes = prompt.boxes_xyxy.flatten(0, 1)
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=None)
    if points is None and boxes is None:
        sparse = sparse.expand(views, -1, -1)
        dense = dense.expand(views, -1, -1, -1)
    return sparse, dense


def decode(sam: Sam, embeddings: Tensor, prompt: Prompt) -> SamOutput:
    """Answer P prompts for each of V embedded views.

    Args:
        sam: the model; gradients flow wherever its parameters ask for them.
        embeddings: (V, C, g, g) from ``encode``.
        prompt: with V views; neither points nor boxes means SAM's empty prompt.
    """
    views = embeddings.shape[0]
    asked = prompt.prompts_per_view
    decoder = sam.mask_decoder
    sparse, dense = embed_prompts(sam, prompt, views)
    if sparse.shape[0] != views * asked:
        raise ValueError(f"prompt: expected {views} views x {asked} prompts, got {sparse.shape[0]} in all")

    out_tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([out_tokens.expand(sparse.shape[0], -1, -1), sparse], dim=1)
    source = embeddings[:, None] + dense.reshape(views, asked, *dense.shape[1:])
    # A new batch axis is only needed from here on: each prompt rewrites its own copy of the image tokens.
    source = source.flatten(0, 1)
    positions = sam.prompt_encoder.get_dense_pe().expand(source.shape[0], -1, -1, -1)

    answered, source_out = decoder.transformer(source, positions, tokens)
    count = decoder.num_mask_tokens
    iou = decoder.iou_prediction_head(answered[:, 0])
    upscaled = decoder.output_upscaling(source_out.transpose(1, 2).reshape(source.shape))
    hyper = torch.stack([mlp(answered[:, 1 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)], dim=1)
    logits = torch.einsum("bmc,bchw->bmhw", hyper, upscaled)
    shape = (views, asked, count)
    return SamOutput(logits.float().reshape(*shape, *logits.shape[-2:]), iou.float().reshape(shape))


def answer(sam: Sam, images: Tensor, prompt: Prompt) -> SamOutput:
    """Encode (V, 3, S, S) framed images and answer their prompts."""
    return decode(sam, encode(sam, images), prompt)
