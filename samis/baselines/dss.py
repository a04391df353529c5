"""DSS: deeply supervised salient object detection with short connections between side outputs.

Paper: Hou, Cheng, Hu, Borji, Tu, Torr, "Deeply Supervised Salient Object Detection with Short Connections", CVPR 2017
(doi 10.1109/CVPR.2017.563; longer in TPAMI 2019, doi 10.1109/TPAMI.2018.2815688). Blocks by the paper's names: side
output (table 1: two convolutions and a 1 x 1), short connection, weighted fusion, and the final map, the mean of the fused
map and of side outputs 2, 3 and 4. Loss: standard (not class-balanced) cross-entropy on the fused
map and on each side output, all weighing 1.
Differs: no conditional random field afterwards; sides are enlarged bilinearly by resizing, in place of the paper's
fixed deconvolution; a 1 x 1 weight of a short connection sees one side output at a time, which is the same sum; AdamW and an
average over pixels instead of SGD on sums. A backbone with fewer levels than VGG-16's six has fewer side outputs: the shallow
ones are missing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.core.contracts import Batch
from samis.core.losses import bce

SIDES = ((1, 128, 3), (2, 128, 3), (3, 256, 5), (4, 256, 5), (5, 512, 5), (6, 512, 7))
"""Number, channels and kernel of each side output (table 1); 6 sits on the last pooling layer."""
SHORT = {1: (3, 4, 5, 6), 2: (3, 4, 5, 6), 3: (5, 6), 4: (5, 6), 5: (), 6: ()}
"""Which deeper side outputs reach each side output through a short connection."""
AVERAGED = (2, 3, 4)


class SideOutput(nn.Sequential):
    """Two convolutions with ReLU and a 1 x 1 convolution to one channel (table 1)."""

    def __init__(self, before: int, width: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(before, width, kernel, padding=kernel // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, kernel, padding=kernel // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 1, 1),
        )


class ShortConnections(nn.Module):
    """A side output plus a learnt multiple of each deeper one that reaches it."""

    def __init__(self, sources: tuple[int, ...]) -> None:
        super().__init__()
        self.sources = sources
        self.weights = nn.Parameter(torch.full((len(sources),), 1.0 / (len(sources) + 1))) if sources else None

    def forward(self, activation: Tensor, sides: dict[int, Tensor]) -> Tensor:
        """Return the refined side output, at the size of `activation`."""
        if self.weights is None:
            return activation
        for weight, source in zip(self.weights, self.sources, strict=True):
            activation = activation + weight * resize_to(sides[source], activation)
        return activation


class DSS(nn.Module):
    """(V, 3, S, S) normalised images to a list of logits: the final map, the fused map, the side outputs, shallow first.

    Args:
        backbone: timm name.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "vgg16", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        levels = self.encoder.channels[-len(SIDES) :]
        sides = SIDES[-len(levels) :]
        self.numbers = [number for number, _, _ in sides]
        self.sides = nn.ModuleList(
            SideOutput(before, width, kernel) for before, (_, width, kernel) in zip(levels, sides, strict=True)
        )
        self.short = nn.ModuleList(
            ShortConnections(tuple(source for source in SHORT[number] if source in self.numbers))
            for number in self.numbers
        )
        self.fusion = nn.Parameter(torch.full((len(sides),), 1.0 / len(sides)))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the final, the fused and the side logits at the images' size."""
        features = self.encoder(images)[-len(self.numbers) :]
        sides: dict[int, Tensor] = {}
        for number, side, short, feature in reversed(
            list(zip(self.numbers, self.sides, self.short, features, strict=True))
        ):
            sides[number] = short(side(feature), sides)
        enlarged = {number: resize_to(sides[number], images) for number in self.numbers}
        stacked = torch.stack(list(enlarged.values()))
        fused = (stacked * self.fusion[:, None, None, None, None]).sum(0)
        final = mean_of_maps([fused, *(enlarged[number] for number in AVERAGED if number in enlarged)])
        return [final, fused, *enlarged.values()]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Return cross-entropy of the fused map and of each side output; the final map is an average of these."""
        return deep_supervision(outputs[1:], batch, bce)


def mean_of_maps(logits: list[Tensor]) -> Tensor:
    """Return the logits of the mean of several maps.

    >>> mean_of_maps([torch.tensor(0.2).logit(), torch.tensor(0.6).logit()]).sigmoid()
    tensor(0.4000)
    """
    stacked = torch.stack(logits).float()
    return F.logsigmoid(stacked).logsumexp(0) - F.logsigmoid(-stacked).logsumexp(0)
