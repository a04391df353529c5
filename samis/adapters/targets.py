"""Names groups of SAM's modules for the adapters: anchored expressions, the mask-0 path, the split of the fused qkv.

Names are matched whole, from ``image_encoder`` or ``mask_decoder`` on. Suffixes are not unique: ``proj`` is also the
convolution that cuts the patches, and ``lin1`` is in encoder and decoder alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from samis.config import AdapterConfig
from samis.core.targets import STOCK, AdapterTargets
from samis.errors import UserError, near_name


class SplitQkv(nn.Module):
    """The fused qkv linear as three linears, so that q and v can be adapted without k and each with factors of its own.

    Where no adapter is at work the three are multiplied as one, which gives the fused layer's values bit for bit.
    """

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        self.q, self.k, self.v = (_part(fused, i) for i in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., 3 C), as the fused layer does for (..., C)."""
        plain: list[Any] = [_without_adapter(part) for part in (self.q, self.k, self.v)]
        if all(type(part) is nn.Linear for part in plain):
            bias = None if plain[0].bias is None else torch.cat([part.bias for part in plain])
            return F.linear(x, torch.cat([part.weight for part in plain]), bias)
        return torch.cat([self.q(x), self.k(x), self.v(x)], dim=-1)


def _part(fused: nn.Linear, index: int) -> nn.Linear:
    width = fused.out_features // 3
    rows = slice(index * width, (index + 1) * width)
    part = nn.Linear(fused.in_features, width, bias=fused.bias is not None, device="meta")
    part.weight = nn.Parameter(fused.weight.detach()[rows].clone(), requires_grad=fused.weight.requires_grad)
    if fused.bias is not None:
        part.bias = nn.Parameter(fused.bias.detach()[rows].clone(), requires_grad=fused.bias.requires_grad)
    return part


def _without_adapter(part: nn.Module) -> nn.Module:
    return part.base_layer if getattr(part, "disable_adapters", False) else part  # type: ignore[return-value]


def split_qkv(sam: nn.Module, targets: AdapterTargets = STOCK) -> nn.Module:
    """Replace every encoder block's fused ``qkv`` linear by a ``SplitQkv``, in place; return the Sam.

    A stock Sam needs this before peft can load an adapter folder that reaches q, k or v.

    Args:
        sam: the model.
        targets: of its family, which say where fused layers are.
    """
    fused = [name for name, each in sam.named_modules() if isinstance(each, nn.Linear)]
    for name in fused:
        if re.fullmatch(targets.fused, name):
            owner, _, attribute = name.rpartition(".")
            setattr(sam.get_submodule(owner), attribute, SplitQkv(sam.get_submodule(name)))  # type: ignore[arg-type]
    return sam


def fuse_qkv(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a Sam's weights with ``qkv.q``, ``qkv.k`` and ``qkv.v`` joined under stock SAM's name ``qkv``.

    >>> sorted(fuse_qkv({f"a.qkv.{p}.weight": torch.ones(2, 2) for p in "qkv"})["a.qkv.weight"].shape)
    [2, 6]
    """
    fused: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        match = re.fullmatch(r"(.*\.qkv)\.([qkv])\.(weight|bias)", name)
        if match is None:
            fused[name] = tensor
        elif match[2] == "q":
            parts = [weights[f"{match[1]}.{part}.{match[3]}"] for part in "qkv"]
            fused[f"{match[1]}.{match[3]}"] = torch.cat(parts)
    return fused


def keep_rows_1_to_3(mask_tokens: nn.Parameter) -> None:
    """Freeze the tokens of masks 1 to 3: their rows of the (4, C) table get gradient zero, and tokens never decay."""

    def only_row_0(gradient: Tensor) -> Tensor:
        kept = torch.zeros_like(gradient)
        kept[0] = gradient[0]
        return kept

    mask_tokens.register_hook(only_row_0)  # type: ignore[no-untyped-call]


def owned_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Yield (name, owning module, parameter) of every parameter below a module; one that several modules share comes once."""
    seen = set[nn.Parameter]()
    for prefix, owner in module.named_modules():
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                yield f"{prefix}.{name}" if prefix else name, owner, parameter


def decays(owner: nn.Module, name: str) -> bool:
    """Return whether a parameter decays: linears' and convolutions' matrices do; norms, biases, tokens do not."""
    matrix = isinstance(owner, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
    return matrix and name.rpartition(".")[2] == "weight"


def check_words(words: list[str], known: list[str], *, key: str) -> None:
    """Refuse a word that is not among the known ones.

    Args:
        words: as the config has them.
        known: the words that are allowed.
        key: of the config, for the message.

    Raises:
        UserError: names the key, the word and the nearest known word.
    """
    for word in words:
        if word not in known:
            raise UserError(f"{key}: unknown name {word!r}; {_proposal(word, known)}", code="E-ADAPTER-NAME")


def _proposal(word: str, known: list[str]) -> str:
    near = near_name(word, known)
    return f"did you mean {near}?" if near else f"known are {', '.join(known)}"


def with_all_masks(sam: nn.Module, config: AdapterConfig, targets: AdapterTargets) -> AdapterTargets:
    """Return targets whose decoder part has masks 1 to 3, their tokens and the IoU head too.

    Args:
        sam: the model.
        config: with ``all_masks``.
        targets: of the model's family.

    Raises:
        UserError: the adapter does not train the decoder whole, or the family's decoder has other modules.
    """
    whole = config.preset != "norm" if config.name == "unfreeze" else config.decoder == ["full"]
    if config.name == "none" or not whole:
        raise UserError(
            "adapter.all_masks: expected a decoder that is trained whole; set adapter.decoder=[full], or adapter.name=unfreeze "
            "with preset decoder or full",
            code="E-ADAPTER-CONFLICT",
        )
    root = targets.mask_tokens.rpartition(".")[0]
    more = [f"{name[:-1]}{number}" for name in targets.mask_0 if name.endswith(".0") for number in "123"]
    more += [f"{root}.iou_token", f"{root}.iou_prediction_head"]
    known = {name for name, _ in sam.named_modules()}
    if len(more) < 5 or not set(more) <= known:
        raise UserError(
            "adapter.all_masks: expected a decoder with four hypernetworks and an IoU head, which this family lacks; set false",
            code="E-ADAPTER-FAMILY",
        )
    return replace(targets, mask_0=(*targets.mask_0, *more), tokens_whole=True)
