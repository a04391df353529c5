"""Oracle boxes: drawn around the ground truth; every row scored with them is marked as an oracle's."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from samis.config import PromptConfig
from samis.core.contracts import Placement, Prompt, Sample
from samis.core.geometry import boxes_to_frame, frame_mask
from samis.errors import UserError, did_you_mean

SMALLEST_PX = 4
"""Components of fewer file pixels are left out, unless there is nothing else."""
PER = ("component", "image")


class BoxPrompter:
    """Prompt with a box around each connected defect, or around all of them.

    Args:
        config: ``per`` (component or image) and ``jitter`` are used: each side moves by a normally distributed share of
            the box's width or height, whose standard deviation is ``jitter`` (at most two of them).

    Attributes:
        objects: whether prompts bring the framed truth of each box.

    Raises:
        UserError: an option out of its range.
    """

    kind = "box"
    sees_truth = True

    def __init__(self, config: PromptConfig) -> None:
        check_per(config.per)
        self.objects = False
        if not 0 <= config.jitter < 0.5:
            raise UserError(f"prompt.jitter: expected a share in [0, 0.5), got {config.jitter}", code="E-PROMPT-OPTION")
        self.per = config.per
        self.jitter = config.jitter

    def __call__(self, sample: Sample, placements: list[Placement], rng: np.random.Generator) -> Prompt:
        """Return a prompt with boxes (V, P, 4); rows and views without a defect are not `present`.

        Raises:
            UserError: if the sample has no mask.
        """
        views, parts = [], []
        for truth, placement in zip(cropped_truths(sample, placements, self.kind), placements, strict=True):
            corner = np.asarray(placement.crop_xyxy[:2] * 2, dtype=np.float32)
            parts.append(parts_of(truth, self.per))
            boxes = [_around(part) + corner for part in parts[-1]]
            boxes = [self._moved(box, placement, rng) for box in boxes]
            views.append(boxes_to_frame(np.reshape(boxes, (-1, 4)), placement))
        boxes_xyxy, present = stack_padded(views)
        objects = framed_objects(parts, placements) if self.objects else None
        return Prompt(self.kind, boxes_xyxy=boxes_xyxy, present=present, sees_truth=True, objects=objects)

    def _moved(self, box: np.ndarray, placement: Placement, rng: np.random.Generator) -> np.ndarray:
        """Return the box with its sides moved, within the view's crop; unchanged if less than a pixel would be left."""
        if not self.jitter:
            return box
        x0, y0, x1, y1 = placement.crop_xyxy
        size = np.tile(box[2:] - box[:2], 2)
        shift = rng.normal(0, self.jitter, 4).clip(-2 * self.jitter, 2 * self.jitter)
        moved = (box + shift * size).clip((x0, y0, x0, y0), (x1, y1, x1, y1)).astype(np.float32)
        return moved if (moved[2:] - moved[:2] >= 1).all() else box


def check_per(per: str) -> None:
    """Refuse a ``prompt.per`` that is neither component nor image.

    Args:
        per: the value in the config.

    Raises:
        UserError: proposes the nearest one.
    """
    if per not in PER:
        raise UserError(
            f"prompt.per: expected one of {', '.join(PER)}, got '{per}'{did_you_mean(per, PER)}", code="E-PROMPT-OPTION"
        )


def cropped_truths(sample: Sample, placements: list[Placement], kind: str) -> list[np.ndarray]:
    """Return the part of the truth in each view, (h, w) bool at file scale.

    Args:
        sample: the image and its mask.
        placements: of the sample's views.
        kind: of the prompt, for the error.

    Raises:
        UserError: if the sample has no mask.
    """
    if sample.mask is None:
        raise UserError(
            f"{sample.image_path or sample.id}: prompt '{kind}' is made from the ground truth: expected a mask, got "
            "none; add the mask, or set prompt.kind to empty, grid or whole",
            code="E-PROMPT-TRUTH",
        )
    crops = [placement.crop_xyxy for placement in placements]
    return [sample.mask[y0:y1, x0:x1] for x0, y0, x1, y1 in crops]


def parts_of(truth: np.ndarray, per: str) -> list[np.ndarray]:
    """Return the objects of a truth as (h, w) bool masks: 8-connected components, small ones left out, or all as one.

    Args:
        truth: (h, w) bool.
        per: ``component`` or ``image``.
    """
    if not truth.any():
        return []
    if per == "image":
        return [truth]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8), connectivity=8)
    areas = stats[1:count, cv2.CC_STAT_AREA]
    kept = np.flatnonzero(areas >= SMALLEST_PX) if (areas >= SMALLEST_PX).any() else np.arange(count - 1)
    return [labels == index + 1 for index in kept]


def framed_objects(parts: list[list[np.ndarray]], placements: list[Placement]) -> torch.Tensor:
    """Return the objects of V views in the frame, (V, P, S, S) uint8 in {0, 1}.

    Args:
        parts: of each view, (h, w) bool masks of its crop.
        placements: of the views.
    """
    views = []
    for of_view, placement in zip(parts, placements, strict=True):
        x0, y0, x1, y1 = placement.crop_xyxy
        framed = np.zeros((len(of_view), placement.frame_px, placement.frame_px), np.float32)
        for number, part in enumerate(of_view):
            whole = np.zeros(placement.file_hw, bool)
            whole[y0:y1, x0:x1] = part
            framed[number] = frame_mask(whole, placement)[0].numpy()
        views.append(framed)
    return stack_padded(views)[0].to(torch.uint8)


def _around(part: np.ndarray) -> np.ndarray:
    """Return the box (x0, y0, x1, y1) around a mask, ends exclusive."""
    columns, rows = np.flatnonzero(part.any(0)), np.flatnonzero(part.any(1))
    return np.asarray([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float32)


def stack_padded(views: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack V arrays (P_v, ...), zero-padded, into (V, P, ...) with P >= 1, and the rows `present`, (V, P) bool.

    Args:
        views: one array for each view.
    """
    most = max(1, *(len(view) for view in views))
    stacked = np.zeros((len(views), most, *views[0].shape[1:]), dtype=np.float32)
    present = np.zeros((len(views), most), dtype=bool)
    for row, view in enumerate(views):
        stacked[row, : len(view)] = view
        present[row, : len(view)] = True
    return torch.from_numpy(stacked), torch.from_numpy(present)
