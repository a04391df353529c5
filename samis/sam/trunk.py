"""A convolutional trunk in place of SAM's one-convolution patches: EfficientNet-Lite's features, summed to tokens.

Paper: Tan and Le, EfficientNet, ICML 2019 (arXiv 1905.11946); Xiao et al., Early Convolutions Help Transformers See
Better, NeurIPS 2021 (arXiv 2106.14881).
Code: timm (Ross Wightman, Apache-2.0) has the trunk.
Differs: only the stages down to stride 16 are kept, and their batch norms are constants: statistics and factors are those
of ImageNet and no tuning changes them, since the batches of a tuning are too small to estimate either.
"""

from __future__ import annotations

import types

import timm
import torch
import torch.nn.functional as F
from timm.layers import FrozenBatchNormAct2d, freeze_batch_norm_2d
from torch import Tensor, nn

from samis.core.imagenet import load_imagenet
from samis.core.preprocessing import PIXEL_MEAN, PIXEL_STD

STAGES = 5
"""Stages of EfficientNet down to stride 16; those at stride 32 are left out."""


class TrunkEmbed(nn.Module):
    """Tokens from the trunk's features of strides 4, 8 and 16; (V, 3, S, S) in, (V, S/16, S/16, C) out, as PatchEmbed.

    Args:
        trunk: timm's name of an EfficientNet.
        embed_dim: width C of a token.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, trunk: str, embed_dim: int) -> None:
        super().__init__()
        inner = timm.create_model(trunk, features_only=True, out_indices=(1, 2, 3), pretrained=False)
        del inner.blocks[STAGES:]
        self.inner = freeze_batch_norm_2d(inner)
        before: nn.Module | None = None
        for module in self.inner.modules():
            if isinstance(module, nn.Conv2d):
                before = module
            elif isinstance(module, FrozenBatchNormAct2d):
                # In a tuple, so that the norm is not registered twice; read by ``samis.training.half_weights``.
                vars(before)["frozen_norm"] = (module,)
                module.forward = types.MethodType(_frozen_norm, module)  # type: ignore[method-assign]
                if hasattr(module.act, "inplace"):
                    module.act.inplace = False  # autograd would copy the input before it is overwritten
        fine, middle, coarse = inner.feature_info.channels()
        self.proj = nn.Conv2d(coarse, embed_dim, 1)
        self.from8 = nn.Conv2d(middle, embed_dim, 2, stride=2)
        self.from4 = nn.Conv2d(fine, embed_dim, 4, stride=4)
        # SAM's normalised pixels, (p - mean) / std, become the trunk's, p / 127.5 - 1. On the CPU by name, since a model that
        # is built on the meta device gets only the tensors of its file.
        mean, std = (torch.tensor(values, device="cpu").view(3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
        self.register_buffer("scale", std / 127.5, persistent=False)
        self.register_buffer("shift", mean / 127.5 - 1, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return (V, S/16, S/16, C) tokens."""
        # Channels last: a GPU's convolutions in half precision would copy each input and output to another layout and back, and a
        # CPU's backward pass takes a third less time.
        pixels = torch.addcmul(self.shift, images, self.scale).contiguous(memory_format=torch.channels_last)
        fine, middle, coarse = self.inner(pixels)
        tokens: Tensor = self.proj(coarse) + self.from8(middle) + self.from4(fine)
        # Laid out here if it is not yet: every norm of the blocks would copy a permuted view again.
        return tokens.permute(0, 2, 3, 1).contiguous()

    def load_imagenet(self, trunk: str) -> None:
        """Give the trunk its ImageNet weights.

        Raises:
            UserError: the package that holds them is not installed.
        """
        wanted = self.inner.state_dict()
        weights = load_imagenet(trunk)
        self.inner.load_state_dict({name: weights[name] for name in wanted})


def _frozen_norm(self: FrozenBatchNormAct2d, x: Tensor) -> Tensor:
    """Return what timm's frozen norm does, in one pass and in the precision of `x`.

    Only the activation where the convolution before it has the norm's factors in its own weights for now (``folded``).
    """
    if not getattr(self, "folded", False):
        x = F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps)
    active: Tensor = self.act(x)
    return active
