"""What segmenter, tuning, cache and jobs need of a SAM of any family; everything else about a family is in its own file.

A model is the plain module of its library (segment_anything's ``Sam``, transformers' ``Sam2Model``), so that adapters, adapter
folders and merged weights have that library's names. It carries its ``Family``, whose methods take it as first argument.
Embeddings of all levels travel as one tensor of (L, 1, 1) or (C, g, g) values a view, which a cache can keep without knowing more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from samis.core.contracts import Prompt
from samis.core.targets import AdapterTargets

if TYPE_CHECKING:
    from samis.sam.forward import SamOutput

_KEY = "_samis_family"


@dataclass(frozen=True)
class Licence:
    """The licence of a family's official weights.

    Attributes:
        name: as a person reads it.
        spdx: identifier for a model card's header, "other" where there is none.
        url: of its text.
        notice: printed when weights are loaded and before an export; empty for a permissive licence.
    """

    name: str = "Apache-2.0"
    spdx: str = "apache-2.0"
    url: str = "https://www.apache.org/licenses/LICENSE-2.0"
    notice: str = ""


@dataclass
class Levels:
    """What a decoder sees of V views, made once for any number of prompts.

    Attributes:
        levels: (V, C, h, w) each, finest first; the last one is what prompts attend to.
        prompt_bytes: what one prompt of one view takes while it is decoded.
    """

    levels: list[Tensor] = field(default_factory=list)
    prompt_bytes: int = 0

    def __len__(self) -> int:
        return len(self.levels[0])

    def __getitem__(self, views: Tensor) -> Levels:
        """Return those of some views."""
        return Levels([level[views] for level in self.levels], self.prompt_bytes)

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.levels[0].device


class Family(ABC):
    """One family of SAM. V views, P prompts each.

    Attributes:
        name: key in ``samis.sam.families.FAMILIES``.
        preprocessing: key in ``samis.core.preprocessing.PREPROCESSING``.
        targets: what adapters may reach.
        licence: of the official weights.
        class_name: of transformers' class that reads an exported folder; empty where there is none.
    """

    name: str
    preprocessing: str = "sam"
    targets: AdapterTargets
    licence: Licence = Licence()
    class_name: str = ""

    def __deepcopy__(self, memo: Any) -> Family:
        return self

    @abstractmethod
    def names(self) -> list[str]:
        """Return the values of ``segmenter.architecture`` that mean this family."""

    @abstractmethod
    def frame_px(self, architecture: str, weights: str | Path | None) -> int:
        """Return the native side of the frame, before anything is built."""

    @abstractmethod
    def load(
        self, architecture: str, *, weights: str | Path | None, frame_px: int | None
    ) -> tuple[nn.Module, str | None]:
        """Build a model and load its weights, in float32, on the CPU, in evaluation mode.

        Returns:
            the model, and the sha256 of its file of weights; None for random weights.

        Raises:
            UserError: weights that are missing, unreadable, unsafe or another model's, or a frame that does not fit.
        """

    @abstractmethod
    def is_official(self, names: set[str]) -> bool:
        """Return whether these are names of tensors in a file of this family's official format."""

    @abstractmethod
    def encoder(self, model: Any) -> nn.Module:
        """Return the image encoder."""

    @abstractmethod
    def blocks(self, model: Any) -> list[nn.Module]:
        """Return the encoder's modules whose activations may be computed again in the backward pass."""

    @abstractmethod
    def side(self, model: Any) -> int:
        """Return the side of a model's frame, px."""

    @abstractmethod
    def mask_side(self, model: Any) -> int:
        """Return the side of the decoder's masks, cells."""

    @abstractmethod
    def embedding_shape(self, model: Any) -> tuple[int, ...]:
        """Return the shape of one view's embedding, three numbers."""

    @abstractmethod
    def embedding_state(self, model: Any) -> Mapping[str, Tensor]:
        """Return all parameters and buffers that embeddings depend on, by name; a parameter that learns forbids a cache."""

    @abstractmethod
    def encode(self, model: Any, images: Tensor) -> Tensor:
        """Return the embeddings (V, *embedding_shape) of (V, 3, S, S) framed images; gradients flow."""

    @abstractmethod
    def prepare(self, model: Any, embeddings: Tensor) -> Any:
        """Return what the other methods decode: a ``Levels`` or what looks like one."""

    @abstractmethod
    def decode(self, model: Any, seen: Any, prompt: Prompt) -> SamOutput:
        """Answer the P prompts of each view with all four masks."""

    @abstractmethod
    def decode_single(self, model: Any, embeddings: Tensor, prompt: Prompt) -> Tensor:
        """Return (V, P, h, w) logits of mask 0 alone, which is what tuning trains."""

    @abstractmethod
    def decode_sure(self, model: Any, seen: Any, prompt: Prompt, min_iou: float) -> tuple[SamOutput, Tensor]:
        """Answer only the n prompts with an alternative of predicted IoU above `min_iou`; return answers and views (n,)."""

    def single(self, model: Any, output: SamOutput) -> Tensor:
        """Return the (v, p, h, w) logits of what an untuned model answers where one mask is wanted."""
        return output.logits[:, :, 0]

    def export_settings(self, model: Any) -> None:  # noqa: B027  # most families have nothing to set
        """Change, in place, what an exported copy must do so that its own library answers with the tuned mask 0."""


def family_of(model: Any) -> Family:
    """Return a model's family; a plain ``Sam`` that nobody marked is segment_anything's."""
    family: Family | None = vars(model).get(_KEY)
    if family is None:
        from samis.sam.families.sam import FAMILY

        return FAMILY
    return family


def mark(model: nn.Module, family: Family) -> None:
    """Let a model carry its family."""
    vars(model)[_KEY] = family


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's weights are."""
    return next(model.parameters()).device


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Return what ``state_dict(keep_vars=True)`` returns, in its order, without calling it.

    FSDP2 hooks ``state_dict``: within a forward pass, a call puts the shards back in place of the gathered weights.
    """
    state: dict[str, Tensor] = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        kept = {name: each for name, each in part._buffers.items() if name not in part._non_persistent_buffers_set}
        named = {**part._parameters, **kept}
        state |= {f"{prefix}.{name}" if prefix else name: each for name, each in named.items() if each is not None}
    return state
