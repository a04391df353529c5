"""The SAM that a config's sections ``segmenter`` and ``frame`` name, and its segmenter before any tuning."""

from __future__ import annotations

import torch
from torch import nn

from samis.config import FrameConfig, PromptConfig, SegmenterConfig
from samis.sam.candidates import MaskGeneration
from samis.sam.encoder_options import checkpoint_blocks, compile_encoder
from samis.sam.families import family_named
from samis.sam.framing import build_framing
from samis.sam.interface import mark
from samis.sam.segmenter import SamSegmenter


def configured_sam(segmenter: SegmenterConfig, frame: FrameConfig) -> tuple[nn.Module, str | None]:
    """Load the SAM that a config names, at its frame, with the encoder's options; return it with the sha256 of its weights.

    Raises:
        UserError: as ``samis.sam.interface.Family.load``.
    """
    framing = build_framing(frame, segmenter.architecture, segmenter.weights)
    family = family_named(segmenter.architecture)
    sam, sha256 = family.load(segmenter.architecture, weights=segmenter.weights, frame_px=framing.frame_px)
    mark(sam, family)
    if segmenter.checkpoint_activations:
        checkpoint_blocks(family.blocks(sam))
    if segmenter.compile:
        compile_encoder(family.encoder(sam))
    return sam, sha256


def zero_shot(
    segmenter: SegmenterConfig, frame: FrameConfig, prompt: PromptConfig, *, device: torch.device
) -> SamSegmenter:
    """Build the segmenter of an untuned SAM; no parameter is trained, so that its embeddings can be cached."""
    sam, sha256 = configured_sam(segmenter, frame)
    sam.to(device).requires_grad_(False)
    rule = "single" if segmenter.mask_rule == "all" and prompt.kind != "grid" else segmenter.mask_rule
    return SamSegmenter(
        sam,
        prompt=prompt,
        mask_rule="top_iou" if rule == "all" else rule,
        mask_generation=MaskGeneration(min_iou=segmenter.min_iou, min_stability=segmenter.min_stability),
        architecture=segmenter.architecture,
        weights_sha256=sha256,
    )
