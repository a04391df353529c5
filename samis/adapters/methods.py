"""peft's methods by name: the settings by which each starts as zero-shot SAM, and why the others are refused.

Code: peft (Hugging Face, Apache-2.0) has every method; which of them keep the adapters' promises on SAM is held by
``tests/unit/adapters/test_peft_methods.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

Settings = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One method of peft.

    Attributes:
        config: name of its configuration class in peft.
        rank: option that ``adapter.rank`` sets; empty where the method has no rank, or one of its own order.
        alpha: option that ``adapter.alpha`` sets; empty where there is none.
        dropout: option that ``adapter.dropout`` sets; empty where there is none.
        options: what differs from peft's defaults, such as a start at zero-shot.
        fit: returns further options from the linear layers that are reached, such as a block that divides their widths.
        norms: whether it reaches normalisation layers in place of linear ones.
        flat: whether its layers read a 4-D input as a picture: SAM's windows are made 3-D for them.
        pretrained: whether it learns pretrained values (at ``optim.pretrained_lr_scale``) rather than new ones.
        merges: whether peft can fold it into the pretrained weights.
    """

    config: str
    rank: str = ""
    alpha: str = ""
    dropout: str = ""
    options: Settings = field(default_factory=dict)
    fit: Callable[[Sequence[nn.Linear]], Settings] | None = None
    norms: bool = False
    flat: bool = False
    pretrained: bool = False
    merges: bool = True


def _divisor(option: str, largest: int, *, outputs: bool = True, inputs: bool = True) -> Callable[..., Settings]:
    """Return a ``fit`` that sets `option` to the largest divisor of `largest` and of every width."""

    def fit(layers: Sequence[nn.Linear]) -> Settings:
        widths = [layer.in_features for layer in layers] if inputs else []
        widths += [layer.out_features for layer in layers] if outputs else []
        return {option: math.gcd(largest, *widths)}

    return fit


def _at_most(option: str, many: int) -> Callable[..., Settings]:
    """Return a ``fit`` that sets `option` to `many`, or to the number of weights of the smallest layer."""

    def fit(layers: Sequence[nn.Linear]) -> Settings:
        return {option: min([many, *(layer.in_features * layer.out_features for layer in layers)])}

    return fit


METHODS: dict[str, Method] = {
    "lora": Method("LoraConfig", "r", "lora_alpha", "lora_dropout"),
    "dora": Method("LoraConfig", "r", "lora_alpha", "lora_dropout", {"use_dora": True}),
    "rslora": Method("LoraConfig", "r", "lora_alpha", "lora_dropout", {"use_rslora": True}),
    "adamss": Method("AdamssConfig", "r"),
    "beft": Method("BeftConfig"),
    "boft": Method("BOFTConfig", dropout="boft_dropout", fit=_divisor("boft_block_size", 4, outputs=False)),
    "c3a": Method("C3AConfig", options={"init_weights": True}, fit=_divisor("block_size", 256)),
    "deft": Method("DeftConfig", "r", "alpha", "deft_dropout"),
    "delora": Method("DeloraConfig", "r", dropout="module_dropout"),
    "fourierft": Method("FourierFTConfig", options={"init_weights": True}, fit=_at_most("n_frequency", 1000)),
    "glora": Method("GloraConfig", "r"),
    "gralora": Method("GraloraConfig", "r", "alpha", "gralora_dropout", flat=True),
    "hira": Method("HiraConfig", "r", dropout="hira_dropout"),
    "hra": Method("HRAConfig", "r"),
    "ia3": Method("IA3Config", options={"feedforward_modules": r".*\.lin2"}),
    "lily": Method("LilyConfig", "r", merges=False),
    "ln_tuning": Method("LNTuningConfig", norms=True, pretrained=True),
    "loha": Method("LoHaConfig", "r", "alpha", "module_dropout"),
    "lokr": Method("LoKrConfig", "r", "alpha", "module_dropout"),
    "miss": Method("MissConfig", "r", dropout="miss_dropout"),
    "oft": Method(
        "OFTConfig",
        dropout="module_dropout",
        options={"r": 0},
        fit=_divisor("oft_block_size", 32, outputs=False),
        flat=True,
    ),
    "osf": Method("OSFConfig", pretrained=True),
    "peanut": Method("PeanutConfig", "r"),
    "psoft": Method("PsoftConfig", "r", dropout="psoft_dropout"),
    "pvera": Method("PveraConfig", dropout="pvera_dropout"),
    "randlora": Method("RandLoraConfig", "r", dropout="randlora_dropout"),
    "road": Method("RoadConfig", fit=_divisor("group_size", 64, inputs=False)),
    "shira": Method("ShiraConfig", "r", options={"random_seed": 0}),
    "supertuning": Method("SupertuningConfig"),
    "tinylora": Method("TinyLoraConfig", dropout="tinylora_dropout"),
    "vera": Method("VeraConfig", dropout="vera_dropout"),
    "waveft": Method("WaveFTConfig", fit=_at_most("n_frequency", 2592)),
}
"""Methods that start as zero-shot SAM with these settings."""

_LANGUAGE = "it adds tokens to the input of a language model"
REFUSED: dict[str, str] = {
    "adalora": "it moves ranks between layers during training by calls that need its own loss and schedule",
    "pissa": "it takes its factors out of the pretrained weights, so that switched off it is not zero-shot SAM",
    "olora": "it takes its factors out of the pretrained weights, so that switched off it is not zero-shot SAM",
    "qlora": "a base in 4 bits is not supported yet",
    "frod": "its one projection fits layers of one width alone",
    "poly": "it needs the number of a task with every image",
    "shadow": "it needs the decoder blocks of a language model",
    "trainable_tokens": "it learns rows of a table of tokens, which SAM's layers are not",
    "unilora": "started at zero it would never learn, and started as peft does it changes SAM's masks",
    "vblora": "started at zero it would never learn, and started as peft does it changes SAM's masks",
    "xlora": "it mixes adapters that were trained before",
    "adaption_prompt": _LANGUAGE,
    "cartridge": _LANGUAGE,
    "cpt": _LANGUAGE,
    "multitask_prompt_tuning": _LANGUAGE,
    "p_tuning": _LANGUAGE,
    "prefix_tuning": _LANGUAGE,
    "prompt_tuning": _LANGUAGE,
}
"""Methods that cannot keep the adapters' promises, with the reason."""
