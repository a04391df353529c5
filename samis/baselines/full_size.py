"""Encoders that work at the image's size: a backbone without its first halvings, and the further stages of BASNet's kind.

Paper: Qin et al., BASNet, CVPR 2019 (doi 10.1109/CVPR.2019.00766), section 3.2; DACNet and TSERNet start from it, EDRNet keeps
one of the two halvings.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu
from samis.baselines.encoder import Encoder, Pretrained
from samis.errors import UserError

DEEP = 512
"""Channels of the further stages."""
FIVE = 5
"""Halvings of a backbone that fits."""


class FullSizeEncoder(Encoder):
    """A backbone without its first one or two halvings: its first stage works at the image's size.

    Args:
        backbone: timm name.
        pretrained: as ``Encoder``.
        removed: halvings left out, 1 or 2.

    Raises:
        UserError: the halvings cannot be taken out, as where patches of 4 x 4 start the backbone.
    """

    def __init__(self, backbone: str, *, pretrained: Pretrained = False, removed: int = 2) -> None:
        super().__init__(backbone, pretrained=pretrained)
        halvings = [
            (name, layer)
            for name, layer in self.network.named_modules()
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) and layer.stride in (2, (2, 2))
        ]
        for name, layer in halvings[:removed]:
            if isinstance(layer, nn.Conv2d):
                layer.stride = (1, 1)
            else:
                self.network.set_submodule(name, nn.Identity())
        stages = FIVE + 1 - removed
        self.channels = self.channels[-stages:]
        self.strides = [2**level for level in range(stages)]
        if self._sides() != [32 // stride for stride in self.strides]:
            raise UserError(
                f"segmenter.backbone={backbone}: expected a backbone that halves the image five times and whose first {removed} "
                "halvings can be left out; choose another, such as resnet34",
                code="E-NET-BACKBONE",
            )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the stages' features, the first at the images' size, each further one at half the side.

        Raises:
            UserError: 32 does not divide the images' sides.
        """
        self.check_sides(images, 2**FIVE)
        return self.stages(images)

    def stages(self, images: Tensor) -> list[Tensor]:
        """Return what ``forward`` does, for images of any side."""
        features: list[Tensor] = self.network(self.normalise(images))[-len(self.channels) :]
        return features

    def _sides(self) -> list[int]:
        """Return the sides of the features of a 32 px image, empty if there are none."""
        weight = next(self.parameters())
        mode = self.training
        try:
            with torch.no_grad():
                return [int(f.shape[-1]) for f in self.eval()(weight.new_zeros(1, 3, 32, 32))]
        except RuntimeError:
            return []
        finally:
            self.train(mode)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut, the basic block of ResNet-34."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = ConvNormRelu(before, after)
        self.second = nn.Sequential(nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after))
        self.shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, after, h, w) features."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class FurtherStage(nn.Sequential):
    """One of the stages after the backbone: halve by max-pooling, three residual blocks."""

    def __init__(self, before: int, width: int = DEEP) -> None:
        super().__init__(
            nn.MaxPool2d(2, ceil_mode=True),
            ResidualBlock(before, width),
            ResidualBlock(width, width),
            ResidualBlock(width, width),
        )
