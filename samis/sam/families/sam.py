"""Segment Anything by segment_anything's own modules: the official sizes and the embedded ``samis_lite``.

Paper: Kirillov et al., Segment Anything, ICCV 2023 (doi 10.1109/ICCV51070.2023.00371).
Code: segment_anything 1.0 (Meta, Apache-2.0); ``samis.sam.architectures`` has the sizes, ``samis.sam.forward`` the forward.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from samis.core.contracts import Prompt
from samis.core.targets import STOCK
from samis.sam import forward
from samis.sam.architectures import ARCHITECTURES
from samis.sam.interface import Family, state_of
from samis.sam.trunk import TrunkEmbed
from samis.sam.weights import load_hashed_sam


class SegmentAnything(Family):
    """``segment_anything.modeling.Sam``."""

    name = "sam"
    targets = STOCK
    class_name = "SamModel"

    def names(self) -> list[str]:
        return list(ARCHITECTURES)

    def frame_px(self, architecture: str, weights: str | Path | None) -> int:
        return ARCHITECTURES[architecture].frame_px

    def load(
        self, architecture: str, *, weights: str | Path | None, frame_px: int | None
    ) -> tuple[nn.Module, str | None]:
        return load_hashed_sam(architecture, weights=weights, frame_px=frame_px)

    def is_official(self, names: set[str]) -> bool:
        return any(name.startswith("image_encoder.blocks.") for name in names)

    def encoder(self, model: Any) -> nn.Module:
        return model.image_encoder

    def blocks(self, model: Any) -> list[nn.Module]:
        encoder = model.image_encoder
        trunk = [encoder.patch_embed] if isinstance(encoder.patch_embed, TrunkEmbed) else []
        return [*trunk, *encoder.blocks]

    def side(self, model: Any) -> int:
        side: int = model.image_encoder.img_size
        return side

    def mask_side(self, model: Any) -> int:
        return 4 * int(model.prompt_encoder.image_embedding_size[-1])

    def embedding_shape(self, model: Any) -> tuple[int, ...]:
        return model.prompt_encoder.embed_dim, *model.prompt_encoder.image_embedding_size

    def embedding_state(self, model: Any) -> Mapping[str, Tensor]:
        return state_of(model.image_encoder)

    def encode(self, model: Any, images: Tensor) -> Tensor:
        return forward.encode(model, images)

    def prepare(self, model: Any, embeddings: Tensor) -> forward.ImageTokens:
        return forward.image_tokens(model, embeddings)

    def decode(self, model: Any, seen: Any, prompt: Prompt) -> forward.SamOutput:
        return forward.decode(model, seen, prompt)

    def decode_single(self, model: Any, embeddings: Tensor, prompt: Prompt) -> Tensor:
        return forward.decode_single(model, embeddings, prompt)

    def decode_sure(self, model: Any, seen: Any, prompt: Prompt, min_iou: float) -> tuple[forward.SamOutput, Tensor]:
        return forward.decode_sure(model, seen, prompt, min_iou)


FAMILY = SegmentAnything()
