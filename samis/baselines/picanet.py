"""PiCANet: each pixel attends to others with learned weights, the whole map when deep, its neighbourhood when shallow.

Paper: Liu, Han, Yang, "PiCANet: Learning Pixel-wise Contextual Attention for Saliency Detection", CVPR 2018 (doi
10.1109/CVPR.2018.00326). Blocks by the paper's names: global PiCANet (ReNet of two bidirectional LSTMs of 256 units, then
attention over 10 x 10 places) in decoding modules D6 and D5, local PiCANet (attention over 7 x 7 places, every second pixel) in
D4, D3 and D2, none in D1. Loss: cross-entropy in each decoding module; weights 0.5, 0.5, 0.5, 0.8, 0.8 and 1 from D6 to D1. A
VGG ends at stride 8, as in the paper: its last two poolings are left out, conv5 has dilation 2 and fc6, here named conv6
together with fc7, dilation 12.
Differs: the 10 x 10 places are spread evenly over a feature of any size, on the paper's 28 x 28 they are its every third pixel;
the deepest module fuses nothing; AdamW instead of SGD. Attention over a neighbourhood is added up place by place, which needs
no 49 copies of the feature. A backbone that is no VGG keeps its strides, and conv6 has dilation 3 there; one with fewer levels
than VGG-16's six lacks the shallow modules; the deepest two stay global.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.core.contracts import Batch
from samis.core.losses import bce

WEIGHTS = (1.0, 0.8, 0.8, 0.5, 0.5, 0.5)
"""Of the loss in D1 to D6; those with an index above 4 attend globally."""
PLACES = 10
REACH = 7


class ReNet(nn.Module):
    """Two bidirectional LSTMs that sweep rows, then columns, so that every cell has seen all others."""

    def __init__(self, before: int, units: int = 256) -> None:
        super().__init__()
        self.rows = nn.LSTM(before, units, batch_first=True, bidirectional=True)
        self.columns = nn.LSTM(2 * units, units, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, 2 units, h, w) features."""
        views, _, height, width = x.shape
        swept, _ = self.rows(x.permute(0, 2, 3, 1).flatten(0, 1))
        swept = swept.unflatten(0, (views, height)).transpose(1, 2)  # (V, w, h, 2 units)
        swept, _ = self.columns(swept.flatten(0, 1))
        return swept.unflatten(0, (views, width)).permute(0, 3, 2, 1)


class GlobalPiCANet(nn.Module):
    """The mean of a feature over 10 x 10 places spread over it, weighted for each pixel by a softmax."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.renet = ReNet(width)
        self.attention = nn.Conv2d(512, PLACES * PLACES, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended feature, of x's shape."""
        rows, columns = (torch.linspace(0, side - 1, PLACES, device=x.device).round().long() for side in x.shape[-2:])
        places = x[:, :, rows[:, None], columns[None, :]].flatten(2)  # (V, C, 100)
        attention = self.attention(self.renet(x)).flatten(2).softmax(1)  # (V, 100, h w)
        return torch.bmm(places, attention.to(places.dtype)).view_as(x)


class LocalPiCANet(nn.Module):
    """The mean of a feature over 7 x 7 places around each pixel, two pixels apart, weighted by a softmax.

    Args:
        width: channels of the feature.
        context: gives the 128 channels that the weights are made of; None takes PiCANet's.
    """

    def __init__(self, width: int, context: nn.Module | None = None) -> None:
        super().__init__()
        self.context = context or ConvNormRelu(width, 128, REACH)
        self.attention = nn.Conv2d(128, REACH * REACH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended feature, of x's shape."""
        attention = self.attention(self.context(x)).softmax(1)
        height, width = x.shape[-2:]
        padded = F.pad(x, (REACH - 1,) * 4)
        total = torch.zeros_like(x)
        for place in range(REACH * REACH):
            top, left = 2 * (place // REACH), 2 * (place % REACH)
            total = total + attention[:, place : place + 1] * padded[:, :, top : top + height, left : left + width]
        return total


class DecodingModule(nn.Module):
    """D_i: fuses the encoder's feature with the deeper module's, attends, and predicts a map.

    Args:
        encoded: channels of the encoder's feature.
        deeper: of the module below; 0 for the deepest, which fuses nothing.
        width: channels out.
        picanet: what attends; None in D1.
    """

    def __init__(self, encoded: int, deeper: int, width: int, picanet: type[nn.Module] | None) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(encoded) if deeper else None
        self.fused = ConvNormRelu(encoded + deeper, encoded, 1) if deeper else None
        self.picanet = picanet(encoded) if picanet else None
        self.joined = ConvNormRelu(2 * encoded if picanet else encoded, width, 1)
        self.head = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, x: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the decoded feature and its logits, at the size of the encoder's feature `x`."""
        if self.norm is not None and self.fused is not None and deeper is not None:
            x = self.fused(torch.cat([F.relu(self.norm(x)), resize_to(deeper, x)], 1))
        if self.picanet is not None:
            x = torch.cat([x, self.picanet(x)], 1)
        x = self.joined(x)
        return x, self.head(x)


class DilatedVgg(Encoder):
    """A VGG that ends at stride 8; any other backbone as it is.

    Attributes:
        dilated: whether it is one.
    """

    def __init__(self, backbone: str, *, pretrained: Pretrained = False) -> None:
        super().__init__(backbone, pretrained=pretrained)
        layers = list(self.network.named_children())
        pools = [place for place, (_, layer) in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        self.dilated = len(pools) == 5 and isinstance(layers[0][1], nn.Conv2d)
        if not self.dilated:
            return
        for name, layer in layers[pools[-2] :]:
            if isinstance(layer, nn.MaxPool2d):
                self.network.set_submodule(name, nn.Identity())
            elif isinstance(layer, nn.Conv2d):
                layer.dilation = layer.padding = (2, 2)
        self.strides = [min(stride, 8) for stride in self.strides]


class PiCANet(nn.Module):
    """(V, 3, S, S) normalised images to a list of logits, of D1 (the answer) to D6.

    Args:
        backbone: timm name.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "vgg16", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = DilatedVgg(backbone, pretrained=pretrained)
        channels = list(self.encoder.channels[-len(WEIGHTS) :])
        self.weights = WEIGHTS[-len(channels) :]
        rate = 12 if self.encoder.dilated else 3
        self.conv6 = nn.Sequential(ConvNormRelu(channels[-1], 1024, dilation=rate), ConvNormRelu(1024, 1024, 1))
        widths = channels.copy()
        channels[-1] = 1024
        deepest = len(channels) - 1
        self.modules_d = nn.ModuleList()
        for index, encoded in enumerate(channels):
            picanet: type[nn.Module] | None = GlobalPiCANet if index >= deepest - 1 else LocalPiCANet
            if index == 0 and len(channels) == len(WEIGHTS):
                picanet = None
            deeper = 0 if index == deepest else widths[index + 1]
            self.modules_d.append(DecodingModule(encoded, deeper, widths[index], picanet))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits of D1 to D6, each at its level's size."""
        features = self.encoder(images)[-len(self.modules_d) :]
        features[-1] = self.conv6(features[-1])
        outputs: list[Tensor] = []
        x: Tensor | None = None
        for module, feature in zip(reversed(self.modules_d), reversed(features), strict=True):
            x, logits = module(feature, x)
            outputs.append(logits)
        return outputs[::-1]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of each module's cross-entropy."""
        return deep_supervision(outputs, batch, bce, self.weights)
