"""Writes a merged SAM as a folder for transformers' SamModel: its names, its config, its processor.

Code: transformers (Hugging Face, Apache-2.0) reads the folder; the table of names was made by comparing both models'.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samis.errors import UserError
from samis.export.merged import INSTALL, Probe, probabilities
from samis.sam.architectures import ARCHITECTURES, Architecture
from samis.sam.families.transformers_names import transformers_name


def _sections(a: Architecture, frame_px: int) -> dict[str, dict[str, Any]]:
    """Return the sections of transformers' SamConfig for an architecture."""
    grid = frame_px // a.patch_px
    return {
        "vision_config": {
            "hidden_size": a.embed_dim, "num_hidden_layers": a.depth, "num_attention_heads": a.num_heads,
            "image_size": frame_px, "patch_size": a.patch_px, "window_size": a.window, "mlp_dim": 4 * a.embed_dim,
            "global_attn_indexes": list(a.global_attention), "output_channels": a.prompt_dim,
            "num_pos_feats": a.prompt_dim // 2,
        },
        "prompt_encoder_config": {
            "hidden_size": a.prompt_dim, "image_size": frame_px, "patch_size": a.patch_px,
            "image_embedding_size": grid, "mask_input_channels": a.mask_in_channels,
        },
        "mask_decoder_config": {
            "hidden_size": a.prompt_dim, "mlp_dim": a.decoder_mlp_dim, "num_attention_heads": a.decoder_heads,
            "iou_head_hidden_dim": a.iou_hidden_dim,
        },
    }  # fmt: skip


def write_transformers(
    state: dict[str, Tensor], folder: Path, *, architecture: str, frame_px: int, probe: Probe
) -> float:
    """Write a folder for ``transformers.SamModel.from_pretrained``, with its processor; return the difference after reloading.

    Args:
        state: tensors of the merged Sam, by segment_anything's names.
        folder: where the files go.
        architecture: key of ``ARCHITECTURES``.
        frame_px: side of the frame.
        probe: with which the reloaded model is compared.

    Raises:
        UserError: transformers is missing, the architecture has no counterpart there, or the masks differ.
    """
    try:
        from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor
    except ImportError as error:
        raise UserError(
            f"transformers: the package {error.name} is missing; {INSTALL}", code="E-EXPORT-PACKAGE"
        ) from error
    a = ARCHITECTURES[architecture]
    if a.trunk:
        raise UserError(
            f"transformers: it has no encoder for {architecture}; leave this format out", code="E-EXPORT-ARCHITECTURE"
        )
    renamed = {transformers_name(name): tensor for name, tensor in state.items() if not name.startswith("pixel_")}
    renamed["prompt_encoder.shared_embedding.positional_embedding"] = renamed[
        "shared_image_embedding.positional_embedding"
    ]
    model: Any = SamModel(SamConfig(**_sections(a, frame_px)))
    model.load_state_dict(renamed)
    model.save_pretrained(folder)
    longest, padded = {"longest_edge": frame_px}, {"height": frame_px, "width": frame_px}
    small = {"longest_edge": frame_px // 4}, {"height": frame_px // 4, "width": frame_px // 4}
    SamProcessor(
        SamImageProcessor(size=longest, pad_size=padded, mask_size=small[0], mask_pad_size=small[1])
    ).save_pretrained(folder)
    read: Any = SamModel.from_pretrained(folder)
    read.eval()
    box, point = torch.from_numpy(probe.box_xyxy)[None, None], torch.from_numpy(probe.point_xy)[None, None, None]
    prompts = [{"input_boxes": box}, {"input_points": point, "input_labels": torch.ones(1, 1, 1, dtype=torch.int64)}]
    with torch.no_grad():
        embedding = read.get_image_embeddings(probe.framed())
        low = [
            read(image_embeddings=embedding, multimask_output=False, **prompt).pred_masks[0, 0, 0] for prompt in prompts
        ]
    return probe.check(probabilities(torch.stack(low).numpy()), "transformers")
