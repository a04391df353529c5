"""SAM 3's tracker on single images: points and boxes on a plain ViT of 1008 px; transformers' ``Sam3TrackerModel``.

Paper: Carion et al., SAM 3: Segment Anything with Concepts, 2025.
Code: transformers (Hugging Face, Apache-2.0). The official weights are under Meta's SAM License, which passes to whatever is
tuned from them and to publications: it is named when they are loaded, before an export, and in the card.
Its decoder is that of SAM 2.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from samis.core.targets import AdapterTargets
from samis.sam.families.sam2 import DECODER, MASK_0, Sam2
from samis.sam.families.transformers_models import Size
from samis.sam.interface import Licence

_LAYER = r"vision_encoder\.backbone\.layers\.\d+"
TARGETS = AdapterTargets(
    encoder={
        **{part: rf"{_LAYER}\.attention\.{part}_proj" for part in "qkv"},
        "qkv": rf"{_LAYER}\.attention\.[qkv]_proj",
        "proj": rf"{_LAYER}\.attention\.o_proj",
        "mlp": rf"{_LAYER}\.mlp\.fc[12]",
    },
    decoder=DECODER,
    encoder_whole={"stem": "vision_encoder.backbone.embeddings", "neck": "vision_encoder.neck"},
    mask_0=MASK_0,
    encoder_root="vision_encoder",
)
SIZES: dict[str, Size] = {"sam3_tracker": Size("facebook/sam3", million=460)}
LICENCE = Licence(
    name="SAM License (Meta)",
    spdx="other",
    url="https://huggingface.co/facebook/sam3/blob/main/LICENSE",
    notice=(
        "sam3_tracker: official weights of SAM 3 are under Meta's SAM License, not Apache-2.0; it passes to tuned models and "
        "asks publications to name SAM 3: https://huggingface.co/facebook/sam3/blob/main/LICENSE"
    ),
)


class Sam3Tracker(Sam2):
    """transformers' ``Sam3TrackerModel``."""

    name = "sam3_tracker"
    preprocessing = "sam3"
    targets = TARGETS
    licence = LICENCE
    class_name = "Sam3TrackerModel"
    config_name = "Sam3TrackerConfig"
    model_types = ("sam3_tracker", "sam3_video", "sam3_tracker_video")
    sizes = SIZES
    native_px = 1008
    oldest = "5.0"

    def official_name(self, name: str) -> str | None:
        return None

    def is_official(self, names: set[str]) -> bool:
        return False

    def blocks(self, model: Any) -> list[nn.Module]:
        return list(model.vision_encoder.backbone.layers)


FAMILY = Sam3Tracker()
