"""U-Net on a timm encoder: what an engineer tries first.

Paper: Ronneberger et al., U-Net, MICCAI 2015 (doi 10.1007/978-3-319-24574-4_28).
Differs: the contracting path is a timm backbone (ResNet-18 by default); convolutions are padded, so that the map
has the image's size, and followed by batch norm; features are enlarged by repetition instead of transposed convolution;
the last bias starts at the logit of a rare defect (Lin et al., RetinaNet, ICCV 2017, section 4.1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import start_rare
from samis.baselines.encoder import Encoder, Pretrained
from samis.errors import UserError


class DoubleConv(nn.Sequential):
    """Two 3 x 3 convolutions, each with batch norm and ReLU (Ronneberger et al., figure 1)."""

    def __init__(self, before: int, after: int) -> None:
        layers: list[nn.Module] = []
        for channels in (before, after):
            layers += [
                nn.Conv2d(channels, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class UNet(nn.Module):
    """(V, 3, S, S) normalised images to (V, 1, S, S) logits; S a multiple of the backbone's deepest stride.

    Args:
        backbone: timm name.
        pretrained: load its ImageNet weights.
        width: channels of the last, full-size stage; each stage below has twice as many, up to 256.

    Raises:
        UserError: the backbone is unknown, or its strides are no powers of two.
    """

    def __init__(self, backbone: str = "resnet18", *, pretrained: Pretrained = False, width: int = 16) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        skips = dict(zip(self.encoder.strides, self.encoder.channels, strict=True))
        stride = max(skips)
        if stride & (stride - 1):
            raise UserError(
                f"segmenter.backbone={backbone}: U-Net needs strides that are powers of two, got {self.encoder.strides}; "
                "choose another, such as resnet18",
                code="E-NET-BACKBONE",
            )
        self.stages = nn.ModuleList()
        before = skips[stride]
        while stride > 1:
            stride //= 2
            after = min(256, width * stride)
            self.stages.append(DoubleConv(before + skips.get(stride, 0), after))
            before = after
        self.head = start_rare(nn.Conv2d(before, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits at the images' size."""
        features = dict(zip(self.encoder.strides, self.encoder(images), strict=True))
        stride = max(features)
        x = features[stride]
        for stage in self.stages:
            stride //= 2
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = stage(torch.cat([x, features[stride]], 1) if stride in features else x)
        logits: Tensor = self.head(x)
        return logits
