"""Low-rank adapters through peft, on anchored groups of SAM's linears; DoRA and rank-stabilised scaling are options.

Paper: Hu et al., LoRA, ICLR 2022 (arXiv 2106.09685); Liu et al., DoRA, ICML 2024 (arXiv 2402.09353); Kalajdzievski, A
Rank Stabilization Scaling Factor for Fine-Tuning with LoRA, 2023 (arXiv 2312.03732).
Code: peft (Hugging Face, Apache-2.0) makes, runs, saves and merges the low-rank layers.
Differs: SAM's fused qkv linear is split first where q, k or v is listed, since peft would share one input factor
among them and adapt k too. With ``adapter.decoder: [full]`` the decoder's path to mask 0 is trained whole, as peft's
``modules_to_save``; so are the encoder's ``stem`` and ``neck`` where ``adapter.encoder`` names them. Always frozen:
prompt encoder, IoU head and token, tokens and hypernetworks of masks 1 to 3.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import Linear, LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from samis.adapters.adapted import AdaptedSam
from samis.adapters.low_rank import use_few_products
from samis.adapters.targets import check_words, fuse_qkv, keep_rows_1_to_3, split_qkv
from samis.adapters.whole import WholeWeights
from samis.config import AdapterConfig
from samis.core.targets import STOCK, AdapterTargets
from samis.errors import UserError


class LoraSam(AdaptedSam):
    """A SAM with low-rank adapters. Its folder is peft's own: ``PeftModel.from_pretrained(sam, folder)`` reads it too.

    If the adapter reaches q, k or v, that Sam must have gone through ``samis.adapters.split_qkv`` first.
    """

    def __init__(self, sam: nn.Module, config: AdapterConfig, **base: Any) -> None:
        super().__init__(sam, config, **base)
        lora = lora_config(config, self.targets)
        if self.targets.splits & set(config.encoder):
            split_qkv(sam, self.targets)
        self._peft: tuple[PeftModel] = (self.wrap(lora),)  # a tuple, so that the Sam is not registered twice
        for layer in self.sam.modules():
            if isinstance(layer, LoraLayer):
                # peft would take the input to float32 first, and autocast back, in both halves of the layer.
                layer.cast_input_dtype_enabled = False
                layer.register_forward_pre_hook(_cast_once)  # type: ignore[attr-defined]
            if isinstance(layer, Linear):
                use_few_products(layer)
        self._whole = WholeWeights(self.sam)
        if config.decoder == ["full"] and not self.targets.tokens_whole:
            keep_rows_1_to_3(sam.get_submodule(self.targets.mask_tokens).weight)  # type: ignore[arg-type]
        self.sam.eval()

    def wrap(self, lora: LoraConfig) -> PeftModel:
        """Put peft's layers into the Sam.

        Args:
            lora: which modules are reached, and the low-rank layers' options.

        Returns:
            peft's model around the Sam.
        """
        return get_peft_model(self.sam, lora)  # type: ignore[arg-type]

    def is_new(self, name: str) -> bool:
        """Return whether the named parameter is a low-rank factor or a DoRA magnitude."""
        return ".lora_" in name

    def train(self, mode: bool = True) -> LoraSam:
        """Switch the low-rank layers (their dropout) only."""
        super().train(mode)
        for module in self.sam.modules():
            if isinstance(module, LoraLayer):
                module.train(mode)  # type: ignore[attr-defined]
        return self

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Switch the adapter off: inside, SAM answers as before tuning, bit for bit."""
        with self._peft[0].disable_adapter():
            yield

    def whole_weights(self, dtype: torch.dtype) -> AbstractContextManager[set[nn.Module]]:
        """Return a block in which small layers use one weight each (``samis.adapters.whole``)."""
        return self._whole.swapped(dtype)

    def full_precision(self) -> set[nn.Module]:
        """Return the layers that are more than a linear and two factors: DoRA takes norms of weights, others their products."""
        layers = [layer for layer in self.sam.modules() if isinstance(layer, BaseTunerLayer)]
        plain = [layer for layer in layers if isinstance(layer, Linear) and not len(layer.lora_magnitude_vector)]
        return {part for layer in layers if layer not in plain for part in layer.modules()}  # type: ignore[attr-defined]

    def merged(self) -> dict[str, Tensor]:
        """Return the weights of a stock Sam with the low-rank updates added in, on the CPU, for a strict load."""
        plain = copy.deepcopy(self._peft[0]).merge_and_unload()
        return fuse_qkv({name: tensor.detach().cpu().clone() for name, tensor in plain.state_dict().items()})

    def save(self, folder: Path) -> None:
        """Write peft's ``adapter_model.safetensors`` and ``adapter_config.json``, and the record of the base."""
        super().save(folder)
        config = copy.copy(self._peft[0].peft_config["default"])
        config.inference_mode = True
        config.save_pretrained(str(folder))

    def _weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = get_peft_model_state_dict(self._peft[0], save_embedding_layers=False)
        return weights

    def _set_weights(self, weights: dict[str, Tensor]) -> None:
        set_peft_model_state_dict(self._peft[0], weights)


def _cast_once(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Cast a layer's input as autocast would do for the base layer and for the low-rank factors."""
    x = inputs[0]
    kind = x.device.type
    return (x.to(torch.get_autocast_dtype(kind)), *inputs[1:]) if torch.is_autocast_enabled(kind) else inputs


def lora_config(config: AdapterConfig, targets: AdapterTargets = STOCK) -> LoraConfig:
    """Return peft's configuration for ours.

    Raises:
        UserError: unknown modules, none at all, or ones that exclude each other.
    """
    full = config.decoder == ["full"]
    check_words(config.encoder, [*targets.encoder, *targets.encoder_whole], key="adapter.encoder")
    check_words([] if full else config.decoder, [*targets.decoder], key="adapter.decoder (or [full] alone)")
    if "qkv" in config.encoder and {"q", "k", "v"} & set(config.encoder):
        raise UserError(
            f"adapter.encoder: expected qkv or some of q, k, v, got both in {config.encoder}; keep one kind",
            code="E-ADAPTER-CONFLICT",
        )
    whole = [targets.encoder_whole[word] for word in config.encoder if word in targets.encoder_whole]
    reach = [targets.encoder[word] for word in config.encoder if word in targets.encoder] + (
        [] if full else [targets.decoder[word] for word in config.decoder]
    )
    if not reach:
        hint = "adapter.name=unfreeze trains the decoder alone" if full else "e.g. adapter.decoder=[attention]"
        raise UserError(
            f"adapter: lora needs linear layers in adapter.encoder or adapter.decoder, got none; {hint}",
            code="E-ADAPTER-NO-LAYERS",
        )
    if config.rank < 1:
        raise UserError(f"adapter.rank: expected at least 1, got {config.rank}; set e.g. 8", code="E-ADAPTER-RANGE")
    if not 0 <= config.dropout < 1:
        raise UserError(
            f"adapter.dropout: expected a share in [0, 1), got {config.dropout}; set e.g. 0", code="E-ADAPTER-RANGE"
        )
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        use_dora=config.dora,
        use_rslora=config.rslora,
        target_modules="|".join(f"(?:{pattern})" for pattern in reach),
        modules_to_save=whole + (list(targets.mask_0) if full else []) or None,
        bias="none",
    )
