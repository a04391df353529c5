"""Tuning pretrained weights themselves, by preset: decoder, norm or full.

Differs from plain fine-tuning: the prompt encoder, the IoU head, the IoU token, and the tokens and hypernetworks of
masks 1 to 3 stay frozen in every preset (row 0 of the mask tokens is trained where the preset reaches it). The originals of
the tuned weights are kept on the CPU, so that ``disabled`` can restore them.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from samis.adapters.adapted import AdaptedSam
from samis.adapters.targets import check_words
from samis.config import AdapterConfig
from samis.core.targets import STOCK, AdapterTargets

PRESETS = {
    "decoder": "the mask decoder's path to mask 0",
    "norm": "every normalisation layer of the image encoder and of that path",
    "full": "the image encoder and that path",
}


class UnfrozenSam(AdaptedSam):
    """A SAM whose pretrained parameters of one of ``PRESETS`` are trained."""

    def __init__(self, sam: nn.Module, config: AdapterConfig, **base: Any) -> None:
        super().__init__(sam, config, **base)
        check_words([config.preset], list(PRESETS), key="adapter.preset")
        names = decoder_names(sam, self.targets)
        if config.preset != "decoder":
            encoder = f"{self.targets.encoder_root}."
            names = [name for name, _ in sam.named_parameters() if name.startswith(encoder)] + names
        if config.preset == "norm":
            norms = tuple(f"{name}." for name, module in sam.named_modules() if is_norm(module))
            names = [name for name in names if name.startswith(norms)]
        self.tune(names)


def decoder_names(sam: nn.Module, targets: AdapterTargets = STOCK) -> list[str]:
    """Return the names of the parameters on the mask decoder's path to mask 0."""
    reach = tuple(f"{module}." for module in targets.mask_0)
    return [name for name, _ in sam.named_parameters() if name.startswith(reach)]


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a normalisation layer, SAM's own LayerNorm2d among them."""
    return isinstance(module, nn.LayerNorm | nn.GroupNorm) or type(module).__name__ == "LayerNorm2d"
