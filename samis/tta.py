"""Test-time augmentation: the mean of the maps of an image and its mirror images, for any Segmenter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from samis.core.contracts import Batch, Segmenter
from samis.core.geometry import mirror_boxes, mirror_placements, mirror_points, mirror_views
from samis.errors import UserError

KINDS = ("none", "flips")
FLIPS = ((False, False), (True, False), (False, True), (True, True))
"""Mirrored in x, in y: the image itself, left-right, top-bottom, both."""


class FlippedSegmenter:
    """Predict the mean of four maps: of the image, mirrored left-right, top-bottom, and both (a ``Segmenter``).

    The views are mirrored where they show the image, padding stays right and below; tiles change places; points and boxes
    of the prompt are mirrored with them. Takes four times as long.

    Args:
        inner: what predicts each copy.

    Attributes:
        passes: how often each view is predicted.
    """

    passes = len(FLIPS)

    def __init__(self, inner: Segmenter) -> None:
        self.inner = inner

    def predict(self, batch: Batch) -> list[Tensor]:
        """Return one (H, W) float32 map in [0, 1] per image, as the inner segmenter does."""
        return self._mean(batch, lambda mirrored: {"": self.inner.predict(mirrored)})[""]

    def predict_all_rules(self, batch: Batch) -> dict[str, list[Tensor]]:
        """Return rule -> maps, each averaged; for an inner segmenter that has rules."""
        inner: Any = self.inner
        return self._mean(batch, inner.predict_all_rules)

    def describe(self, *rule: str) -> dict[str, Any]:
        """Return what the inner segmenter says, and ``tta``."""
        inner: Any = self.inner
        return {**inner.describe(*rule), "tta": "flips"}

    def _mean(self, batch: Batch, predict: Callable[[Batch], dict[str, list[Tensor]]]) -> dict[str, list[Tensor]]:
        sums: dict[str, list[Tensor]] = {}
        for x, y in FLIPS:
            axes = [axis for axis, mirrored in ((-2, y), (-1, x)) if mirrored]
            for name, maps in predict(mirror_batch(batch, x=x, y=y)).items():
                back = [values.flip(axes) for values in maps]
                earlier = sums.get(name)
                sums[name] = back if earlier is None else [a + b for a, b in zip(earlier, back, strict=True)]
        return {name: [values / len(FLIPS) for values in maps] for name, maps in sums.items()}


def mirror_batch(batch: Batch, *, x: bool, y: bool) -> Batch:
    """Return the batch that the mirrored images would make, with its prompt, framed truth and view keys."""
    if not x and not y:
        return batch
    placements, prompt = batch.placements, batch.prompt
    points, boxes = prompt.points_xy, prompt.boxes_xyxy
    prompt = replace(
        prompt,
        points_xy=None if points is None else mirror_points(points, placements, x=x, y=y),
        boxes_xyxy=None if boxes is None else mirror_boxes(boxes, placements, x=x, y=y),
    )
    if "embedded" in batch.extras:
        raise ValueError("batch: expected framed views to mirror, got a training batch that brings embeddings")
    extras = dict(batch.extras)
    if "view_keys" in extras:
        extras["view_keys"] = _mirrored_keys(extras["view_keys"], x=x, y=y)
    return replace(
        batch,
        images=mirror_views(batch.images, placements, x=x, y=y),
        masks=None if batch.masks is None else mirror_views(batch.masks, placements, x=x, y=y),
        placements=mirror_placements(placements, x=x, y=y),
        prompt=prompt,
        extras=extras,
    )


def build_tta(segmenter: Segmenter, kind: str) -> Segmenter:
    """Return the segmenter with test-time augmentation as ``segmenter.tta`` says.

    Raises:
        UserError: an unknown kind.
    """
    if kind not in KINDS:
        raise UserError(f"segmenter.tta: expected one of {', '.join(KINDS)}, got {kind!r}", code="E-CONFIG-TTA")
    return segmenter if kind == "none" else FlippedSegmenter(segmenter)


def _mirrored_keys(keys: Tensor, *, x: bool, y: bool) -> Tensor:
    """Return keys of their own for mirrored views: a kept embedding of the view itself is none of theirs."""
    digests = [hashlib.sha256(bytes(key.tolist()) + f" mirrored {x} {y}".encode()).digest() for key in keys.cpu()]
    return torch.stack([torch.frombuffer(bytearray(digest), dtype=torch.uint8) for digest in digests]).to(keys.device)
