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
from samis.sam.all_masks import all_masks_loss
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
        all_masks: whether masks 1 to 3 and the predicted IoU are trained too (``samis.sam.all_masks``).

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
        all_masks: bool = False,
    ) -> None:
        super().__init__()
        self.all_masks = all_masks
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
        shown = shown_inside(batch, embeddings.device)
        united, others = self._decoded(embeddings, batch.prompt, batch.masks, shown)
        logits = to_frame(united[:, None], batch.images.shape[-1])
        each, parts = self.mask_loss(logits, batch.masks, shown)
        total = each.mean()
        if others is not None:
            alternatives, error = others.mean(1)
            total = total + alternatives + error
            parts = {**parts, "masks_1_to_3": alternatives.detach(), "predicted_iou": error.detach()}
        return Loss(total, parts, foreground_shares(logits.detach(), batch.masks, shown))

    def _decoded(
        self, embeddings: Tensor, prompt: Prompt, truth: Tensor, shown: Tensor, *, part: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Return (V, h, w) logits of mask 0, the prompts of each view united, and with `all_masks` (2, V) losses of the others.

        Args:
            embeddings: of V views.
            prompt: theirs.
            truth: (V, 1, S, S) float32.
            shown: (V, 1, S, S) bool, where a view shows its image.
            part: whether the views are a part of a batch's.
        """
        sam = self.adapted.sam
        if prompt.kind == MIXED:
            kinds = list(prompt.by_kind())
            result = [self._decoded(embeddings[v], own, truth[v], shown[v], part=True) for v, own in kinds]
            order = torch.tensor([view for views, _ in kinds for view in views]).argsort().to(embeddings.device)
            others = [other for _, other in result if other is not None]
            return torch.cat([own for own, _ in result])[order], torch.cat(others, 1)[:, order] if others else None
        if self.all_masks:
            family = family_of(sam)
            output = family.decode(sam, family.prepare(sam, embeddings), prompt)
            losses = all_masks_loss(output, prompt, truth, shown, self.mask_loss)
            return unite(output.logits[:, :, 0], prompt.present), torch.stack(losses)
        # A compiled decoder would be compiled again for each number of prompts or views.
        decode = self.decode if prompt.kind == "empty" and not part else decode_embeddings
        return unite(decode(embeddings, sam, prompt), prompt.present), None

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
