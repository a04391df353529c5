"""The one home of geometry: into SAM's square frame and exactly back; resize, pad, tiles, boxes, points.

Paper: Kirillov et al., Segment Anything, ICCV 2023 (doi 10.1109/ICCV51070.2023.00371): the longest side of the image is
scaled to the frame's side, the rest is padded with zeros right and below; masks return the same way.
SAM 2 and 3 stretch the image to the whole frame instead (``PREPROCESSING``).
Differs: a long image may be cut into overlapping tiles, each placed in a frame of its own and blended back with weights
that fall towards a tile's edge (a rail of 160 x 1282 px would otherwise lose its defects of a few pixels).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from samis.core.contracts import Batch, Placement
from samis.core.preprocessing import PREPROCESSING

FRAME_VERSION = 1
"""Part of a view's key: raise it when ``frame_image`` gives other numbers for the same pixels."""


@dataclass(frozen=True)
class Framing:
    """How images enter the frame.

    Attributes:
        frame_px: side of the square frame; 1024 for the official SAM weights, 256 for ``samis_lite``.
        tile_px: side of a tile in file pixels; 0 never cuts. Images no longer than a tile stay whole.
        overlap: share of a tile that its neighbour repeats, in [0, 0.9].
        preprocessing: key in ``samis.core.preprocessing.PREPROCESSING``.
    """

    frame_px: int = 1024
    tile_px: int = 0
    overlap: float = 0.25
    preprocessing: str = "sam"

    def __post_init__(self) -> None:
        if self.frame_px < 16:
            raise ValueError(f"frame_px: expected at least 16, got {self.frame_px}")
        if self.tile_px and self.tile_px < 16:
            raise ValueError(f"tile_px: expected 0 (never cut) or a side of at least 16 pixels, got {self.tile_px}")
        if not 0 <= self.overlap <= 0.9:
            raise ValueError(f"overlap: expected a share in [0, 0.9], got {self.overlap}")

    def placements(self, file_hw: tuple[int, int], *, sample: int = 0) -> list[Placement]:
        """Return the views that cover an image of size `file_hw`, one if it is not cut."""
        crops = tile_crops(file_hw, self.tile_px, self.overlap)
        return [self.place(file_hw, crop, sample=sample) for crop in crops]

    def place(self, file_hw: tuple[int, int], crop_xyxy: tuple[int, int, int, int], *, sample: int = 0) -> Placement:
        """Return the placement of one crop of a file in this frame."""
        return place(file_hw, crop_xyxy, self.frame_px, sample=sample, preprocessing=self.preprocessing)


def scaled_size(hw: tuple[int, int], frame_px: int) -> tuple[int, int]:
    """Return height and width after the longest side is scaled to `frame_px`, rounded half up as SAM does.

    >>> scaled_size((200, 100), 1024)
    (1024, 512)
    """
    height, width = hw
    scale = frame_px / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def place(
    file_hw: tuple[int, int],
    crop_xyxy: tuple[int, int, int, int],
    frame_px: int,
    *,
    sample: int = 0,
    preprocessing: str = "sam",
) -> Placement:
    """Return the placement of one crop of a file in a frame.

    >>> place((200, 100), (0, 0, 100, 200), 64, preprocessing="sam2").scaled_hw
    (64, 64)
    """
    x0, y0, x1, y1 = crop_xyxy
    stretched = PREPROCESSING[preprocessing].stretched
    scaled = (frame_px, frame_px) if stretched else scaled_size((y1 - y0, x1 - x0), frame_px)
    return Placement(sample, file_hw, crop_xyxy, scaled, frame_px, preprocessing)


def tile_crops(file_hw: tuple[int, int], tile_px: int, overlap: float) -> list[tuple[int, int, int, int]]:
    """Return crops (x0, y0, x1, y1) that cover the file, evenly spread, neighbours overlapping by at least `overlap`.

    >>> tile_crops((160, 400), 160, 0.25)
    [(0, 0, 160, 160), (120, 0, 280, 160), (240, 0, 400, 160)]
    """
    height, width = file_hw
    if tile_px <= 0 or max(height, width) <= tile_px:
        return [(0, 0, width, height)]
    tops, lefts = _starts(height, tile_px, overlap), _starts(width, tile_px, overlap)
    return [(x, y, min(x + tile_px, width), min(y + tile_px, height)) for y in tops for x in lefts]


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    if length <= tile:
        return [0]
    step = max(1.0, tile * (1 - overlap))
    count = int(np.ceil((length - tile) / step)) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def frame_image(image: np.ndarray, placement: Placement) -> Tensor:
    """Place an image's crop in the frame, exactly as its family of SAM preprocesses it.

    Args:
        image: (H, W, 3) uint8 RGB, the whole file.
        placement: where the view sits.

    Returns:
        (3, S, S) float32: 8-bit bilinear resize with antialiasing, minus mean, over standard deviation, zero-padded.
    """
    x0, y0, x1, y1 = placement.crop_xyxy
    height, width = placement.scaled_hw
    pixels = PREPROCESSING[placement.preprocessing].pixels(image[y0:y1, x0:x1], (height, width))
    framed = np.zeros((3, placement.frame_px, placement.frame_px), dtype=np.float32)
    framed[:, :height, :width] = pixels.transpose(2, 0, 1)
    return torch.from_numpy(framed)


def view_key(image: np.ndarray, placement: Placement) -> Tensor:
    """Return (32,) uint8, the sha256 of all that ``frame_image`` makes a view of.

    Args:
        image: (H, W, 3) uint8 RGB, the whole file, changed or not.
        placement: where the view sits.
    """
    x0, y0, x1, y1 = placement.crop_xyxy
    crop = np.ascontiguousarray(image[y0:y1, x0:x1])
    p, digest = placement, hashlib.sha256()
    digest.update(f"{FRAME_VERSION} {crop.shape} {p.scaled_hw} {p.frame_px} {p.preprocessing}".encode())
    digest.update(crop.data)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def frame_mask(mask: np.ndarray, placement: Placement) -> Tensor:
    """Place a mask's crop in the frame.

    Args:
        mask: (H, W) bool, the whole file.
        placement: where the view sits.

    Returns:
        (1, S, S) float32 in {0, 1}: True where at least half of the pixel's area (bilinear) is defect; padding is 0.
    """
    x0, y0, x1, y1 = placement.crop_xyxy
    height, width = placement.scaled_hw
    crop = Image.fromarray(np.ascontiguousarray(mask[y0:y1, x0:x1]).astype(np.uint8) * 255)
    scaled = np.asarray(crop.resize((width, height), Image.Resampling.BILINEAR))
    framed = np.zeros((1, placement.frame_px, placement.frame_px), dtype=np.float32)
    framed[0, :height, :width] = scaled >= 128
    return torch.from_numpy(framed)


def inside(placements: Sequence[Placement], device: torch.device | str = "cpu") -> Tensor:
    """Return (V, 1, S, S) bool, True where a frame shows image and not padding."""
    sizes = torch.tensor([placement.scaled_hw for placement in placements], device=device)
    return _shown(sizes, placements[0].frame_px)


def shown_inside(batch: Batch, device: torch.device | str) -> Tensor:
    """Return ``inside`` of a batch's views, without a wait for the device where their sizes travelled with the batch."""
    if batch.scaled_hw is None:
        return inside(batch.placements, device)
    return _shown(batch.scaled_hw.to(device, non_blocking=True), batch.placements[0].frame_px)


def _shown(scaled_hw: Tensor, side: int) -> Tensor:
    steps = torch.arange(side, device=scaled_hw.device)
    rows, columns = (steps[None] < scaled_hw[:, dim, None] for dim in range(2))
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def to_frame(logits: Tensor, frame_px: int) -> Tensor:
    """Enlarge a network's (V, C, h, w) logits to the frame, (V, C, S, S), bilinearly as SAM does."""
    if logits.shape[-2:] == (frame_px, frame_px):
        return logits
    return F.interpolate(logits, (frame_px, frame_px), mode="bilinear", align_corners=False)


def to_crop(framed: Tensor, placement: Placement) -> Tensor:
    """Take (C, S, S) framed values back to the view's own size, (C, y1 - y0, x1 - x0): cut the padding, then resize."""
    x0, y0, x1, y1 = placement.crop_xyxy
    height, width = placement.scaled_hw
    cut = framed[None, :, :height, :width]
    return F.interpolate(cut, (y1 - y0, x1 - x0), mode="bilinear", align_corners=False)[0]


def to_file_size(framed: Tensor, placements: Sequence[Placement]) -> list[Tensor]:
    """Take (V, 1, S, S) framed values back to one (H, W) float32 tensor per image, blending tiles.

    Views of one image must be next to each other. An uncut image comes back by SAM's own inverse; tiles are averaged
    with weights that fall linearly towards each tile's edge.
    """
    maps: list[Tensor] = []
    groups: dict[int, list[int]] = {}
    for view, placement in enumerate(placements):
        groups.setdefault(placement.sample, []).append(view)
    for views in groups.values():
        first = placements[views[0]]
        if len(views) == 1 and first.crop_xyxy == (0, 0, first.file_hw[1], first.file_hw[0]):
            maps.append(to_crop(framed[views[0]].float(), first)[0])
            continue
        total = torch.zeros(first.file_hw, device=framed.device)
        weight = torch.zeros_like(total)
        for view in views:
            x0, y0, x1, y1 = placements[view].crop_xyxy
            edge_weight = _tile_weight(y1 - y0, x1 - x0, framed.device)
            total[y0:y1, x0:x1] += to_crop(framed[view].float(), placements[view])[0] * edge_weight
            weight[y0:y1, x0:x1] += edge_weight
        maps.append(total / weight.clamp_min(1e-12))
    return maps


def coverage(placements: Sequence[Placement]) -> Tensor:
    """Return the (H, W) float32 sum of the weights with which views of one image count at each pixel.

    ``to_file_size`` of some of an image's tiles, times this, adds up over parts of the tiles to the blend of all.
    """
    total = torch.zeros(placements[0].file_hw)
    for placement in placements:
        x0, y0, x1, y1 = placement.crop_xyxy
        total[y0:y1, x0:x1] += _tile_weight(y1 - y0, x1 - x0, total.device)
    return total


def _tile_weight(height: int, width: int, device: torch.device) -> Tensor:
    def ramp(length: int) -> Tensor:
        steps = torch.arange(length, device=device, dtype=torch.float32)
        return torch.minimum(steps + 1, length - steps) / ((length + 1) / 2)

    return ramp(height)[:, None] * ramp(width)[None]


def mirror_placements(placements: Sequence[Placement], *, x: bool, y: bool) -> list[Placement]:
    """Return where the views are when their files are mirrored: left-right (`x`), top-bottom (`y`) or both.

    >>> [p.crop_xyxy for p in mirror_placements([place((4, 9), (0, 1, 3, 4), 32)], x=True, y=True)]
    [(6, 0, 9, 3)]
    """
    mirrored = []
    for placement in placements:
        (x0, y0, x1, y1), (height, width) = placement.crop_xyxy, placement.file_hw
        x0, x1 = (width - x1, width - x0) if x else (x0, x1)
        y0, y1 = (height - y1, height - y0) if y else (y0, y1)
        mirrored.append(replace(placement, crop_xyxy=(x0, y0, x1, y1)))
    return mirrored


def mirror_views(framed: Tensor, placements: Sequence[Placement], *, x: bool, y: bool) -> Tensor:
    """Mirror what (V, C, S, S) frames show of the image, in a copy; padding stays right and below."""
    axes = [axis for axis, mirrored in ((-2, y), (-1, x)) if mirrored]
    mirrored = framed.clone()
    for view, placement in enumerate(placements):
        height, width = placement.scaled_hw
        mirrored[view, :, :height, :width] = framed[view, :, :height, :width].flip(axes)
    return mirrored


def mirror_points(points_xy: Tensor, placements: Sequence[Placement], *, x: bool, y: bool) -> Tensor:
    """Mirror (V, ..., 2) frame coordinates with the image that their frames show; 0 is its left or upper edge."""
    sizes = [(placement.scaled_hw[1], placement.scaled_hw[0]) for placement in placements]
    size = torch.tensor(sizes, dtype=points_xy.dtype, device=points_xy.device)
    size = size.reshape(len(placements), *[1] * (points_xy.ndim - 2), 2)
    return torch.where(torch.tensor([x, y], device=points_xy.device), size - points_xy, points_xy)


def mirror_boxes(boxes_xyxy: Tensor, placements: Sequence[Placement], *, x: bool, y: bool) -> Tensor:
    """Mirror (V, P, 4) boxes of the frame with the image that their frames show."""
    corners = mirror_points(boxes_xyxy.reshape(*boxes_xyxy.shape[:-1], 2, 2), placements, x=x, y=y)
    return torch.cat([corners.amin(-2), corners.amax(-2)], -1)


def points_to_frame(points_xy: np.ndarray, placement: Placement) -> np.ndarray:
    """Take (..., 2) file coordinates (x, y) into the frame; float32, since float64 breaks some accelerators."""
    x0, y0, x1, y1 = placement.crop_xyxy
    scale = np.array([placement.scaled_hw[1] / (x1 - x0), placement.scaled_hw[0] / (y1 - y0)], np.float32)
    return ((np.asarray(points_xy, dtype=np.float32) - np.array([x0, y0], np.float32)) * scale).astype(np.float32)


def boxes_to_frame(boxes_xyxy: np.ndarray, placement: Placement) -> np.ndarray:
    """Take (..., 4) file boxes into the frame; float32."""
    corners = np.asarray(boxes_xyxy, dtype=np.float32).reshape(*np.shape(boxes_xyxy)[:-1], 2, 2)
    return points_to_frame(corners, placement).reshape(np.shape(boxes_xyxy))
