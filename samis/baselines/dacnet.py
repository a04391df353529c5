"""DACNet: one encoder looks at three resolutions, and the logits of deep stages go into every shallower one.

Paper: Zhou, Fang, Liu, Zheng, Sun, Zhang, Yan, Dense Attention-Guided Cascaded Network for Salient Object Detection of Strip
Steel Surface Defects, IEEE TIM 71, 2022 (doi 10.1109/TIM.2021.3132082). Structure, widths, connections and loss as in the
authors' public code (github.com/zxforchid/DACNet): one ResNet-34 of stride 1 with two further stages, shared by the image and
its maximum over 2 x 2 and 4 x 4 pixels; their stages 6, 5 and 4, all of one size, are concatenated in cascade; a bridge of
three dilated convolutions; dense attention: the side outputs of all stages at least two deeper are concatenated as logits;
seven supervised outputs, the hybrid loss (Qin et al., BASNet, CVPR 2019) on each, all weights 1.
Differs: the stem is the backbone's own, with stride 1, instead of a new 3 x 3 convolution, so that ImageNet weights fit it too;
no bias before batch norm; pixels' corners are not aligned where features are resized; AdamW instead of Adam.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.baselines.blocks import ConvNormRelu, deep_supervision, resize_to
from samis.baselines.encoder import Pretrained
from samis.baselines.full_size import DEEP, FullSizeEncoder, FurtherStage
from samis.core.contracts import Batch
from samis.core.losses import MaskLoss, hybrid


class CascadedFeatureIntegration(nn.Module):
    """The deepest features of three resolutions, concatenated twice: medium with low, then high with both.

    Args:
        low: channels of the low resolution's feature.
        width: of the others and of the answer.
    """

    def __init__(self, low: int, width: int = DEEP) -> None:
        super().__init__()
        self.medium = nn.Conv2d(low + width, width, 3, padding=1)
        self.high = nn.Conv2d(2 * width + low, width, 3, padding=1)

    def forward(self, high: Tensor, medium: Tensor, low: Tensor) -> Tensor:
        """Return (V, width, h, w) features of the size of `high`."""
        medium, low = resize_to(medium, high), resize_to(low, high)
        joined = self.medium(torch.cat([low, medium], 1))
        answer: Tensor = self.high(torch.cat([high, joined, low], 1))
        return answer


class DACNet(nn.Module):
    """(V, 3, S, S) images to a list of seven logits: decoder stages 1 (of the image's size) to 6, bridge.

    Args:
        backbone: timm name.
        pretrained: load its ImageNet weights.
    """

    def __init__(self, backbone: str = "resnet34", *, pretrained: Pretrained = False) -> None:
        super().__init__()
        self.encoder = FullSizeEncoder(backbone, pretrained=pretrained)
        self.further = nn.ModuleList([FurtherStage(self.encoder.channels[-1]), FurtherStage(DEEP)])
        self.integrate = CascadedFeatureIntegration(self.encoder.channels[-1])
        self.bridge = nn.Sequential(*(ConvNormRelu(DEEP, DEEP, dilation=2) for _ in range(3)))
        skips = [*self.encoder.channels, DEEP, DEEP]
        self.decoder, self.heads = nn.ModuleList(), nn.ModuleList()
        for level, skip in enumerate(skips):
            deeper = min(DEEP, skip)  # what the stage below, or the bridge, hands up
            width, after = min(DEEP, skip), min(DEEP, skips[max(0, level - 1)])
            logits = max(0, len(skips) - level - 2)
            dilation = 2 if level + 1 == len(skips) else 1
            self.decoder.append(
                nn.Sequential(
                    ConvNormRelu(skip + deeper + logits, width),
                    ConvNormRelu(width, width, dilation=dilation),
                    ConvNormRelu(width, after, dilation=dilation),
                )
            )
            self.heads.append(nn.Conv2d(after, 1, 3, padding=1))
        self.bridge_head = nn.Conv2d(DEEP, 1, 3, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the logits, the answer first."""
        skips = self.encoder(images)
        for stage in self.further:
            skips.append(stage(skips[-1]))
        half, quarter = (F.max_pool2d(images, side, ceil_mode=True) for side in (2, 4))
        medium, low = self.further[0](self.encoder.stages(half)[-1]), self.encoder.stages(quarter)[-1]
        skips[-1] = self.integrate(skips[-1], medium, low)
        x = self.bridge(skips[-1])
        maps: list[Tensor] = []
        bridge = self.bridge_head(x)
        for stage, head, skip in reversed(list(zip(self.decoder, self.heads, skips, strict=True))):
            dense = [resize_to(logits, skip) for logits in maps[1:]]
            x = stage(torch.cat([resize_to(x, skip), skip, *dense], 1))
            maps.insert(0, head(x))
        return [*maps, bridge]

    def loss(self, outputs: list[Tensor], batch: Batch, mask_loss: MaskLoss) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the hybrid loss summed over all outputs, (V,), and its parts."""
        return deep_supervision(outputs, batch, hybrid)
