"""Joins framed samples and their prompts into one batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from samis.core.contracts import MIXED, Batch, Placement, Prompt


@dataclass
class FramedSample:
    """One sample's V views.

    Attributes:
        id: of the sample.
        class_name: of the sample.
        images: (V, 3, S, S) float32; on the meta device where embeddings were read instead.
        placements: of the views.
        prompt: with one row for each view.
        masks: (V, 1, S, S), or None where the truth is not known.
        truth: (H, W) bool, the mask at the file's size.
        keys: (V, 32) uint8, which pixels each view shows, see ``samis.core.geometry.view_key``.
        embeddings: (V, C, g, g) that were read instead of the images.
        may_read: whether embeddings may be read instead of the images.
    """

    id: str
    class_name: str
    images: Tensor
    placements: list[Placement]
    prompt: Prompt
    masks: Tensor | None
    truth: np.ndarray | None = None
    keys: Tensor | None = None
    embeddings: Tensor | None = None
    may_read: bool = False


def collate(samples: Sequence[FramedSample]) -> Batch:
    """Join framed samples into one batch; ``placement.sample`` then counts within it.

    Args:
        samples: at least one.

    The batch has masks only if each sample has. Where embeddings may be read, ``extras`` has ``embedded`` (V,) bool, and
    ``embeddings`` (n, C, g, g) of the n views for which that is true.
    """
    placements = [replace(p, sample=number) for number, sample in enumerate(samples) for p in sample.placements]
    masks = [sample.masks for sample in samples if sample.masks is not None]
    keys = [sample.keys for sample in samples if sample.keys is not None]
    extras = {"view_keys": torch.cat(keys)} if len(keys) == len(samples) else {}
    images = [sample.images for sample in samples]
    embeddings = [sample.embeddings for sample in samples if sample.embeddings is not None]
    if any(sample.may_read for sample in samples):
        extras["embedded"] = torch.cat([_embedded(sample) for sample in samples])
    if embeddings:
        extras["embeddings"] = torch.cat(embeddings)
        if len(embeddings) < len(samples):  # nothing reads the pixels of a view whose embedding is here
            images = [torch.zeros_like(image, device="cpu") if image.is_meta else image for image in images]
    return Batch(
        ids=[sample.id for sample in samples],
        images=torch.cat(images),
        placements=placements,
        prompt=concat_prompts([sample.prompt for sample in samples]),
        masks=torch.cat(masks) if len(masks) == len(samples) else None,
        class_names=[sample.class_name for sample in samples],
        truths=[sample.truth for sample in samples],
        extras=extras,
        scaled_hw=torch.tensor([placement.scaled_hw for placement in placements]).reshape(-1, 2),
    )


def _embedded(sample: FramedSample) -> Tensor:
    return torch.full((len(sample.placements),), sample.embeddings is not None)


def concat_prompts(prompts: Sequence[Prompt]) -> Prompt:
    """Join prompts over their views, padding to the most prompts and the most points.

    Padded prompts are not `present`; padded points have label -1.

    Args:
        prompts: at least one, all of one kind, and all with points, with boxes or with both.

    Raises:
        ValueError: if the kinds differ, or some have points or boxes and others not.
    """
    first = prompts[0]
    if first.kind == MIXED:
        return _concat_mixed(prompts)
    if len({prompt.kind for prompt in prompts}) > 1:
        raise ValueError(f"expected prompts of one kind, got {sorted({prompt.kind for prompt in prompts})}")
    for name in ("points_xy", "point_labels", "boxes_xyxy"):
        if len({getattr(prompt, name) is None for prompt in prompts}) > 1:
            raise ValueError(f"prompt '{first.kind}': expected {name} in all samples of a batch or in none, got some")
    sees_truth = any(prompt.sees_truth for prompt in prompts)
    if first.points_xy is None and first.boxes_xyxy is None:
        present = [prompt.present for prompt in prompts if prompt.present is not None]
        return Prompt(
            first.kind, present=torch.cat(present) if len(present) == len(prompts) else None, sees_truth=sees_truth
        )
    most = max(prompt.prompts_per_view for prompt in prompts)
    longest = max(0 if prompt.points_xy is None else prompt.points_xy.shape[2] for prompt in prompts)
    points = [_padded(prompt.points_xy, (most, longest), 0) for prompt in prompts if prompt.points_xy is not None]
    labels = [
        _padded(prompt.point_labels, (most, longest), -1) for prompt in prompts if prompt.point_labels is not None
    ]
    boxes = [_padded(prompt.boxes_xyxy, (most,), 0) for prompt in prompts if prompt.boxes_xyxy is not None]
    objects = [_padded(prompt.objects, (most,), 0) for prompt in prompts if prompt.objects is not None]
    complete = all(prompt.present is None and prompt.prompts_per_view == most for prompt in prompts)
    return Prompt(
        kind=first.kind,
        points_xy=torch.cat(points) if points else None,
        point_labels=torch.cat(labels) if labels else None,
        boxes_xyxy=torch.cat(boxes) if boxes else None,
        objects=torch.cat(objects) if objects else None,
        present=None if complete else torch.cat([_padded(_presence(prompt), (most,), False) for prompt in prompts]),
        sees_truth=sees_truth,
    )


def _concat_mixed(prompts: Sequence[Prompt]) -> Prompt:
    """Join prompts of several kinds: each gets the tensors of all, absent where they are not its own."""
    complete = []
    points = any(prompt.points_xy is not None for prompt in prompts)
    boxes = any(prompt.boxes_xyxy is not None for prompt in prompts)
    side = max(0 if prompt.objects is None else prompt.objects.shape[-1] for prompt in prompts)
    for prompt in prompts:
        views, many = len(prompt.view_kinds), prompt.prompts_per_view
        if points and prompt.points_xy is None:
            labels = torch.full((views, many, 1), -1, dtype=torch.int64)
            prompt = replace(prompt, points_xy=torch.zeros(views, many, 1, 2), point_labels=labels)
        if side and prompt.objects is None:
            prompt = replace(prompt, objects=torch.zeros(views, many, side, side, dtype=torch.uint8))
        if boxes and prompt.boxes_xyxy is None:
            prompt = replace(prompt, boxes_xyxy=torch.zeros(views, many, 4))
        complete.append(replace(prompt, kind="", present=_presence(prompt) if points or boxes else None))
    kinds = tuple(kind for prompt in prompts for kind in prompt.view_kinds)
    return replace(concat_prompts(complete), kind=MIXED, view_kinds=kinds)


def _presence(prompt: Prompt) -> Tensor:
    if prompt.present is not None:
        return prompt.present
    tensor = prompt.boxes_xyxy if prompt.points_xy is None else prompt.points_xy
    if tensor is None:  # of the empty prompt in a mixed batch
        return torch.ones(len(prompt.view_kinds), 1, dtype=torch.bool)
    return torch.ones(tensor.shape[:2], dtype=torch.bool)


def _padded(tensor: Tensor, sizes: tuple[int, ...], value: float) -> Tensor:
    """Enlarge dimensions 1, 2 ... of a tensor to `sizes` with `value`."""
    shape = list(tensor.shape)
    shape[1 : 1 + len(sizes)] = sizes
    if shape == list(tensor.shape):
        return tensor
    enlarged = torch.full(shape, value, dtype=tensor.dtype)
    enlarged[tuple(slice(length) for length in tensor.shape)] = tensor
    return enlarged
