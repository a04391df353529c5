"""Learner for tuning a SAM on defects: the batch's own prompt, mask 0, one map an image.

Differs from SAM's own training: mask 0 answers every prompt, and answers to several prompts of an image are united
(the largest logit at each pixel) before the loss, since the truth is one mask of all defects. What stays frozen, such
as the IoU head, is documented with each adapter in ``samis.adapters``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from samis.config import LossConfig
from samis.core.contracts import MIXED, Batch, Loss, Prompt, Segmenter
from samis.core.geometry import shown_inside, to_frame
from samis.core.losses import MaskLoss, foreground_shares
from samis.sam.forward import Embed, embed
from samis.sam.interface import family_of
from samis.sam.two_way import use_broadcast_attention

NOTHING = -20.0
"""Logit of a view without a prompt, which has no defect."""


class Adapted(Protocol):
    """What a tuned SAM must offer; ``samis.adapters.AdaptedSam`` does."""

    sam: Any

    def parameter_groups(self, pretrained_lr_scale: float = 1.0) -> list[dict[str, Any]]:
        """Return the optimizer's groups."""

    def whole_weights(self, dtype: torch.dtype) -> AbstractContextManager[set[nn.Module]]:
        """Return a block in which some layers use weights made beforehand; it yields the modules that are then not used."""

    def full_precision(self) -> set[nn.Module]:
        """Return the modules whose weights stay in float32 under autocast."""

    def save(self, folder: Path) -> None:
        """Write the adapter into the folder."""

    def load(self, folder: Path) -> None:
        """Read the adapter back."""


class SamTuning(nn.Module):
    """Tune an adapted SAM; its frozen parts stay in evaluation mode.

    Args:
        adapted: the SAM with its adapter, a torch module.
        loss: weights of the mask loss.
        segmenter: builds the segmenter that validation scores, from the Sam.
        pretrained_lr_scale: factor on the lr of pretrained weights that are tuned.

    Attributes:
        embed: encodes the views; a cache may take the encoder's place where it is frozen.
    """

    def __init__(
        self,
        adapted: Adapted,
        loss: LossConfig,
        *,
        segmenter: Callable[[Any], Segmenter],
        pretrained_lr_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.adapted = adapted
        self.mask_loss = MaskLoss(loss)
        self.pretrained_lr_scale = pretrained_lr_scale
        self.embed: Embed = embed
        self.decode = decode_embeddings
        self._segmenter = segmenter
        self.register_state_dict_post_hook(_keep_trained)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_fill_frozen)  # type: ignore[no-untyped-call]

    def forward(self, batch: Batch) -> Loss:
        """Return the mean loss over the batch's views, each an image or a random crop of one.

        Parts, besides the loss's own: ``samis.core.losses.foreground_shares``.
        """
        if batch.masks is None:
            raise ValueError("batch: expected masks to train on, got none")
        sam = self.adapted.sam
        tuned = any(tensor.requires_grad for tensor in family_of(sam).embedding_state(sam).values())
        with nullcontext() if tuned else torch.no_grad():
            embeddings = self.embed(sam, batch)
        logits = to_frame(self._united(embeddings, batch.prompt)[:, None], batch.images.shape[-1])
        shown = shown_inside(batch, logits.device)
        each, parts = self.mask_loss(logits, batch.masks, shown)
        return Loss(each.mean(), parts, foreground_shares(logits.detach(), batch.masks, shown))

    def _united(self, embeddings: Tensor, prompt: Prompt) -> Tensor:
        """Return (V, h, w) logits of mask 0, the prompts of each view united."""
        sam = self.adapted.sam
        if prompt.kind == MIXED:
            kinds = list(prompt.by_kind())
            parts = [self._united(embeddings[views], own) for views, own in kinds]
            order = torch.tensor([view for views, _ in kinds for view in views]).argsort()
            return torch.cat(parts)[order.to(embeddings.device)]
        # Of other prompts each batch may bring another number, which a compiled decoder would be compiled for; so would parts.
        whole = prompt.kind == "empty" and not prompt.view_kinds
        decode = self.decode if whole else decode_embeddings
        return unite(decode(embeddings, sam, prompt), prompt.present)

    def half_modules(self) -> Iterator[nn.Module]:
        """Yield the modules that training under autocast may give half-precision copies of their weights.

        Left out are an encoder behind a cache, which names its embeddings by the weights, and what the adapter keeps in float32.
        """
        cached = self.embed is not embed
        kept = set(self._encoder().modules()) if cached else set()
        kept |= self.adapted.full_precision()
        return (module for module in self.adapted.sam.modules() if module not in kept)

    def whole_weights(self, dtype: torch.dtype) -> AbstractContextManager[set[nn.Module]]:
        """Return the adapter's block, for training under autocast."""
        return self.adapted.whole_weights(dtype)

    def compiled_parts(self) -> list[tuple[Any, str]]:
        """Return what ``training.compile`` compiles: the encoder, unless its embeddings are cached, and the decoder."""
        use_broadcast_attention(self.adapted.sam.mask_decoder)
        encoder: list[tuple[Any, str]] = [(self._encoder(), "forward")] if self.embed is embed else []
        return [*encoder, (self, "decode")]

    def _encoder(self) -> nn.Module:
        return family_of(self.adapted.sam).encoder(self.adapted.sam)

    def segmenter(self) -> Segmenter:
        """Return what validation scores."""
        return self._segmenter(self.adapted.sam)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the adapter's groups."""
        return self.adapted.parameter_groups(self.pretrained_lr_scale)

    def save(self, folder: Path) -> None:
        """Write the adapter into the folder."""
        self.adapted.save(folder)

    def load(self, folder: Path) -> None:
        """Read the adapter back."""
        self.adapted.load(folder)


def decode_embeddings(embeddings: Tensor, sam: Any, prompt: Prompt) -> Tensor:
    """Return the (V, P, h, w) logits of mask 0."""
    return family_of(sam).decode_single(sam, embeddings, prompt)


def unite(answers: Tensor, present: Tensor | None) -> Tensor:
    """Return the union of each view's answers.

    Args:
        answers: (V, P, h, w) logits.
        present: (V, P) bool, or None if all are.

    Returns:
        (V, h, w) logits, the largest of the present ones; ``NOTHING`` where a view has none.

    >>> unite(torch.tensor([[[[1.0]], [[3.0]]]]), torch.tensor([[True, False]])).item()
    1.0
    """
    if present is None:
        return answers[:, 0] if answers.shape[1] == 1 else answers.amax(1)
    largest = answers.masked_fill(~present[:, :, None, None], float("-inf")).amax(1)
    return torch.where(present.any(1)[:, None, None], largest, torch.full_like(largest, NOTHING))


def _keep_trained(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """Leave the frozen weights out of a resume point: they are the base's, and up to 2.5 GB."""
    trained = {prefix + name for name, parameter in module.named_parameters() if parameter.requires_grad}
    for name in [name for name in state if name.startswith(prefix) and name not in trained]:
        del state[name]


def _fill_frozen(module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    """Let a resume point without frozen weights pass the strict load."""
    first: dict[nn.Parameter, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        own = first.setdefault(parameter, prefix + name)
        if not parameter.requires_grad:
            state.setdefault(prefix + name, parameter.detach())
        elif own in state:  # a parameter that several modules share is kept under its first name
            state.setdefault(prefix + name, state[own])
    for path, owner in module.named_modules():
        for name, tensor in owner.named_buffers(recurse=False):
            if name not in owner._non_persistent_buffers_set:
                state.setdefault(f"{prefix}{path}.{name}", tensor)
