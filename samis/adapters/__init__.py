"""Adapters by name: what of SAM is tuned, and how it is switched off, saved and merged."""

from __future__ import annotations

from torch import nn

from samis.adapters.adapted import AdaptedSam, read_record
from samis.adapters.bottleneck import BottleneckSam
from samis.adapters.lora import LoraSam
from samis.adapters.peft_method import PeftSam
from samis.adapters.targets import check_words, split_qkv, with_all_masks
from samis.adapters.unfreeze import UnfrozenSam
from samis.config import AdapterConfig
from samis.core.targets import STOCK, AdapterTargets

__all__ = ["ADAPTERS", "AdaptedSam", "apply_adapter", "read_record", "split_qkv"]

ADAPTERS: dict[str, type[AdaptedSam]] = {
    "lora": LoraSam,
    "bottleneck": BottleneckSam,
    "unfreeze": UnfrozenSam,
    "peft": PeftSam,
    "none": AdaptedSam,
}


def apply_adapter(
    sam: nn.Module,
    config: AdapterConfig,
    *,
    architecture: str | None = None,
    weights_sha256: str | None = None,
    targets: AdapterTargets = STOCK,
) -> AdaptedSam:
    """Freeze a Sam and give it the adapter that `config` names.

    Args:
        sam: changed in place; run the returned object's ``sam``.
        config: which adapter, and which modules it reaches.
        architecture: of the base, recorded in the adapter's folder.
        weights_sha256: of the base, likewise.
        targets: modules of the model's family that adapters may reach; segment_anything's by default.

    Raises:
        UserError: no such adapter, or modules that it cannot reach.
    """
    check_words([config.name], list(ADAPTERS), key="adapter.name")
    if config.all_masks:
        targets = with_all_masks(sam, config, targets)
    base = {"architecture": architecture, "weights_sha256": weights_sha256}
    return ADAPTERS[config.name](sam, config, **base, targets=targets)
