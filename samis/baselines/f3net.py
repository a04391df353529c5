"""F3Net: levels are joined by what they agree on, and the finished decoder's answer is fed back to all of them once more.

Paper: Wei, Wang, Huang, "F3Net: Fusion, Feedback and Focus for Salient Object Detection", AAAI 2020
(doi 10.1609/aaai.v34i07.6916). Blocks by the paper's names: cross feature module (CFM), cascaded feedback decoder (CFD) of two
sub-decoders, pixel position aware loss (PPA, weighted cross-entropy + weighted IoU). Weights from the paper: the mean over the
sub-decoders' maps, plus 1/2, 1/4, 1/8 and 1/16 of the loss of each level's own map, shallow to deep (eq. 10).
Differs: the PPA's window of 31 pixels scales with the frame (31 at the paper's 352); AdamW instead of SGD; one size instead of
several while training; the last biases start at the logit of a rare defect (Lin et al., RetinaNet, ICCV 2017, section 4.1).
"""

from __future__ import annotations

from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to, start_rare
from samis.baselines.encoder import Encoder, Pretrained
from samis.core.contracts import Batch
from samis.core.losses import bce, weighted_iou
from samis.errors import UserError

WIDTH = 64
LEVELS = 4
EDGE_WEIGHT = 5.0
"""Gamma of the PPA loss."""


class CrossFeatureModule(nn.Module):
    """Adds to a shallow and a deep feature the product of the two, each before and after convolutions of its own."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.shallow = nn.ModuleList(ConvNormRelu(width, width) for _ in range(4))
        self.deep = nn.ModuleList(ConvNormRelu(width, width) for _ in range(4))

    def forward(self, shallow: Tensor, deep: Tensor) -> tuple[Tensor, Tensor]:
        """Return the refined shallow and deep feature, both (V, width, h, w) at the size of `shallow`."""
        first, second = self.shallow[0](shallow), self.deep[0](resize_to(deep, shallow))
        common = self.shallow[1](first) * self.deep[1](second)
        first = self.shallow[3](self.shallow[2](common) + first)
        second = self.deep[3](self.deep[2](common) + second)
        return first, second


class SubDecoder(nn.Module):
    """One pass over the levels: CFMs from deep to shallow, whose answer goes back to every level."""

    def __init__(self, levels: int = LEVELS) -> None:
        super().__init__()
        self.modules_by_level = nn.ModuleList(CrossFeatureModule() for _ in range(levels - 1))

    def forward(self, features: list[Tensor], feedback: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Return the refined levels, shallow to deep, and the decoder's answer at the size of the shallowest.

        Args:
            features: (V, width, h, w) a level, shallow to deep.
            feedback: answer of the sub-decoder before, added to each level; None for the first.
        """
        if feedback is not None:
            features = [feature + resize_to(feedback, feature) for feature in features]
        refined = list(features)
        answer = features[-1]
        for level in reversed(range(len(self.modules_by_level))):
            refined[level], answer = self.modules_by_level[level](features[level], answer)
        return refined, answer


class F3Net(nn.Module):
    """(V, 3, S, S) normalised images to a list of logits: second sub-decoder, first sub-decoder, levels shallow to deep.

    Args:
        backbone: timm name with four levels or more.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "resnet50", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = Encoder(backbone, pretrained=pretrained)
        channels = self.encoder.channels[-LEVELS:]
        if len(channels) < LEVELS:
            raise UserError(
                f"segmenter.backbone={backbone}: F3Net needs {LEVELS} levels, got {len(channels)}; "
                "choose another, such as resnet50",
                code="E-NET-BACKBONE",
            )
        self.squeeze = nn.ModuleList(ConvNormRelu(before, WIDTH, 1) for before in channels)
        self.decoders = nn.ModuleList(SubDecoder() for _ in range(2))
        self.heads = nn.ModuleList(start_rare(nn.Conv2d(WIDTH, 1, 3, padding=1)) for _ in self.decoders)
        self.side_heads = nn.ModuleList(start_rare(nn.Conv2d(WIDTH, 1, 3, padding=1)) for _ in channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return logits at the size of the shallowest level used, and of each level."""
        features = self.encoder(images)[-LEVELS:]
        levels = [squeeze(feature) for squeeze, feature in zip(self.squeeze, features, strict=True)]
        maps: list[Tensor] = []
        answer: Tensor | None = None
        for decoder, head in zip(self.decoders, self.heads, strict=True):
            levels, answer = decoder(levels, answer)
            maps.insert(0, head(answer))
        return maps + [head(level) for head, level in zip(self.side_heads, levels, strict=True)]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: object) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the multi-level PPA loss with the paper's weights."""
        decoders = len(self.decoders)
        weights = [1 / decoders] * decoders + [1 / 2 ** (level + 1) for level in range(LEVELS)]
        return deep_supervision(outputs, batch, _pixel_position_aware, weights)


def _pixel_position_aware(logits: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
    weighted = bce(logits, truth, inside, edge_weight=EDGE_WEIGHT)
    return weighted + weighted_iou(logits, truth, inside, edge_weight=EDGE_WEIGHT)
