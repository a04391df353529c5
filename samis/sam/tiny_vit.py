"""TinyViT as MobileSAM's image encoder: convolutions, then windowed attention with biases, 16 px a token, official names.

Paper: Wu et al., TinyViT, ECCV 2022 (arXiv 2207.10666); Zhang et al., Faster Segment Anything (MobileSAM), 2023 (arXiv
2306.14289).
Code: timm (Apache-2.0) has attention and MLP; the modules around them have the names of MobileSAM's checkpoint.
Differs: batch norms are constants (a SAM stays in evaluation mode); attention biases are gathered at each call, since a
cache made under inference mode could not be trained with.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import Attention, NormMlp
from torch import Tensor, nn

WIDTHS, DEPTHS, HEADS, WINDOWS = (64, 128, 160, 320), (2, 2, 6, 2), (2, 4, 5, 10), (7, 7, 14, 7)
"""Channels, blocks, heads and windows of the four stages of TinyViT-5M; the first has convolutions alone."""


class ConvNorm(nn.Sequential):
    """A convolution without bias (``c``) and its batch norm (``bn``)."""

    def __init__(self, inner: int, outer: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module("c", nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(outer))


class PatchEmbed(nn.Module):
    """Two convolutions of stride 2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, width // 2, 3, 2), nn.GELU(), ConvNorm(width // 2, width, 3, 2))

    def forward(self, images: Tensor) -> Tensor:
        """Return (V, C, S/4, S/4)."""
        made: Tensor = self.seq(images)
        return made


class InvertedBottleneck(nn.Module):
    """1 x 1, depthwise 3 x 3 and 1 x 1 convolutions around a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(width, 4 * width), ConvNorm(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = ConvNorm(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class Merging(nn.Module):
    """To the next stage's width, at half the resolution or the same."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(inner, outer), ConvNorm(outer, outer, 3, stride, groups=outer)
        self.conv3 = ConvNorm(outer, outer)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, C', h, w) for (V, C, h, w), or half of h and w."""
        merged: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return merged


class BiasedAttention(Attention):
    """timm's attention without its cache of biases."""

    def get_attention_biases(self, device: torch.device) -> Tensor:
        """Return (heads, N, N)."""
        biases: Tensor = self.attention_biases[:, self.attention_bias_idxs]
        return biases


class Block(nn.Module):
    """Attention within windows, a depthwise convolution, an MLP."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = BiasedAttention(width, width // heads, heads, attn_ratio=1, resolution=(window, window))
        self.mlp = NormMlp(width, 4 * width)
        self.local_conv = ConvNorm(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, C, h, w), as `x` is."""
        views, width, height, breadth = x.shape
        side = self.window
        below, right = -height % side, -breadth % side
        if height == breadth == side:
            below = right = 0
        padded = F.pad(x, (0, right, 0, below))
        rows, columns = padded.shape[-2] // side, padded.shape[-1] // side
        cut = padded.reshape(views, width, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        seen = self.attn(cut.reshape(-1, side * side, width))
        joined = seen.reshape(views, rows, columns, side, side, width).permute(0, 5, 1, 3, 2, 4)
        x = x + joined.reshape(padded.shape)[..., :height, :breadth]
        x = self.local_conv(x)
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks, then the way to the next stage."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Return the next stage's input."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class TinyVitEncoder(nn.Module):
    """(V, 3, S, S) framed images -> (V, outer, S/16, S/16).

    Args:
        side: of the frame, px.
        outer: channels of the embedding.
        widths, depths, heads, windows: of the four stages.
        classes: outputs of the classifier that official files still hold; it is not used.
    """

    def __init__(
        self,
        side: int,
        outer: int = 256,
        *,
        widths: tuple[int, ...] = WIDTHS,
        depths: tuple[int, ...] = DEPTHS,
        heads: tuple[int, ...] = HEADS,
        windows: tuple[int, ...] = WINDOWS,
        classes: int = 1000,
    ) -> None:
        super().__init__()
        self.img_size = side
        self.patch_embed = PatchEmbed(widths[0])
        stages = []
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            blocks: list[nn.Module] = [
                Block(width, heads[stage], windows[stage]) if stage else InvertedBottleneck(width) for _ in range(depth)
            ]
            last = stage == len(widths) - 1
            # The last merging keeps the resolution, so that a token covers 16 px.
            merging = None if last else Merging(width, widths[stage + 1], 1 if stage == len(widths) - 2 else 2)
            stages.append(Stage(blocks, merging))
        self.layers = nn.ModuleList(stages)
        self.norm_head, self.head = nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], classes)
        self.neck = nn.Sequential(
            nn.Conv2d(widths[-1], outer, 1, bias=False),
            LayerNorm2d(outer),
            nn.Conv2d(outer, outer, 3, padding=1, bias=False),
            LayerNorm2d(outer),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings."""
        x = self.patch_embed(images)
        for layer in self.layers:
            x = layer(x)
        embeddings: Tensor = self.neck(x)
        return embeddings
