"""Random models of every family with 0.1 to 0.4 million parameters, as files and folders that users have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from samis.config import PromptConfig
from samis.core.contracts import Batch, Sample
from samis.core.geometry import Framing, frame_image, frame_mask, view_key
from samis.data.pipeline.loading import FramedSample, collate
from samis.prompts import build_prompter
from samis.sam.architectures import build_sam
from samis.sam.families import FAMILIES, mobile_sam
from samis.sam.interface import mark

DECODER = {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
PROMPTS = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 8}
LEVELS = [[16, 16], [8, 8], [4, 4]]
NAMES = {"sam": "tiny", "mobile_sam": "tiny_mobile", "sam_hq": "sam_hq", "sam2": "sam2", "sam3_tracker": "sam3_tracker"}
"""``segmenter.architecture`` of each tiny model."""
OF_TRANSFORMERS = ("sam_hq", "sam2", "sam3_tracker")


def library(family: str) -> Any:
    """Return transformers, or skip the test where it is missing or older than the family."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, FAMILIES[family].class_name):
        pytest.skip(f"transformers {transformers.__version__} has no {FAMILIES[family].class_name}")
    return transformers


def configuration(family: str) -> Any:
    """Return a tiny configuration of one of transformers' families."""
    transformers = library(family)
    if family == "sam_hq":
        vision: dict[str, Any] = {
            "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 64, "patch_size": 16,
            "window_size": 3, "global_attn_indexes": [1, 2], "output_channels": 32, "num_pos_feats": 16, "mlp_dim": 64,
            "initializer_range": 0.02,
        }  # fmt: skip
        return transformers.SamHQConfig(
            vision_config=vision, prompt_encoder_config=PROMPTS, mask_decoder_config=DECODER | {"vit_dim": 32}
        )
    if family == "sam2":
        backbone = {
            "model_type": "sam2_hiera_det_model", "hidden_size": 8, "num_attention_heads": 1, "image_size": [64, 64],
            "blocks_per_stage": [1, 1, 2, 1], "embed_dim_per_stage": [8, 16, 32, 64],
            "num_attention_heads_per_stage": [1, 1, 2, 2], "window_size_per_stage": [4, 4, 2, 2],
            "global_attention_blocks": [3], "window_positional_embedding_background_size": [4, 4],
        }  # fmt: skip
        vision = {
            "backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8], "backbone_feature_sizes": LEVELS,
            "fpn_hidden_size": 32,
        }  # fmt: skip
        return transformers.Sam2Config(vision_config=vision, prompt_encoder_config=PROMPTS, mask_decoder_config=DECODER)
    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 56, "patch_size": 14, "window_size": 2, "global_attn_indexes": [1],
        "pretrain_image_size": 28,
    }  # fmt: skip
    vision = {
        "model_type": "sam3_vision_model", "backbone_config": backbone, "fpn_hidden_size": 32,
        "backbone_feature_sizes": LEVELS, "scale_factors": [4.0, 2.0, 1.0, 0.5],
    }  # fmt: skip
    return transformers.Sam3TrackerConfig(
        vision_config=vision, prompt_encoder_config=PROMPTS | {"image_size": 56, "patch_size": 14},
        mask_decoder_config=DECODER,
    )  # fmt: skip


def spread(model: nn.Module) -> None:
    """Draw every matrix so that signals keep their size; libraries start many at zero, or so small that masks would be flat."""
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
    for name, parameter in model.named_parameters():
        if "hypernetworks" in name and name.endswith(("layers.2.weight", "proj_out.weight")):
            parameter.data *= 0.2


def build(family: str) -> nn.Module:
    """Return a tiny random model of a family, in evaluation mode."""
    torch.manual_seed(0)
    if family == "sam":
        model: nn.Module = build_sam(NAMES["sam"])
    elif family == "mobile_sam":
        model = mobile_sam.FAMILY.build(NAMES["mobile_sam"], 64)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
    else:
        model = getattr(library(family), FAMILIES[family].class_name)(configuration(family))
    spread(model)
    mark(model, FAMILIES[family])
    return model.eval()


def sample(hw: tuple[int, int] = (48, 80), seed: int = 0) -> Sample:
    """Return an image of noise with two defects."""
    rng = np.random.default_rng(seed)
    image, mask = rng.integers(0, 256, (*hw, 3), dtype=np.uint8), np.zeros(hw, dtype=bool)
    mask[5:15, 8:20] = mask[30:36, 20:24] = True
    image[mask] //= 4
    return Sample(f"s{seed}", image, mask)


def batch_of(family: str, *samples: Sample, kind: str = "empty") -> Batch:
    """Return a batch as the loader makes it."""
    side = 56 if family == "sam3_tracker" else 64
    framing = Framing(side, preprocessing=FAMILIES[family].preprocessing)
    prompter = build_prompter(PromptConfig(kind=kind, points_per_side=4))
    framed = []
    for each in samples:
        placements = framing.placements(each.image.shape[:2])
        images = torch.stack([frame_image(each.image, p) for p in placements])
        masks = torch.stack([frame_mask(each.mask, p) for p in placements])
        keys = torch.stack([view_key(each.image, p) for p in placements])
        prompt = prompter(each, placements, np.random.default_rng(0))
        framed.append(FramedSample(each.id, "defect", images, placements, prompt, masks, each.mask, keys=keys))
    return collate(framed)
