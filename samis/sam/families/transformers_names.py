"""segment_anything's names of tensors -> those of transformers' ``SamModel``; the table was made by comparing both models."""

from __future__ import annotations

import re
from typing import Any

_DOWNSCALING = {"0": "conv1", "1": "layer_norm1", "3": "conv2", "4": "layer_norm2", "6": "conv3"}
_UPSCALING = {"0": "upscale_conv1", "1": "upscale_layer_norm", "3": "upscale_conv2"}
_NECK = {"0": "conv1", "1": "layer_norm1", "2": "conv2", "3": "layer_norm2"}
_MLP = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}
_RENAMED: list[tuple[str, Any]] = [
    (r"^image_encoder\.", "vision_encoder."),
    (r"^vision_encoder\.patch_embed\.proj\.", "vision_encoder.patch_embed.projection."),
    (r"^vision_encoder\.blocks\.", "vision_encoder.layers."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"^vision_encoder\.neck\.(\d)\.", lambda m: f"vision_encoder.neck.{_NECK[m[1]]}."),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "shared_image_embedding.positional_embedding"),
    (r"^prompt_encoder\.point_embeddings\.", "prompt_encoder.point_embed."),
    (r"^prompt_encoder\.mask_downscaling\.(\d)\.", lambda m: f"prompt_encoder.mask_embed.{_DOWNSCALING[m[1]]}."),
    (r"^mask_decoder\.output_upscaling\.(\d)\.", lambda m: f"mask_decoder.{_UPSCALING[m[1]]}."),
    (r"(output_hypernetworks_mlps\.\d|iou_prediction_head)\.layers\.(\d)\.", lambda m: f"{m[1]}.{_MLP[m[2]]}."),
]
"""segment_anything's names -> those of transformers' SamModel, tried in order, each where it matches."""


def transformers_name(name: str) -> str:
    """Return what transformers calls one of segment_anything's tensors.

    >>> transformers_name("image_encoder.blocks.3.norm1.weight")
    'vision_encoder.layers.3.layer_norm1.weight'
    >>> transformers_name("mask_decoder.iou_prediction_head.layers.2.bias")
    'mask_decoder.iou_prediction_head.proj_out.bias'
    """
    for pattern, new in _RENAMED:
        name = re.sub(pattern, new, name)
    return name
