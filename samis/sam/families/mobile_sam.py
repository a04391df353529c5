"""MobileSAM: a small TinyViT encoder on SAM's own prompt encoder and mask decoder.

Paper: Zhang et al., Faster Segment Anything: Towards Lightweight SAM for Mobile Applications, 2023 (arXiv 2306.14289).
Code: segment_anything 1.0 (Meta, Apache-2.0) has all but the encoder, which is ``samis.sam.tiny_vit``; official weights by the
authors (Apache-2.0), one file of 40 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segment_anything.modeling import Sam
from torch import Tensor, nn

from samis.core.files import file_sha256
from samis.core.shipped import find_checkpoint
from samis.core.targets import STOCK, AdapterTargets
from samis.errors import UserError
from samis.sam.architectures import Architecture, build_modules
from samis.sam.families.sam import SegmentAnything
from samis.sam.tiny_vit import TinyVitEncoder
from samis.sam.weights import RANDOM, check_tensors, read_weights

_BLOCK = r"image_encoder\.layers\.\d+\.blocks\.\d+"
TARGETS = AdapterTargets(
    # Rows of its qkv are interleaved by head, so that q, k and v have no linear layer of their own.
    encoder={"qkv": rf"{_BLOCK}\.attn\.qkv", "proj": rf"{_BLOCK}\.attn\.proj", "mlp": rf"{_BLOCK}\.mlp\.fc[12]"},
    decoder=STOCK.decoder,
    encoder_whole={"stem": "image_encoder.patch_embed", "neck": "image_encoder.neck"},
    mask_0=STOCK.mask_0,
)
SIZES: dict[str, Mapping[str, Any]] = {"mobile_sam": {}}
"""Arguments of ``TinyVitEncoder`` that are not TinyViT-5M's."""
SIDE, PATCH = 1024, 16
URL = "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt"


class MobileSam(SegmentAnything):
    """segment_anything's ``Sam`` with a TinyViT encoder; decoding, prompts and frame are SAM's."""

    name = "mobile_sam"
    targets = TARGETS
    class_name = ""

    def names(self) -> list[str]:
        return list(SIZES)

    def frame_px(self, architecture: str, weights: str | Path | None) -> int:
        return SIDE

    def is_official(self, names: set[str]) -> bool:
        return any(name.startswith("image_encoder.layers.0.blocks.") for name in names)

    def build(self, architecture: str, frame_px: int | None) -> Sam:
        """Construct a MobileSAM with random weights."""
        side = frame_px or SIDE
        if side % PATCH:
            raise UserError(
                f"frame.frame_px: expected a multiple of {PATCH} for {architecture}, got {side}", code="E-SAM-FRAME"
            )
        sizes = Architecture(0, 0, 0, ())
        encoder: Any = TinyVitEncoder(side, sizes.prompt_dim, **SIZES[architecture])
        return build_modules(encoder, sizes, side)

    def load(
        self, architecture: str, *, weights: str | Path | None, frame_px: int | None
    ) -> tuple[nn.Module, str | None]:
        sam = self.build(architecture, frame_px)
        if weights == RANDOM:
            return sam, None
        path = find_checkpoint(f"{architecture}/mobile_sam.pt") if weights is None else _file(Path(weights))
        if not path.is_file():
            code = "E-SAM-NO-OFFICIAL" if weights is None else "E-SAM-NO-WEIGHTS"
            hint = (
                f"with a network run: curl -L --create-dirs -o {path} {URL}"
                if weights is None
                else "check segmenter.weights"
            )
            raise UserError(f"{path}: expected weights of {architecture}, got no such file; {hint}", code=code)
        state = read_weights(path)
        if not self.is_official(set(state)):
            from samis.sam.families import family_of_names

            result = family_of_names(set(state))
            like = f"this looks like {result}: set segmenter.architecture" if result else "name another file"
            raise UserError(
                f"{path}: expected weights of {architecture}, got others; {like}", code="E-SAM-OTHER-FAMILY"
            )
        check_tensors(state, sam.state_dict(), architecture=architecture, path=path)
        sam.load_state_dict(state, assign=True)
        return sam.eval(), file_sha256(path)

    def blocks(self, model: Any) -> list[nn.Module]:
        return [block for layer in model.image_encoder.layers for block in layer.blocks]

    def embedding_state(self, model: Any) -> Mapping[str, Tensor]:
        state = super().embedding_state(model)
        return {name: each for name, each in state.items() if not name.startswith(("head.", "norm_head."))}


def _file(path: Path) -> Path:
    return path / "model.safetensors" if path.is_dir() else path


FAMILY = MobileSam()
