"""SAM 2 and 2.1 on single images: a Hiera encoder of three levels; transformers' ``Sam2Model``.

Paper: Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024 (arXiv 2408.00714).
Code: transformers (Hugging Face, Apache-2.0); official weights by Meta (Apache-2.0). What only videos need, the memory, is
left out. The library adds two "not a point" tokens to the empty prompt, and answers with the best of masks 1 to 3 where mask 0
is unstable (``single``); a tuned model always answers with mask 0, which is the one that was tuned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from samis.core.targets import AdapterTargets
from samis.sam.families.transformers_models import Attended, Size, TransformersFamily
from samis.sam.forward import SamOutput
from samis.sam.interface import Levels, state_of

_ATTENTION = (
    r"mask_decoder\.transformer\.(layers\.\d+\.(self_attn|cross_attn_token_to_image|cross_attn_image_to_token)"
    r"|final_attn_token_to_image)\.(q|k|v|o)_proj"
)
DECODER = {"attention": _ATTENTION, "mlp": r"mask_decoder\.transformer\.layers\.\d+\.mlp\.proj_(in|out)"}
"""Linear layers of the decoder, which SAM 3's tracker has too."""
MASK_0 = (
    "mask_decoder.transformer",
    "mask_decoder.upscale_conv1",
    "mask_decoder.upscale_conv2",
    "mask_decoder.upscale_layer_norm",
    "mask_decoder.output_hypernetworks_mlps.0",
    "mask_decoder.mask_tokens",
)
"""The decoder's path to mask 0 behind the embeddings; ``conv_s0`` and ``conv_s1`` make the embeddings and stay frozen."""
_BLOCK = r"vision_encoder\.backbone\.blocks\.\d+"
TARGETS = AdapterTargets(
    encoder={
        **{part: rf"{_BLOCK}\.attn\.qkv\.{part}" for part in "qkv"},
        "qkv": rf"{_BLOCK}\.attn\.qkv",
        "proj": rf"{_BLOCK}\.attn\.proj",
        "mlp": rf"{_BLOCK}\.mlp\.proj_(in|out)",
    },
    decoder=DECODER,
    encoder_whole={"stem": "vision_encoder.backbone.patch_embed", "neck": "vision_encoder.neck"},
    mask_0=MASK_0,
    encoder_root="vision_encoder",
    fused=rf"{_BLOCK}\.attn\.qkv",
)


def _vision(
    width: int, heads: int, blocks: list[int], everywhere: list[int], background: int, windows: list[int]
) -> dict[str, Any]:
    widths = [width << stage for stage in range(4)]
    return {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": width,
            "num_attention_heads": heads,
            "blocks_per_stage": blocks,
            "embed_dim_per_stage": widths,
            "num_attention_heads_per_stage": [heads << stage for stage in range(4)],
            "window_size_per_stage": windows,
            "global_attention_blocks": everywhere,
            "window_positional_embedding_background_size": [background, background],
        },
        "backbone_channel_list": widths[::-1],
    }


SIZES: dict[str, Size] = {
    "sam2": Size(),
    "sam2_tiny": Size(
        "facebook/sam2.1-hiera-tiny", _vision(96, 1, [1, 2, 7, 2], [5, 7, 9], 7, [8, 4, 14, 7]), million=39
    ),
    "sam2_small": Size(
        "facebook/sam2.1-hiera-small", _vision(96, 1, [1, 2, 11, 2], [7, 10, 13], 7, [8, 4, 14, 7]), million=46
    ),
    "sam2_base_plus": Size(
        "facebook/sam2.1-hiera-base-plus", _vision(112, 2, [2, 3, 16, 3], [12, 16, 20], 14, [8, 4, 14, 7]), million=81
    ),
    "sam2_large": Size(
        "facebook/sam2.1-hiera-large", _vision(144, 2, [2, 6, 36, 4], [23, 33, 43], 7, [8, 4, 16, 8]), million=224
    ),
}

_MLP = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}
_UPSCALING = {"0": "upscale_conv1", "1": "upscale_layer_norm", "3": "upscale_conv2"}
_DOWNSCALING = {"0": "conv1", "1": "layer_norm1", "3": "conv2", "4": "layer_norm2", "6": "conv3"}
_RENAMED: list[tuple[str, Any]] = [
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^sam_(prompt_encoder|mask_decoder)\.", r"\1."),
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (
        r"^(vision_encoder\.backbone\.blocks\.\d+|mask_decoder\.transformer\.layers\.\d+)\.norm(\d)\.",
        r"\1.layer_norm\2.",
    ),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (
        r"\.(output_hypernetworks_mlps\.\d|iou_prediction_head|pred_obj_score_head)\.layers\.(\d)\.",
        lambda m: f".{m[1]}.{_MLP[m[2]]}.",
    ),
    (r"\.output_upscaling\.(\d)\.", lambda m: f".{_UPSCALING[m[1]]}."),
    (r"\.mask_downscaling\.(\d)\.", lambda m: f".mask_embed.{_DOWNSCALING[m[1]]}."),
    (r"\.pe_layer\.positional_encoding_gaussian_matrix$", ".shared_embedding.positional_embedding"),
]
"""Names of the official files -> those of ``Sam2Model``, tried in order, each where it matches."""
_NEEDED = ("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.", "no_mem_embed")
_POINT = re.compile(r"sam_prompt_encoder\.point_embeddings\.(\d)\.weight")


class Sam2(TransformersFamily):
    """transformers' ``Sam2Model``."""

    name = "sam2"
    preprocessing = "sam2"
    targets = TARGETS
    class_name = "Sam2Model"
    config_name = "Sam2Config"
    model_types: tuple[str, ...] = ("sam2", "sam2_video")
    sizes = SIZES
    own_tokens = 1
    oldest = "4.56"

    def official_name(self, name: str) -> str | None:
        if not name.startswith(_NEEDED) or name.startswith("no_mem_pos"):
            return None
        for pattern, new in _RENAMED:
            name = re.sub(pattern, new, name)
        return name

    def from_official(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        points = {int(match[1]): state[name] for name in state if (match := _POINT.fullmatch(name))}
        named = super().from_official({name: each for name, each in state.items() if not _POINT.fullmatch(name)})
        if points:
            named["prompt_encoder.point_embed.weight"] = torch.cat([points[number] for number in sorted(points)])
        shared = named.get("prompt_encoder.shared_embedding.positional_embedding")
        return named if shared is None else named | {"shared_image_embedding.positional_embedding": shared}

    def is_official(self, names: set[str]) -> bool:
        return any(name.startswith("sam_mask_decoder.") for name in names)

    def blocks(self, model: Any) -> list[nn.Module]:
        return list(model.vision_encoder.backbone.blocks)

    def embedding_state(self, model: Any) -> Mapping[str, Tensor]:
        parts = {"vision_encoder": model.vision_encoder}
        parts |= {name: getattr(model.mask_decoder, name) for name in ("conv_s0", "conv_s1")}
        state = {f"{part}.{name}": each for part, of in parts.items() for name, each in state_of(of).items()}
        return state | {"no_memory_embedding": model.no_memory_embedding}

    def level_shapes(self, model: Any) -> list[tuple[int, int]]:
        width, sides = model.config.vision_config.fpn_hidden_size, model.backbone_feature_sizes
        return [(width // part, side[0]) for part, side in zip((8, 4, 1), sides, strict=True)]

    def encode_levels(self, model: Any, images: Tensor) -> list[Tensor]:
        result = list(model.vision_encoder(images).fpn_hidden_states)
        # The library adds it to the last level, even where that is one more than the decoder reads (SAM 3).
        result[-1] = result[-1] + model.no_memory_embedding.view(1, -1, 1, 1)
        decoder, (fine, middle, coarse) = model.mask_decoder, result[:3]
        return [decoder.conv_s0(fine), decoder.conv_s1(middle), coarse]

    def empty_prompt(self, model: Any, views: int) -> tuple[Tensor | None, Tensor | None]:
        weight = model.no_memory_embedding
        labels = torch.full((views, 1, 1), -1, dtype=torch.int32, device=weight.device)
        return weight.new_zeros(views, 1, 1, 2), labels

    def point_table(self, model: Any) -> Tensor:
        table: Tensor = model.prompt_encoder.point_embed.weight
        return table

    def tokens(self, decoder: Any) -> Tensor:
        return torch.cat([decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight])

    def draw(self, model: Any, seen: Levels, at: Attended, masks: int) -> Tensor:
        decoder, (fine, middle, _) = model.mask_decoder, seen.levels
        drawn = decoder.upscale_conv1(at.image) + middle[at.view]
        drawn = decoder.activation(decoder.upscale_layer_norm(drawn))
        drawn = decoder.activation(decoder.upscale_conv2(drawn) + fine[at.view])
        mlps = list(decoder.output_hypernetworks_mlps)[:masks]
        weights = torch.stack([mlp(at.tokens[:, 2 + i]) for i, mlp in enumerate(mlps)], 1)
        return torch.einsum("nmc,nchw->nmhw", weights, drawn)

    def single(self, model: Any, output: SamOutput) -> Tensor:
        """Return mask 0 where it is stable, else the best of masks 1 to 3 by predicted IoU, as the library does."""
        settings, logits = model.config.mask_decoder_config, output.logits
        if not settings.dynamic_multimask_via_stability:
            return logits[:, :, 0]
        delta = settings.dynamic_multimask_stability_delta
        inner, outer = (logits[:, :, 0] > delta).sum((-2, -1)), (logits[:, :, 0] > -delta).sum((-2, -1))
        stable = torch.where(outer > 0, inner / outer.clamp_min(1), 1.0) >= settings.dynamic_multimask_stability_thresh
        chosen = torch.where(stable, 0, 1 + output.iou[:, :, 1:].argmax(-1))
        return logits.take_along_dim(chosen[..., None, None, None], 2)[:, :, 0]

    def export_settings(self, model: Any) -> None:
        model.config.mask_decoder_config.dynamic_multimask_via_stability = False
        model.mask_decoder.dynamic_multimask_via_stability = False


FAMILY = Sam2()
