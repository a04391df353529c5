"""Any method of peft on SAM's layers, held to the promises of every adapter before the first step.

Code: peft (Hugging Face, Apache-2.0) makes, runs, saves and merges the layers; ``samis.adapters.methods`` lists its methods.
Differs: a method that does not start as zero-shot SAM, or that changes the pretrained weights, is refused. The modules are those of
LoRA (``samis.adapters.lora``), with the same split of q, k and v and the same parts that are trained whole; a method for
normalisation layers reaches those of the encoder where ``adapter.encoder`` is not empty, and those of the decoder's transformer
where ``adapter.decoder`` is not.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import types
import warnings
from collections.abc import Sequence
from typing import Any

import peft
import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

from samis.adapters.lora import LoraSam
from samis.adapters.methods import METHODS, REFUSED, Method
from samis.adapters.targets import fuse_qkv
from samis.adapters.unfreeze import is_norm
from samis.config import AdapterConfig
from samis.errors import UserError, did_you_mean

OURS = {"target_modules", "modules_to_save", "exclude_modules", "bias", "layers_to_transform", "layers_pattern"}
"""Options of peft that ``adapter.encoder`` and ``adapter.decoder`` decide, or that would let pretrained biases learn."""
START = 1e-5
"""Largest difference of a layer's output at the start, as a share of its largest value."""


class PeftSam(LoraSam):
    """A SAM with the layers of the method that ``adapter.method`` names. Its folder is peft's own."""

    def wrap(self, lora: LoraConfig) -> PeftModel:
        """Put the method's layers into the Sam, and check that its output is still zero-shot SAM's.

        Args:
            lora: which modules are reached.

        Returns:
            peft's model around the Sam.

        Raises:
            UserError: the method is refused, the installed peft lacks it, an option is unknown, or the start is not zero-shot.
        """
        self.method = find_method(self.config.method)
        reached = self._reached(str(lora.target_modules), tuple(f"{part}." for part in lora.modules_to_save or ()))
        built = method_config(self.config, self.method, [m for m in reached.values() if isinstance(m, nn.Linear)])
        built.target_modules = "|".join(f"(?:{re.escape(name)})" for name in reached)  # type: ignore[attr-defined]
        built.modules_to_save = lora.modules_to_save  # type: ignore[attr-defined]
        before = _sums(reached)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message="Unsupported layer type"
                )  # SAM's norms: the tests hold that they work
                model = get_peft_model(self.sam, built)  # type: ignore[arg-type]
        except (ValueError, TypeError, RuntimeError, NotImplementedError, KeyError, AssertionError) as error:
            raise UserError(
                f"adapter.method={self.config.method}: peft {peft.__version__} cannot put it on these layers "
                f"({_first_line(error)}); change adapter.rank, adapter.options or adapter.encoder",
                code="E-ADAPTER-OPTIONS",
            ) from error
        layers = {name: self.sam.get_submodule(name) for name in reached}
        if self.method.flat:
            for layer in layers.values():
                layer.forward = types.MethodType(_flat_forward, layer)  # type: ignore[method-assign]
        self.sam.eval()
        _check_start(self.config.method, layers, before)
        return model

    def is_new(self, name: str) -> bool:
        """Return whether the named parameter is the method's own, rather than a pretrained one or a copy of it."""
        return not self.method.pretrained and ".modules_to_save." not in name

    def train(self, mode: bool = True) -> PeftSam:
        """Switch the method's layers (their dropout) only."""
        super().train(mode)
        for module in self.sam.modules():
            if isinstance(module, BaseTunerLayer):
                module.train(mode)  # type: ignore[attr-defined]
        return self

    def merged(self) -> dict[str, Tensor]:
        """Return the weights of a stock Sam with the method's change added in, on the CPU, for a strict load.

        Raises:
            UserError: peft cannot merge this method.
        """
        if not self.method.merges:
            raise UserError(
                f"adapter.method={self.config.method}: peft cannot merge it into SAM's weights; keep the run folder, or "
                "tune with adapter.name=lora",
                code="E-ADAPTER-NOT-MERGED",
            )
        model = copy.deepcopy(self._peft[0])
        # Unloading a part that was trained whole, peft looks for the weight of a layer in it; LoRA's own unloading does not.
        for name, module in list(model.named_modules()):
            if isinstance(module, ModulesToSaveWrapper):
                parent, _, child = name.rpartition(".")
                setattr(model.get_submodule(parent), child, module.modules_to_save["default"])
        plain = model.merge_and_unload()
        return fuse_qkv({name: tensor.detach().cpu().clone() for name, tensor in plain.state_dict().items()})

    def _weights(self) -> dict[str, Tensor]:
        """Return what is saved: a tensor that several layers share once, under its first name."""
        first: dict[tuple[Any, ...], str] = {}
        weights = super()._weights()
        for name, tensor in weights.items():
            first.setdefault((tensor.data_ptr(), tensor.shape) if tensor.numel() else (name,), name)
        return {name: weights[name] for name in first.values()}

    def _reached(self, pattern: str, whole: tuple[str, ...]) -> dict[str, nn.Module]:
        """Return name -> module that the method changes: linear layers, or norms outside what is trained whole."""
        if not self.method.norms:
            return {name: each for name, each in self.sam.named_modules() if re.fullmatch(pattern, name)}
        roots = {f"{self.targets.encoder_root}.": self.config.encoder, "mask_decoder.transformer.": self.config.decoder}
        start = tuple(root for root, words in roots.items() if words)
        norms = {name: m for name, m in self.sam.named_modules() if is_norm(m) and name.startswith(start)}
        return {name: m for name, m in norms.items() if not (whole and name.startswith(whole))}


def find_method(name: str) -> Method:
    """Return the method of a name.

    Args:
        name: of a method of peft, as peft writes it in lower case.

    Raises:
        UserError: it is refused, unknown, or the installed peft lacks it.
    """
    if name in REFUSED:
        raise UserError(
            f"adapter.method={name}: {REFUSED[name]}; choose one of {', '.join(METHODS)}", code="E-ADAPTER-METHOD"
        )
    if name not in METHODS:
        raise UserError(
            f"adapter.method: expected one of {', '.join(METHODS)}, got {name!r}{did_you_mean(name, METHODS)}",
            code="E-ADAPTER-METHOD",
        )
    method = METHODS[name]
    if not hasattr(peft, method.config):
        raise UserError(
            f"adapter.method={name}: the installed peft {peft.__version__} lacks it; pip install -U peft, or choose lora",
            code="E-ADAPTER-PEFT",
        )
    return method


def method_config(config: AdapterConfig, method: Method, layers: Sequence[nn.Linear]) -> PeftConfig:
    """Return peft's configuration of a method, without its modules.

    Args:
        config: ours.
        method: that ours names.
        layers: the linear layers that it will change.

    Raises:
        UserError: an option that the method lacks, or a value that peft refuses.
    """
    made = getattr(peft, method.config)
    known = (
        {each.name for each in dataclasses.fields(made)} - {each.name for each in dataclasses.fields(PeftConfig)} - OURS
    )
    for key in config.options:
        if key in OURS:
            raise UserError(
                f"adapter.options.{key}: adapter.encoder and adapter.decoder set it; take it out of adapter.options",
                code="E-ADAPTER-OPTIONS",
            )
        if key not in known:
            raise UserError(
                f"adapter.options: {config.method} has no option {key!r}"
                f"{did_you_mean(str(key), known) or '; known are ' + ', '.join(sorted(known))}",
                code="E-ADAPTER-OPTIONS",
            )
    if config.dropout and not method.dropout:
        raise UserError(
            f"adapter.dropout: {config.method} has no dropout, got {config.dropout}; set 0", code="E-ADAPTER-OPTIONS"
        )
    own = {"rank": config.rank, "alpha": config.alpha, "dropout": config.dropout}
    settings = {option: own[key] for key in own if (option := getattr(method, key)) in known}
    settings |= method.options | (method.fit(layers) if method.fit else {}) | config.options
    try:
        return made(**settings)  # type: ignore[no-any-return]
    except (ValueError, TypeError) as error:
        raise UserError(
            f"adapter.options: peft's {config.method} refuses {settings}: {_first_line(error)}; change them",
            code="E-ADAPTER-OPTIONS",
        ) from error


def _sums(modules: dict[str, nn.Module]) -> dict[str, list[float]]:
    """Return sum and sum of magnitudes of each module's own parameters, by which a change is noticed without a copy."""
    return {
        name: [
            float(value)
            for p in module.parameters()
            for value in (p.detach().double().sum(), p.detach().double().abs().sum())
        ]
        for name, module in modules.items()
        if not any(p.is_meta for p in module.parameters())
    }


def _check_start(method: str, layers: dict[str, nn.Module], before: dict[str, list[float]]) -> None:
    """Refuse a method that changed the pretrained weights, or whose layers do not yet compute what SAM's do.

    Raises:
        UserError: names the layer.
    """
    bases = {
        name: layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer for name, layer in layers.items()
    }
    after = _sums(bases)
    for name in before:
        if after[name] != before[name]:
            raise UserError(
                f"adapter.method={method}: with these options it changes SAM's weights in {name}, so that switched off it is "
                "not zero-shot SAM; take init_lora_weights and the like out of adapter.options",
                code="E-ADAPTER-START",
            )
        layer, base = layers[name], bases[name]
        if isinstance(base, nn.Linear):
            x = torch.randn(1, 3, base.in_features, generator=torch.Generator().manual_seed(0))
            x = x.to(base.weight.device, base.weight.dtype)
            with torch.no_grad():
                plain = base(x)
                change = (layer(x) - plain).abs().max() / plain.abs().max().clamp_min(1e-6)
            if not float(change) <= START:
                raise UserError(
                    f"adapter.method={method}: with these options it does not start as zero-shot SAM ({name} changes by "
                    f"{float(change):.2g}); take init_weights and the like out of adapter.options",
                    code="E-ADAPTER-START",
                )


def _flat_forward(self: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Let a layer see (B, N, C) in place of (B, h, w, C)."""
    if x.ndim <= 3:
        result: Tensor = type(self).forward(self, x, *args, **kwargs)
        return result
    out: Tensor = type(self).forward(self, x.flatten(1, -2), *args, **kwargs)
    return out.reshape(*x.shape[:-1], out.shape[-1])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
