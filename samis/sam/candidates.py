"""Candidate masks of one view, measured at SAM's own low resolution: stability, area, box, contrast around.

Paper: Kirillov et al., Segment Anything, ICCV 2023 (doi 10.1109/ICCV51070.2023.00371), appendix B: masks of a point
grid are kept by predicted IoU and stability, then thinned by non-maximum suppression of their boxes.
Code: segment_anything's automatic mask generator does so at the file's size, image by image.
Differs: all is measured at the decoder's low resolution (a quarter of the frame's side), for several images at once,
without run-length coding; padding never counts. Only what low resolution cannot decide, the stability and the box of a
mask near a threshold, is measured finely, within the mask's own box: without that, a small or thin mask would seem too stable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from samis.sam.forward import SamOutput

MIN_STD = 2.0
"""Smallest standard deviation of a ring, in grey levels, that contrast is divided by; that of a flat surface is near zero."""
FINE = 4
"""Pixels of the frame along a cell."""
COARSE_ERROR = 4.0
"""Over the square root of a mask's cells: how far its stability at low resolution may differ from that of the enlarged mask."""
WHOLE_BYTES = 256 << 20
"""What masks that are enlarged at once may take on a GPU, float32."""
SMALL = 2048
"""A mask of fewer cells has its box measured finely too."""
RING_SHARE = 1 / 16
"""Width of the ring around a mask, as a share of the grid's side."""


@dataclass(frozen=True)
class MaskGeneration:
    """Thresholds of automatic mask generation: which masks of a point grid are kept; the defaults are segment_anything's.

    Attributes:
        min_iou: SAM's predicted IoU must exceed it.
        min_stability: the stability must reach it.
        stability_offset: logits by which the threshold is moved up and down to measure stability.
        nms_iou: of two boxes that overlap by more than this, the one of lower predicted IoU goes.
    """

    min_iou: float = 0.88
    min_stability: float = 0.95
    stability_offset: float = 1.0
    nms_iou: float = 0.7


@dataclass
class Candidates:
    """K masks that SAM offers for one view, and what is needed to choose among them.

    Attributes:
        logits: (K, h, w) float32 at the decoder's own grid.
        iou: (K,) float32, the IoU that SAM itself predicts.
        inside: (h, w) bool, True where the grid shows image and not padding.
        grey: (h, w) float32, brightness in [0, 255].
        truth: (h, w) float32, share of each cell that is defect; None where unknown. Only oracles read it.
        stability_offset: as in ``MaskGeneration``.
    """

    logits: Tensor
    iou: Tensor
    inside: Tensor
    grey: Tensor
    truth: Tensor | None = None
    stability_offset: float = 1.0

    def __len__(self) -> int:
        return len(self.logits)

    @cached_property
    def masks(self) -> Tensor:
        """(K, h, w) bool."""
        return (self.logits > 0) & self.inside

    @cached_property
    def area(self) -> Tensor:
        """(K,) float32, share of the image covered, in [0, 1]."""
        return self.masks.flatten(1).sum(1) / self.inside.sum().clamp_min(1)

    @cached_property
    def stability(self) -> Tensor:
        """(K,) float32, IoU of the masks at a higher and a lower threshold, in [0, 1]; 0 for an empty mask."""
        return stability(self.logits, self.inside, self.stability_offset)

    @cached_property
    def boxes_xyxy(self) -> Tensor:
        """(K, 4) float32, cells, ends exclusive; zeros for an empty mask."""
        return mask_boxes(self.masks)

    @cached_property
    def contrast(self) -> Tensor:
        """(K,) float32: difference of the mean brightness inside and in a ring around, in standard deviations of the ring.

        The ring is `RING_SHARE` of the grid wide and cut at the image's border. 0 where the mask or its ring is empty.
        """
        reach = max(1, round(max(self.masks.shape[1:]) * RING_SHARE))
        ring = _dilated(self.masks, reach) & ~self.masks & self.inside
        grey = self.grey - self.grey[self.inside].mean()
        within, _ = _mean_and_square(self.masks, grey)
        around, square = _mean_and_square(ring, grey)
        std = (square - around**2).clamp_min(0).sqrt().clamp_min(MIN_STD)
        known = self.masks.flatten(1).any(1) & ring.flatten(1).any(1)
        return torch.where(known, (within - around).abs() / std, 0.0)


def stability(logits: Tensor, inside: Tensor, offset: float) -> Tensor:
    """Return (K,) IoU of (K, h, w) logits cut at +offset and -offset, over `inside` (h, w) or (K, h, w); 0 if empty."""
    high = ((logits > offset) & inside).flatten(1).sum(1)
    low = ((logits > -offset) & inside).flatten(1).sum(1)
    return high / low.clamp_min(1)


def mask_boxes(masks: Tensor) -> Tensor:
    """Return the (K, 4) float32 boxes (x0, y0, x1, y1) around (K, h, w) masks, ends exclusive; zeros for an empty mask.

    >>> mask_boxes(torch.eye(3, dtype=torch.bool)[None]).tolist()
    [[0.0, 0.0, 3.0, 3.0]]
    """
    ends = []
    for seen in (masks.any(1), masks.any(2)):
        length = seen.shape[1]
        steps = torch.arange(length, device=masks.device)
        first = torch.where(seen, steps, length).amin(1)
        last = torch.where(seen, steps + 1, 0).amax(1)
        ends.append((torch.minimum(first, last), last))
    (x0, x1), (y0, y1) = ends
    return torch.stack([x0, y0, x1, y1], 1).float()


def measure_finely(logits: Tensor, inside: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Measure masks as if they were enlarged to the frame.

    Args:
        logits: (K, h, w).
        inside: (K, h, w) bool, True on the image.
        offset: ``MaskGeneration.stability_offset``.

    Returns:
        (K,) stability, and (K, 4) boxes in cells, to a quarter of one; zeros for an empty mask.
    """
    return (_measure_crops if logits.device.type == "cpu" else _measure_whole)(logits, inside, offset)


def _measure_whole(logits: Tensor, inside: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Measure masks finely by enlarging them whole, many at once: with crops a GPU would wait for the host at each."""
    height, width = logits.shape[1:]
    step = max(1, WHOLE_BYTES // (4 * FINE * FINE * height * width))
    measured, boxes = [logits.new_zeros(0)], [logits.new_zeros(0, 4)]
    for part in (slice(start, start + step) for start in range(0, len(logits), step)):
        fine = F.interpolate(logits[part, None], (FINE * height, FINE * width), mode="bilinear", align_corners=False)[
            :, 0
        ]
        shown = inside[part].repeat_interleave(FINE, 1).repeat_interleave(FINE, 2)
        measured.append(stability(fine, shown, offset))
        boxes.append(mask_boxes((fine > 0) & shown) / FINE)
    return torch.cat(measured), torch.cat(boxes)


def _measure_crops(logits: Tensor, inside: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Measure masks finely, each within its own box, which is fastest on a CPU."""
    measured, boxes = logits.new_zeros(len(logits)), logits.new_zeros(len(logits), 4)
    # Padding counts for the crop: its cells reach into the last ones of the image when enlarged.
    loose = mask_boxes(logits > -offset).int().tolist()
    for number, (x0, y0, x1, y1) in enumerate(loose):
        top, left = max(0, y0 - 1), max(0, x0 - 1)  # a cell around, which interpolation reads
        crop = logits[number, top : y1 + 1, left : x1 + 1][None]
        if not crop.numel():
            continue
        size = [FINE * side for side in crop.shape[1:]]
        fine = F.interpolate(crop[None], size, mode="bilinear", align_corners=False)[0]
        shown = inside[number, top : y1 + 1, left : x1 + 1]
        shown = shown.repeat_interleave(FINE, 0).repeat_interleave(FINE, 1)[None]
        measured[number] = stability(fine, shown, offset)[0]
        box = mask_boxes((fine > 0) & shown)[0] / FINE
        boxes[number] = box + box.new_tensor([left, top, left, top]) if box.any() else box
    return measured, boxes


def filter_masks(
    answers: Iterable[tuple[SamOutput, Tensor]], inside: Tensor, limits: MaskGeneration
) -> list[tuple[Tensor, Tensor]]:
    """Filter the masks of automatic mask generation: by predicted IoU, by stability, then by their boxes within each view.

    Args:
        answers: chunks of n prompts: SAM's output, (n, 1, 4, h, w), and the view (n,) of each prompt.
        inside: (V, h, w) bool, True on the image.
        limits: the thresholds.

    Returns:
        V pairs: logits (K, h, w) of the alternatives (masks 1 to 3) that are kept, and their predicted IoU (K,).
    """
    from torchvision.ops import batched_nms  # type: ignore[import-untyped]

    none = inside.new_zeros((0, *inside.shape[1:]), dtype=torch.float32)
    logits, ious, views, boxes = [none], [none[:, 0, 0]], [none[:, 0, 0].long()], [none.new_zeros(0, 4)]
    for output, view in answers:
        sure = output.iou[:, 0, 1:] > limits.min_iou
        row = sure.nonzero()[:, 0]
        kept = output.logits[:, 0, 1:][sure]
        area = inside[view[row]]
        coarse, loose = stability(kept, area, limits.stability_offset), (kept > -limits.stability_offset) & area
        cells = loose.flatten(1).sum(1).clamp_min(1)
        doubt = (COARSE_ERROR / cells.sqrt()).clamp_max(0.3)
        measured, box = coarse.clone(), mask_boxes((kept > 0) & area)
        above = coarse - limits.min_stability
        close = ((above >= -doubt) & ((above <= doubt) | (cells < SMALL))).nonzero()[:, 0]
        measured[close], box[close] = measure_finely(kept[close], area[close], limits.stability_offset)
        firm = (measured >= limits.min_stability) & (box[:, 2] > box[:, 0])
        boxes.append(box[firm])
        logits.append(kept[firm])
        ious.append(output.iou[:, 0, 1:][sure][firm])
        views.append(view[row][firm])
    all_logits, all_ious, all_views = torch.cat(logits), torch.cat(ious), torch.cat(views)
    # The category indices are on the boxes' device: segment_anything's stay on the CPU, and fail with many boxes.
    # As there, a box ends on its last pixel.
    ends = torch.cat(boxes) - inside.new_tensor([0, 0, 1 / FINE, 1 / FINE], dtype=torch.float32)
    best = batched_nms(ends, all_ious, all_views, limits.nms_iou)
    of_view = [best[all_views[best] == view] for view in range(len(inside))]
    return [(all_logits[index], all_ious[index]) for index in of_view]


def _dilated(masks: Tensor, reach: int) -> Tensor:
    grown = masks[:, None].float()
    for kernel, padding in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
        grown = F.max_pool2d(grown, kernel, stride=1, padding=padding)
    return grown[:, 0] > 0


def _mean_and_square(masks: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean of `values` (h, w) and of their squares over each of K masks (K, h, w); 0 over nothing."""
    flat = masks.flatten(1).float()
    count = flat.sum(1).clamp_min(1)
    return flat @ values.flatten() / count, flat @ values.flatten() ** 2 / count
