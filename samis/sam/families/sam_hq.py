"""SAM-HQ: SAM with a high-quality token that sees early features of the encoder; transformers' ``SamHQModel``.

Paper: Ke et al., Segment Anything in High Quality, NeurIPS 2023 (arXiv 2306.01567).
Code: transformers (Hugging Face, Apache-2.0); official weights by the authors (Apache-2.0).
Every mask is the sum of SAM's own and of the high-quality one, as the library and the authors have it by default.
Differs: transformers up to 5.24 computes masks from the image embedding before the two-way transformer, rows and columns
exchanged (it drops the transformer's second output). Here, as in the authors' code, they come from the one after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from samis.core.targets import AdapterTargets
from samis.sam.families.transformers_models import Attended, Size, TransformersFamily
from samis.sam.families.transformers_names import transformers_name
from samis.sam.interface import Levels, state_of

_ATTENTION = (
    r"mask_decoder\.transformer\.(layers\.\d+\.(self_attn|cross_attn_token_to_image|cross_attn_image_to_token)"
    r"|final_attn_token_to_image)\.(q|k|v|out)_proj"
)
_LAYER = r"vision_encoder\.layers\.\d+"
TARGETS = AdapterTargets(
    encoder={
        **{part: rf"{_LAYER}\.attn\.qkv\.{part}" for part in "qkv"},
        "qkv": rf"{_LAYER}\.attn\.qkv",
        "proj": rf"{_LAYER}\.attn\.proj",
        "mlp": rf"{_LAYER}\.mlp\.lin[12]",
    },
    decoder={"attention": _ATTENTION, "mlp": r"mask_decoder\.transformer\.layers\.\d+\.mlp\.lin[12]"},
    encoder_whole={"stem": "vision_encoder.patch_embed", "neck": "vision_encoder.neck"},
    mask_0=(
        "mask_decoder.transformer",
        *(f"mask_decoder.{name}" for name in ("upscale_conv1", "upscale_conv2", "upscale_layer_norm")),
        "mask_decoder.output_hypernetworks_mlps.0",
        "mask_decoder.mask_tokens",
        *(f"mask_decoder.{name}" for name in ("hq_token", "hq_mask_mlp", "mask_conv1", "mask_norm", "mask_conv2")),
        *(f"mask_decoder.{name}" for name in ("compress_vit_conv1", "compress_vit_norm", "compress_vit_conv2")),
        *(f"mask_decoder.{name}" for name in ("encoder_conv1", "encoder_norm", "encoder_conv2")),
    ),
    encoder_root="vision_encoder",
    fused=rf"{_LAYER}\.attn\.qkv",
)

SIZES: dict[str, Size] = {
    "sam_hq": Size(),
    "sam_hq_vit_b": Size("syscv-community/sam-hq-vit-base", million=95),
    "sam_hq_vit_l": Size(
        "syscv-community/sam-hq-vit-large",
        {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "global_attn_indexes": [5, 11, 17, 23],
        },
        {"vit_dim": 1024},
        million=314,
    ),
    "sam_hq_vit_h": Size(
        "syscv-community/sam-hq-vit-huge",
        {
            "hidden_size": 1280,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "global_attn_indexes": [7, 15, 23, 31],
        },
        {"vit_dim": 1280},
        million=643,
    ),
}

_PARTS = {
    "compress_vit_feat": "compress_vit",
    "embedding_encoder": "encoder",
    "embedding_maskfeature": "mask",
}
_LAYERS = {"0": "conv1", "1": "norm", "3": "conv2"}
_MLP = {"0": "proj_in", "1": "layers.0", "2": "proj_out"}


class SamHq(TransformersFamily):
    """transformers' ``SamHQModel``; its two levels are the first global block's tokens and the neck's embedding."""

    name = "sam_hq"
    preprocessing = "sam"
    targets = TARGETS
    class_name = "SamHQModel"
    config_name = "SamHQConfig"
    model_types = ("sam_hq",)
    sizes = SIZES
    oldest = "4.52"

    def official_name(self, name: str) -> str | None:
        if name.startswith("pixel_"):
            return None
        name = name.replace(".hf_token.", ".hq_token.")
        name = re.sub(r"\.hf_mlp\.layers\.(\d)\.", lambda m: f".hq_mask_mlp.{_MLP[m[1]]}.", name)
        name = re.sub(rf"\.({'|'.join(_PARTS)})\.(\d)\.", lambda m: f".{_PARTS[m[1]]}_{_LAYERS[m[2]]}.", name)
        return transformers_name(name)

    def from_official(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        named = super().from_official(state)
        positions = named.get("shared_image_embedding.positional_embedding")
        return (
            named if positions is None else named | {"prompt_encoder.shared_embedding.positional_embedding": positions}
        )

    def is_official(self, names: set[str]) -> bool:
        return "mask_decoder.hf_token.weight" in names

    def blocks(self, model: Any) -> list[nn.Module]:
        return list(model.vision_encoder.layers)

    def embedding_state(self, model: Any) -> Mapping[str, Tensor]:
        return state_of(model.vision_encoder)

    def level_shapes(self, model: Any) -> list[tuple[int, int]]:
        vision = model.config.vision_config
        side = vision.image_size // vision.patch_size
        return [(vision.hidden_size, side), (vision.output_channels, side)]

    def encode_levels(self, model: Any, images: Tensor) -> list[Tensor]:
        seen = model.vision_encoder(images)
        return [seen.intermediate_embeddings[0].permute(0, 3, 1, 2), seen.last_hidden_state]

    def prepare(self, model: Any, embeddings: Tensor) -> Levels:
        """Return the high-quality features (V, C / 8, 4 g, 4 g) and the embedding (V, C, g, g)."""
        decoder, (early, image) = model.mask_decoder, self.levels(model, embeddings)
        early = decoder.activation(decoder.compress_vit_norm(decoder.compress_vit_conv1(early)))
        late = decoder.activation(decoder.encoder_norm(decoder.encoder_conv1(image)))
        features = decoder.encoder_conv2(late) + decoder.compress_vit_conv2(early)
        return Levels([features, image], 4 * max(features[0].numel(), image[0].numel()))

    def point_table(self, model: Any) -> Tensor:
        return torch.cat([each.weight for each in model.prompt_encoder.point_embed])

    def tokens(self, decoder: Any) -> Tensor:
        return torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, decoder.hq_token.weight])

    def draw(self, model: Any, seen: Levels, at: Attended, masks: int) -> Tensor:
        decoder = model.mask_decoder
        fine = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(at.image)))
        fine = decoder.activation(decoder.upscale_conv2(fine))
        sharp = decoder.mask_conv2(decoder.activation(decoder.mask_norm(decoder.mask_conv1(fine))))
        sharp = sharp + seen.levels[0][at.view]
        mlps = list(decoder.output_hypernetworks_mlps)[:masks]
        weights = torch.stack([mlp(at.tokens[:, 1 + i]) for i, mlp in enumerate(mlps)], 1)
        own = torch.einsum("nmc,nchw->nmhw", weights, fine)
        high = torch.einsum("nc,nchw->nhw", decoder.hq_mask_mlp(at.tokens[:, 5]), sharp)
        return own + high[:, None]


FAMILY = SamHq()
