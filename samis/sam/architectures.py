"""SAM's architectures by name: the three official ones and ``samis_lite``, all made of segment_anything's own modules.

Paper: Kirillov et al., Segment Anything, ICCV 2023 (doi 10.1109/ICCV51070.2023.00371), appendix A.
Code: segment_anything 1.0 (Meta, Apache-2.0) provides every module but the trunk, which is timm's (``samis.sam.trunk``).
Differs: ``samis_lite`` reads the image through a convolutional trunk with ImageNet weights instead of one large patch, since
a small network without it has to learn edges and textures from its few training images; all after the trunk, and every
module's name, is SAM's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from samis.core.preprocessing import PIXEL_MEAN, PIXEL_STD
from samis.errors import UserError, did_you_mean
from samis.sam.trunk import TrunkEmbed


@dataclass(frozen=True)
class Architecture:
    """Sizes of one SAM.

    Attributes:
        embed_dim: channels of the image encoder's blocks.
        depth: number of blocks.
        num_heads: of a block's attention.
        global_attention: indices of the blocks that attend to the whole frame; the others attend within windows.
        window: side of a window, tokens.
        frame_px: native side of the frame.
        patch_px: side of a token.
        prompt_dim: width of the embedding, the prompts and the decoder.
        mask_in_channels: hidden channels of the prompt encoder's mask input.
        decoder_mlp_dim: hidden width of the decoder's MLPs.
        decoder_heads: of the decoder's attention.
        iou_hidden_dim: hidden width of the IoU head.
        trunk: timm's name of the convolutional trunk; empty for SAM's one-convolution patches.
    """

    embed_dim: int
    depth: int
    num_heads: int
    global_attention: tuple[int, ...]
    window: int = 14
    frame_px: int = 1024
    patch_px: int = 16
    prompt_dim: int = 256
    mask_in_channels: int = 16
    decoder_mlp_dim: int = 2048
    decoder_heads: int = 8
    iou_hidden_dim: int = 256
    trunk: str = ""


EMBEDDED = "samis_lite"
"""The architecture whose weights come with the project."""
ARCHITECTURES: dict[str, Architecture] = {
    "vit_b": Architecture(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": Architecture(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": Architecture(1280, 32, 16, (7, 15, 23, 31)),
    "samis_lite": Architecture(
        192, 8, 3, (1, 3, 5, 7), window=8, frame_px=256, prompt_dim=128, decoder_mlp_dim=512, decoder_heads=4,
        iou_hidden_dim=128, trunk="tf_efficientnet_lite0",
    ),
}  # fmt: skip


REMOVED = {"samis_tiny": (192, 8), "samis_small": (384, 12)}
"""Architectures that this project had until commit 31d036d: width and depth, behind a stem of plain convolutions."""


def check_architecture(name: str, *, key: str = "architecture") -> None:
    """Refuse a name that is not in ``ARCHITECTURES``.

    Args:
        name: of an architecture.
        key: of the config, for the message.

    Raises:
        UserError: names the key, the known names, and the replacement of an architecture that was removed.
    """
    if name in ARCHITECTURES:
        return
    if name in REMOVED:
        raise UserError(
            f"{key}: {name} was removed; take {EMBEDDED} and tune again, or use commit 31d036d for it",
            code="E-SAM-REMOVED",
        )
    raise UserError(
        f"{key}: expected one of {', '.join(ARCHITECTURES)}, got '{name}'{did_you_mean(str(name), ARCHITECTURES)}",
        code="E-SAM-ARCHITECTURE",
    )


def build_sam(name: str, *, frame_px: int | None = None) -> Sam:
    """Construct a SAM with random weights, in evaluation mode.

    Args:
        name: key in ``ARCHITECTURES``.
        frame_px: side of the frame; None takes the architecture's own.

    Raises:
        KeyError: no such architecture.
        ValueError: `frame_px` is no multiple of the token's side.
    """
    a = ARCHITECTURES[name]
    side = frame_px or a.frame_px
    if side % a.patch_px:
        raise ValueError(f"frame_px for {name}: expected a multiple of {a.patch_px}, got {side}")
    encoder = ImageEncoderViT(
        img_size=side, patch_size=a.patch_px, embed_dim=a.embed_dim, depth=a.depth, num_heads=a.num_heads, mlp_ratio=4,
        out_chans=a.prompt_dim, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True,
        window_size=a.window, global_attn_indexes=a.global_attention,
    )  # fmt: skip
    if a.trunk:
        encoder.patch_embed = TrunkEmbed(a.trunk, a.embed_dim)
    sam = build_modules(encoder, a, side)
    if a.trunk:
        _initialise(sam)
    return sam


def build_modules(encoder: ImageEncoderViT, a: Architecture, side: int) -> Sam:
    """Construct a SAM around an image encoder, in evaluation mode.

    Args:
        encoder: gives (V, prompt_dim, g, g) embeddings.
        a: sizes of prompt encoder and decoder.
        side: of the frame, px, a multiple of ``a.patch_px``.
    """
    grid = side // a.patch_px
    prompts = PromptEncoder(
        embed_dim=a.prompt_dim,
        image_embedding_size=(grid, grid),
        input_image_size=(side, side),
        mask_in_chans=a.mask_in_channels,
    )
    transformer = TwoWayTransformer(
        depth=2, embedding_dim=a.prompt_dim, mlp_dim=a.decoder_mlp_dim, num_heads=a.decoder_heads
    )
    decoder = MaskDecoder(
        num_multimask_outputs=3, transformer=transformer, transformer_dim=a.prompt_dim, iou_head_depth=3,
        iou_head_hidden_dim=a.iou_hidden_dim,
    )  # fmt: skip
    return Sam(encoder, prompts, decoder, pixel_mean=list(PIXEL_MEAN), pixel_std=list(PIXEL_STD)).eval()


def _initialise(sam: Sam) -> None:
    """Give a network to be trained from scratch the usual start; official sizes are always loaded from a file."""
    for module in sam.image_encoder.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if sam.image_encoder.pos_embed is not None:
        nn.init.trunc_normal_(sam.image_encoder.pos_embed, std=0.02)
