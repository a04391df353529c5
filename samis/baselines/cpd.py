"""CPD: a cascade of two partial decoders, the first map of which tells the second where to look.

Paper: Wu, Su, Huang, "Cascaded Partial Decoder for Fast and Accurate Salient Object Detection", CVPR 2019
(doi 10.1109/CVPR.2019.00403). Blocks by the paper's names: attention branch and detection branch (the backbone's last two
stages, once for each), receptive field block (RFB), partial decoder, holistic attention module. Loss: the sum of the
cross-entropies of both branches' maps.
Differs: batch norm after each convolution of the decoder (the text names none); the Gaussian kernel that holistic attention
starts from is 31 cells wide, so that it has a middle, instead of 32; AdamW instead of Adam. The optimisation layer is the third
stage from the end, conv3_3 of VGG-16; the pooling after conv5_3 is left out.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.core.contracts import Batch
from samis.core.losses import bce
from samis.errors import UserError

WIDTH = 32


class TwoBranchEncoder(Encoder):
    """A backbone whose last two stages exist twice: for the attention and for the detection branch.

    Raises:
        UserError: the backbone does not run its stages one after the other, so that it cannot be entered in the middle.
    """

    def __init__(self, backbone: str, *, pretrained: Pretrained = False) -> None:
        super().__init__(backbone, pretrained=pretrained)
        ends = list(getattr(self.network, "return_layers", {}))
        layers = list(self.network.named_children())
        names = [name for name, _ in layers]
        if len(ends) != len(self.channels) or names[-1] != ends[-1]:
            raise UserError(
                f"segmenter.backbone={backbone}: CPD needs stages that run one after the other; choose another, "
                "such as vgg16, resnet50 or convnext_tiny",
                code="E-NET-BACKBONE",
            )
        stages = [
            nn.Sequential(*(layer for _, layer in layers[names.index(start) + 1 : names.index(end) + 1]))
            for start, end in pairwise(ends)
        ]
        self.used = len(self.channels)
        if not any(True for _ in stages[-1].parameters()):  # VGG's last level only pools
            self.used -= 1
            stages = stages[:-1]
        if self.used < 3:
            raise UserError(
                f"segmenter.backbone={backbone}: CPD needs three levels, got {self.used}; choose another",
                code="E-NET-BACKBONE",
            )
        self.detection = nn.ModuleList(copy.deepcopy(stages[-2:]))

    def attention_features(self, images: Tensor) -> list[Tensor]:
        """Return f3, f4 and f5 of the attention branch."""
        return self(images)[self.used - 3 : self.used]

    def detection_features(self, refined: Tensor) -> list[Tensor]:
        """Return f4 and f5 of the detection branch, from the refined f3."""
        first = self.detection[0](refined)
        return [first, self.detection[1](first)]


class ReceptiveFieldBlock(nn.Module):
    """Four branches, of which branch m > 1 has a (2m - 1) kernel and then a 3 x 3 with dilation 2m - 1; and a shortcut."""

    def __init__(self, before: int, width: int = WIDTH) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvNormRelu(before, width, 1)])
        for reach in (3, 5, 7):
            self.branches.append(
                nn.Sequential(
                    ConvNormRelu(before, width, 1),
                    ConvNormRelu(width, width, reach),
                    ConvNormRelu(width, width, 3, dilation=reach),
                )
            )
        self.joined = _conv_norm(len(self.branches) * width, width, 3)
        self.shortcut = _conv_norm(before, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, width, h, w) features."""
        wide = torch.cat([branch(x) for branch in self.branches], 1)
        return F.relu(self.joined(wide) + self.shortcut(x))


class PartialDecoder(nn.Module):
    """Joins f3, f4 and f5: each is multiplied by all deeper ones, then concatenated from the deepest on."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.by_deeper = nn.ModuleDict({pair: _conv_norm(width, width, 3) for pair in ("54", "53", "43")})
        self.up5 = _conv_norm(width, width, 3)
        self.join4 = _conv_norm(2 * width, 2 * width, 3)
        self.up4 = _conv_norm(2 * width, 2 * width, 3)
        self.join3 = _conv_norm(3 * width, 3 * width, 3)
        self.head = nn.Sequential(ConvNormRelu(3 * width, 3 * width), nn.Conv2d(3 * width, 1, 1))

    def forward(self, f3: Tensor, f4: Tensor, f5: Tensor) -> Tensor:
        """Return (V, 1, h, w) logits at the size of `f3`."""
        deeper = self.by_deeper
        g4 = f4 * deeper["54"](resize_to(f5, f4))
        g3 = f3 * deeper["53"](resize_to(f5, f3)) * deeper["43"](resize_to(f4, f3))
        joined = self.join4(torch.cat([g4, self.up5(resize_to(f5, g4))], 1))
        joined = self.join3(torch.cat([g3, self.up4(resize_to(joined, g3))], 1))
        logits: Tensor = self.head(joined)
        return logits


class HolisticAttention(nn.Module):
    """The initial map, blurred, spread over 0 to 1 and never below the map itself, times the features.

    Args:
        kernel: side of the blur, cells.
        std: of the Gaussian that the blur starts as, cells; it is trained.
    """

    def __init__(self, kernel: int = 31, std: float = 4.0) -> None:
        super().__init__()
        steps = torch.arange(kernel) - kernel // 2
        bell = torch.exp(-((steps / std) ** 2) / 2)
        bell = bell / bell.sum()
        self.blur = nn.Parameter((bell[:, None] * bell[None, :])[None, None])

    def forward(self, initial: Tensor, features: Tensor) -> Tensor:
        """Return `features` under the attention that the `initial` logits (V, 1, h, w) give."""
        probability = initial.sigmoid()
        blurred = F.conv2d(probability, self.blur, padding=self.blur.shape[-1] // 2)
        low, high = blurred.amin((2, 3), keepdim=True), blurred.amax((2, 3), keepdim=True)
        spread = (blurred - low) / (high - low).clamp_min(1e-6)
        return features * torch.maximum(spread, probability)


class CPD(nn.Module):
    """(V, 3, S, S) normalised images to a list of logits: the detection branch's map, the attention branch's.

    Args:
        backbone: timm name.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "vgg16", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = TwoBranchEncoder(backbone, pretrained=pretrained)
        channels = self.encoder.channels[self.encoder.used - 3 : self.encoder.used]
        self.attention_rfbs = nn.ModuleList(ReceptiveFieldBlock(c) for c in channels)
        self.attention_decoder = PartialDecoder()
        self.holistic_attention = HolisticAttention()
        self.detection_rfbs = nn.ModuleList(ReceptiveFieldBlock(c) for c in channels)
        self.detection_decoder = PartialDecoder()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return both branches' logits at the size of the third feature from the end."""
        features = self.encoder.attention_features(images)
        initial = self.attention_decoder(*_each(self.attention_rfbs, features))
        refined = self.holistic_attention(initial, features[0])
        again = [refined, *self.encoder.detection_features(refined)]
        return [self.detection_decoder(*_each(self.detection_rfbs, again)), initial]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of both maps' cross-entropies."""
        return deep_supervision(outputs, batch, bce)


def _conv_norm(before: int, after: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(after))


def _each(blocks: nn.ModuleList, features: list[Tensor]) -> list[Tensor]:
    return [block(feature) for block, feature in zip(blocks, features, strict=True)]
