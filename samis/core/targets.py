"""Where adapters reach into a SAM: names of modules by family, as anchored expressions.

Each family of ``samis.sam.families`` has such a table in its file, and ``samis.adapters`` reads it: neither package imports the
other. The words are the same for all families, so that a config moves from one to another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AdapterTargets:
    """Modules of one family's model that adapters may reach; expressions match whole names, from the model on.

    Attributes:
        encoder: word of ``adapter.encoder`` -> expression of the image encoder's linear layers.
        decoder: word of ``adapter.decoder`` -> expression of the mask decoder's linear layers.
        encoder_whole: word of ``adapter.encoder`` -> module of the encoder trained whole in addition to the low-rank layers.
        mask_0: the decoder's modules that mask 0 is made of and that ``adapter.decoder: [full]`` trains whole.
        mask_tokens: module of the (4, C) mask tokens, of which only row 0 is trained.
        tokens_whole: whether their rows 1 to 3 are trained too (``adapter.all_masks``).
        encoder_root: name of the image encoder.
        fused: expression of linear layers (C -> 3 C) whose rows are those of q, then of k, then of v; they are split where
            q, k or v is adapted by itself. Empty where there is none, or where they are interleaved by head.
        bottleneck: whether a bottleneck can be put behind attention and MLP (both return one tensor, under SAM's names).
    """

    encoder: Mapping[str, str]
    decoder: Mapping[str, str]
    encoder_whole: Mapping[str, str] = field(default_factory=dict)
    mask_0: tuple[str, ...] = ()
    mask_tokens: str = "mask_decoder.mask_tokens"
    tokens_whole: bool = False
    encoder_root: str = "image_encoder"
    fused: str = ""
    bottleneck: bool = False

    @property
    def splits(self) -> frozenset[str]:
        """Words of ``adapter.encoder`` that need the fused layers split first."""
        return frozenset("qkv") if self.fused else frozenset()


ENCODER: dict[str, str] = {
    "q": r"image_encoder\.blocks\.\d+\.attn\.qkv\.q",
    "k": r"image_encoder\.blocks\.\d+\.attn\.qkv\.k",
    "v": r"image_encoder\.blocks\.\d+\.attn\.qkv\.v",
    "qkv": r"image_encoder\.blocks\.\d+\.attn\.qkv",
    "proj": r"image_encoder\.blocks\.\d+\.attn\.proj",
    "mlp": r"image_encoder\.blocks\.\d+\.mlp\.lin[12]",
}
"""Linear layers of the image encoder, by the word used in ``adapter.encoder``; q, k and v exist after ``split_qkv``."""
ENCODER_WHOLE: dict[str, str] = {"stem": "image_encoder.patch_embed", "neck": "image_encoder.neck"}
"""Parts of the image encoder that are trained whole in addition to the low-rank layers, by the word used in ``adapter.encoder``.

Their convolutions meet another kind of picture first and last: on the embedded SAM, tuned for two epochs on steel, encoder
attention and MLP alone learnt far less than with them (``configs/adapt/steel_lora.yaml``)."""
DECODER: dict[str, str] = {
    "attention": (
        r"mask_decoder\.transformer\.(layers\.\d+\.(self_attn|cross_attn_token_to_image|cross_attn_image_to_token)"
        r"|final_attn_token_to_image)\.(q|k|v|out)_proj"
    ),
    "mlp": r"mask_decoder\.transformer\.layers\.\d+\.mlp\.lin[12]",
}
"""Linear layers of the mask decoder, by the word used in ``adapter.decoder``."""
MASK_0_PATH = (
    "mask_decoder.transformer",
    "mask_decoder.output_upscaling",
    "mask_decoder.output_hypernetworks_mlps.0",
    "mask_decoder.mask_tokens",
)
"""The decoder's modules that mask 0 is made of and that may be trained whole; of ``mask_tokens`` only row 0 ever is."""
STOCK = AdapterTargets(
    ENCODER,
    DECODER,
    ENCODER_WHOLE,
    MASK_0_PATH,
    fused=r"image_encoder\.blocks\.\d+\.attn\.qkv",
    bottleneck=True,
)
"""The targets of segment_anything's own Sam."""
