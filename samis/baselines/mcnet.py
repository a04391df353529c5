"""MCnet: a dilated DenseNet, pooled context, and attention over each score map's neighbourhood.

Paper: Zhang, Song, Xu, He, Niu, Yan, MCnet: Multiple Context Information Segmentation Network of No-Service Rail Surface
Defects, IEEE TIM 70, 2021 (doi 10.1109/TIM.2020.3040890). Structure, widths, connections and loss as in the authors' public
code (github.com/zdfcvsn/MCnet): DenseNet-201 without the pooling of its second and third transition, with dilations 2 and 4
behind them, so that all ends at stride 8; a pyramid pooling module (PSPNet's, Zhao et al., CVPR 2017) of a quarter of its
channels; score maps of two classes after each transition, each attended to as in PiCANet (Liu et al., CVPR 2018: 7 x 7 places,
every second pixel) and added up; cross-entropy of the one output.
Differs: the two classes' scores become one logit, their difference, whose cross-entropy is that of the softmax; the public code
reshapes attention and neighbourhoods so that the sum runs over other pairs of both, here each pixel's weights meet its own
neighbours; its auxiliary branch, which nothing calls and its stated size leaves out, is left out; no batch norm behind the
pooling, so that one image a process can be trained; AdamW instead of Adam. A backbone that is no DenseNet keeps its strides.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Encoder, Pretrained
from samis.baselines.picanet import LocalPiCANet
from samis.core.contracts import Batch
from samis.core.losses import MaskLoss, bce

CLASSES = 2


class DilatedDenseNet(Encoder):
    """A DenseNet at stride 8 that gives what leaves its three transitions and its last block; others give their last levels."""

    def __init__(self, backbone: str, *, pretrained: Pretrained = False) -> None:
        super().__init__(backbone, pretrained=pretrained)
        self.transitions = [name for name in self.network if "transition" in name] if self._is_dense() else []
        if not self.transitions:
            return
        blocks = [name for name in self.network if "denseblock" in name]
        for name in self.transitions[1:]:
            self.network[name].pool = nn.Identity()
        for name, rate in zip(blocks[2:], (2, 4), strict=True):
            for layer in self.network[name].modules():
                if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                    layer.dilation = layer.padding = (rate, rate)
        self.last = blocks[-1]
        self.channels = [*(self.network[name].conv.out_channels for name in self.transitions), self.channels[-1]]
        for name in list(self.network)[list(self.network).index(self.last) + 1 :]:
            self.network[name] = nn.Identity()  # the norm behind the last block, which the paper's network lacks

    def _is_dense(self) -> bool:
        return isinstance(self.network, nn.ModuleDict) and any("denseblock" in name for name in self.network)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the four features, (V, C, h, w)."""
        if not self.transitions:
            return super().forward(images)[-4:]
        self.check_sides(images, max(self.strides))
        x, features = self.normalise(images), []
        for name, layer in self.network.items():
            x = layer(x)
            if name in self.transitions or name == self.last:
                features.append(x)
        return features


class PyramidPooling(nn.Module):
    """Pyramid pooling module: the feature and its means over 1, 4, 9 and 36 regions.

    Args:
        before: channels in.
        after: channels out.
        bins: regions a side.
    """

    def __init__(self, before: int, after: int, bins: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = bins
        inner = max(1, before // len(bins))
        self.pooled = nn.ModuleList(nn.Sequential(nn.Conv2d(before, inner, 1), nn.ReLU(inplace=True)) for _ in bins)
        self.join = ConvNormRelu(before + inner * len(bins), after)

    def forward(self, x: Tensor) -> Tensor:
        """Return (V, after, h, w) features."""
        pairs = zip(self.bins, self.pooled, strict=True)
        context = [resize_to(project(F.adaptive_avg_pool2d(x, side)), x) for side, project in pairs]
        answer: Tensor = self.join(torch.cat([x, *context], 1))
        return answer


class MCnet(nn.Module):
    """(V, 3, S, S) images to (V, 1, h, w) logits, h = w being those of the first score map (an eighth on DenseNet).

    Args:
        backbone: timm name.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "densenet201", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = DilatedDenseNet(backbone, pretrained=pretrained)
        *levels, deepest = self.encoder.channels[-4:]
        self.scores = nn.ModuleList(nn.Conv2d(c, CLASSES, 1) for c in levels)
        self.attend = nn.ModuleList(
            LocalPiCANet(CLASSES, nn.Conv2d(CLASSES, 128, 7, padding=6, dilation=2)) for _ in levels
        )
        inner = max(1, deepest // 4)
        self.context = nn.Sequential(PyramidPooling(deepest, inner), nn.Dropout2d(0.1), nn.Conv2d(inner, CLASSES, 1))
        self.mix = nn.ModuleList(nn.Conv2d(CLASSES, CLASSES, 1) for _ in levels)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits: the defect's score less the surface's."""
        *levels, deepest = self.encoder(images)
        parts = zip(self.attend, self.scores, levels, strict=True)
        scores = [attend(score(level)) for attend, score, level in parts]
        x = scores.pop()
        for mix, score in zip(self.mix[:-1], reversed(scores), strict=True):
            x = mix(resize_to(x, score) + score)
        x = self.mix[-1](x + resize_to(self.context(deepest), x))
        return x[:, 1:] - x[:, :1]

    def loss(self, outputs: Tensor, batch: Batch, mask_loss: MaskLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy of the answer, (V,), and its parts."""
        return deep_supervision([outputs], batch, bce)
