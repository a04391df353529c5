"""Writes a LoRA folder that peft loads onto a stock Sam: factors of q, k and v are joined into factors of the fused qkv.

With A_p and B_p the factors of part p, the fused layer's are A = [A_q; A_v ...] and B with B_p in the rows of p and the columns
of A_p, zero elsewhere: the same update, of as many times the rank as parts are adapted. alpha grows so that the scaling stays.
DoRA's magnitude of a part that is not adapted is the norm of its own rows, which leaves it as it is.
"""

from __future__ import annotations

import copy
import math
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samis.adapters.adapted import WEIGHTS, AdaptedSam
from samis.adapters.lora import LoraSam
from samis.core.weight_files import write_tensors

_PART = re.compile(
    r"(?P<layer>.*\.qkv)\.(?P<part>[qkv])\.(?P<what>lora_A\.weight|lora_B\.weight|lora_magnitude_vector)"
)


def save_for_stock(adapted: LoraSam, folder: Path) -> None:
    """Write the adapter's folder, for a stock Sam without ``split_qkv``."""
    adapted.save(folder)
    reach = adapted.targets.encoder
    parts = [part for part in "qkv" if part in adapted.config.encoder and part in adapted.targets.splits]
    if not parts:
        return
    weights = {name: tensor.detach().cpu() for name, tensor in adapted._weights().items()}
    write_tensors(
        {name: tensor.contiguous() for name, tensor in fuse_factors(weights, adapted).items()}, folder / WEIGHTS
    )
    config = copy.deepcopy(adapted._peft[0].peft_config["default"])
    for part in parts:
        config.target_modules = config.target_modules.replace(f"(?:{reach[part]})", f"(?:{reach['qkv']})")
    count, c = len(parts), adapted.config
    config.rank_pattern = {reach["qkv"]: count * c.rank}
    config.alpha_pattern = {reach["qkv"]: c.alpha * (math.sqrt(count) if c.rslora else count)}
    config.inference_mode = True
    config.save_pretrained(str(folder))


def fuse_factors(weights: dict[str, Tensor], adapted: AdaptedSam) -> dict[str, Tensor]:
    """Return peft's tensors with those of q, k and v joined under the name of the fused layer."""
    fused: dict[str, Tensor] = {}
    layers: dict[str, dict[tuple[str, str], Tensor]] = {}
    for name, tensor in weights.items():
        match = _PART.fullmatch(name)
        if match is None:
            fused[name] = tensor
        else:
            layers.setdefault(match["layer"], {})[match["part"], match["what"]] = tensor
    for layer, tensors in layers.items():
        parts = [part for part in "qkv" if (part, "lora_A.weight") in tensors]
        down = [tensors[part, "lora_A.weight"] for part in parts]
        rank, width = len(down[0]), len(tensors[parts[0], "lora_B.weight"])
        up = torch.zeros(3 * width, len(parts) * rank)
        for place, part in enumerate(parts):
            row = "qkv".index(part) * width
            up[row : row + width, place * rank : (place + 1) * rank] = tensors[part, "lora_B.weight"]
        fused[f"{layer}.lora_A.weight"], fused[f"{layer}.lora_B.weight"] = torch.cat(down), up
        if (parts[0], "lora_magnitude_vector") in tensors:
            own = adapted.sam.get_submodule(layer.removeprefix("base_model.model."))
            norms = [tensors.get((part, "lora_magnitude_vector"), _norms(getattr(own, part))) for part in "qkv"]
            fused[f"{layer}.lora_magnitude_vector"] = torch.cat([norm.flatten() for norm in norms])
    return fused


def _norms(linear: Any) -> Tensor:
    weight: Tensor = getattr(linear, "base_layer", linear).weight
    return weight.detach().cpu().norm(dim=1)
