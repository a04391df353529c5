"""The backbone of a baseline network: any timm feature extractor that gives a pyramid.

Code: timm (Ross Wightman, Apache-2.0) makes the network and, where asked, fetches its ImageNet weights.
"""

from __future__ import annotations

import difflib
from typing import Any

import timm
from torch import Tensor, nn

from samis.contracts import UserError


class Encoder(nn.Module):
    """A timm network cut into its stages.

    Args:
        backbone: timm name, such as ``"resnet18"``.
        pretrained: load timm's ImageNet weights (needs a network or a filled cache).

    Attributes:
        channels: of each feature, shallow to deep. strides: pixels a cell of each feature covers.

    Raises:
        UserError: unknown backbone, one without a pyramid, or weights that cannot be had.
    """

    def __init__(self, backbone: str, *, pretrained: bool = False) -> None:
        super().__init__()
        if not timm.is_model(backbone):
            near = difflib.get_close_matches(backbone, timm.list_models(), n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists them"
            raise UserError(f"segmenter.backbone: unknown timm model {backbone!r}; {hint}")
        try:
            self.network = timm.create_model(backbone, features_only=True, pretrained=pretrained)
        except Exception as error:
            wanted = "its ImageNet weights" if pretrained else "a feature pyramid"
            told = " ".join(str(error).split())[:200]
            hint = (
                "set segmenter.pretrained=false or fill timm's cache"
                if pretrained
                else "choose another, such as resnet18"
            )
            raise UserError(f"segmenter.backbone={backbone}: expected {wanted}, but {told}; {hint}") from error
        self.backbone = backbone
        self.pretrained = pretrained
        info: Any = self.network.feature_info
        self.channels: list[int] = info.channels()
        self.strides: list[int] = info.reduction()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return one (V, C, S / stride, S / stride) feature a stage, shallow to deep.

        Raises:
            UserError: the deepest stride does not divide the images' sides.
        """
        self.check_sides(images, max(self.strides))
        features = self.network(images)
        return [f if f.shape[1] == c else f.permute(0, 3, 1, 2) for f, c in zip(features, self.channels, strict=True)]

    def check_sides(self, images: Tensor, stride: int) -> None:
        """Refuse images that a network's deepest stride does not divide.

        Raises:
            UserError: names the nearest sides that it does divide.
        """
        for side in images.shape[-2:]:
            if side % stride:
                below, above = side // stride * stride, -(-side // stride) * stride
                near = f"{below} or {above}" if below else str(above)
                raise UserError(f"frame.frame_px: {self.backbone} needs a multiple of {stride}, got {side}; use {near}")
