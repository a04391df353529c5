"""Bottleneck adapters: a narrow two-layer network added behind attention or MLP, the identity at the start.

Paper: Houlsby et al., Parameter-Efficient Transfer Learning for NLP, ICML 2019 (arXiv 1902.00751), section 2.1.
Differs: the pretrained layer norms stay frozen, and the up-projection starts at zero, so that SAM answers as before
until the first step. ``adapter.encoder``: proj (behind attention), mlp; ``adapter.decoder``: attention, mlp, or [full]
to tune the decoder's path to mask 0 itself. Always frozen: prompt encoder, IoU head and token, tokens and hypernetworks
of masks 1 to 3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from samis.adapters.adapted import AdaptedSam
from samis.adapters.targets import check_words
from samis.adapters.unfreeze import decoder_names
from samis.config import AdapterConfig
from samis.errors import UserError

_ENCODER = {"proj": r"image_encoder\.blocks\.\d+\.attn", "mlp": r"image_encoder\.blocks\.\d+\.mlp"}
_DECODER = {
    "attention": (
        r"mask_decoder\.transformer\.(layers\.\d+\.(self_attn|cross_attn_token_to_image|cross_attn_image_to_token)"
        r"|final_attn_token_to_image)"
    ),
    "mlp": r"mask_decoder\.transformer\.layers\.\d+\.mlp",
}


class Bottleneck(nn.Module):
    """x + up(GELU(down(x))), with `up` zero at the start.

    Args:
        channels: width of the tokens.
        width: of the inner layer.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(channels, width)
        self.up = nn.Linear(width, channels)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        self.enabled = True

    def forward(self, x: Tensor) -> Tensor:
        """Return adapted (..., channels) tokens."""
        if not self.enabled:
            return x
        added: Tensor = self.up(F.gelu(self.down(x)))
        return x + added


class BottleneckSam(AdaptedSam):
    """A SAM with bottleneck adapters; every pretrained parameter keeps its name."""

    def __init__(self, sam: nn.Module, config: AdapterConfig, **base: Any) -> None:
        super().__init__(sam, config, **base)
        if not self.targets.bottleneck:
            raise UserError(
                "adapter.name: expected lora or unfreeze for a SAM of this family, got bottleneck, whose layers fit "
                "segment_anything's modules alone; set adapter.name=lora",
                code="E-ADAPTER-FAMILY",
            )
        full = config.decoder == ["full"]
        check_words(config.encoder, list(_ENCODER), key="adapter.encoder of a bottleneck adapter")
        check_words([] if full else config.decoder, [*_DECODER], key="adapter.decoder of a bottleneck adapter")
        reach = [_ENCODER[word] for word in config.encoder]
        reach += [] if full else [_DECODER[word] for word in config.decoder]
        if not reach:
            raise UserError(
                "adapter: a bottleneck needs modules; set adapter.encoder or adapter.decoder, e.g. [mlp]",
                code="E-ADAPTER-NO-LAYERS",
            )
        if config.width < 1:
            raise UserError(
                f"adapter.width: expected at least 1, got {config.width}; set e.g. 16", code="E-ADAPTER-RANGE"
            )
        hosts = [(n, m) for n, m in sam.named_modules() if any(re.fullmatch(pattern, n) for pattern in reach)]
        for _, host in hosts:
            last = [layer for layer in host.children() if isinstance(layer, nn.Linear)][-1]
            reference = last.weight
            inner = Bottleneck(last.out_features, config.width).to(reference.device, reference.dtype)
            host.add_module("bottleneck", inner)
            host.register_forward_hook(_adapt)
        if full:
            self.tune(decoder_names(sam, self.targets))

    def is_new(self, name: str) -> bool:
        """Return whether the named parameter is a bottleneck's."""
        return ".bottleneck." in name

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Switch the adapters off: inside, SAM answers as before tuning, bit for bit."""
        inner = [module for module in self.sam.modules() if isinstance(module, Bottleneck)]
        for module in inner:
            module.enabled = False
        try:
            with super().disabled():
                yield
        finally:
            for module in inner:
                module.enabled = True

    def merged(self) -> dict[str, Tensor]:
        """Refuse: a bottleneck is a nonlinear layer more, which a stock Sam has no place for.

        Raises:
            UserError: always.
        """
        raise UserError(
            "adapter: a bottleneck cannot be folded into a stock SAM; tune with lora or unfreeze to export one",
            code="E-ADAPTER-NOT-MERGED",
        )


def _adapt(host: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
    adapted: Tensor = host.bottleneck(output)  # type: ignore[operator]
    return adapted
