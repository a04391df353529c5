"""Geometry holds for any size, from one pixel to a rail of a thousand: into the frame, back, tiles, points, boxes."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samis.core.geometry import (
    Framing,
    boxes_to_frame,
    frame_image,
    frame_mask,
    inside,
    points_to_frame,
    scaled_size,
    to_file_size,
    view_key,
)
from samis.core.preprocessing import PREPROCESSING

FEW = settings(max_examples=40, deadline=None, derandomize=True)
SIDE = st.one_of(st.integers(1, 8), st.integers(1, 300), st.sampled_from([1, 2, 1282, 2000]))
SIZE = st.tuples(SIDE, SIDE).filter(lambda hw: hw[0] * hw[1] <= 300_000)
FRAME = st.sampled_from([16, 64, 100, 256])
TILE = st.sampled_from([0, 16, 33, 64, 160, 5000])
OVERLAP = st.sampled_from([0.0, 0.25, 0.5, 0.9])
SEED = st.integers(0, 2**32 - 1)


def framings(hw: tuple[int, int], frame_px: int, tile_px: int, overlap: float) -> Framing:
    """Return a framing that cuts at most a hundred tiles."""
    framing = Framing(frame_px, tile_px, overlap)
    step = max(1.0, tile_px * (1 - overlap))
    many = tile_px and (hw[0] / step + 1) * (hw[1] / step + 1) > 100
    return Framing(frame_px, 0, overlap) if many else framing


@FEW
@given(SIZE, FRAME)
def test_the_longer_side_fills_the_frame_and_the_shorter_keeps_its_share(hw: tuple[int, int], side: int) -> None:
    scaled = scaled_size(hw, side)
    assert max(scaled) == side
    for own, got in zip(hw, scaled, strict=True):
        exact = Fraction(own * side, max(hw))
        assert got >= 1
        assert abs(got - exact) <= Fraction(1, 2) + Fraction(1, 10**6) or got == 1
    assert scaled_size(hw[::-1], side) == scaled[::-1]


@FEW
@given(SIZE, FRAME, TILE, OVERLAP)
def test_tiles_cover_each_pixel_overlap_as_asked_and_stay_inside(
    hw: tuple[int, int], side: int, tile: int, overlap: float
) -> None:
    framing = framings(hw, side, tile, overlap)
    placements = framing.placements(hw)
    seen = np.zeros(hw, int)
    for placement in placements:
        x0, y0, x1, y1 = placement.crop_xyxy
        assert 0 <= x0 < x1 <= hw[1] and 0 <= y0 < y1 <= hw[0]
        assert placement.file_hw == hw and max(placement.scaled_hw) == side
        assert len(placements) == 1 or max(x1 - x0, y1 - y0) <= framing.tile_px
        seen[y0:y1, x0:x1] += 1
    assert seen.min() == 1 or len(placements) > 1
    assert seen.min() >= 1
    lefts = sorted({placement.crop_xyxy[::2] for placement in placements})
    for (_, end), (start, _) in pairwise(lefts):
        assert end - start >= framing.tile_px * overlap - 1  # starts are whole pixels


@FEW
@given(SIZE, FRAME, TILE, OVERLAP, st.booleans())
def test_one_value_comes_back_as_that_value_at_the_files_size(
    hw: tuple[int, int], side: int, tile: int, overlap: float, value: bool
) -> None:
    placements = framings(hw, side, tile, overlap).placements(hw)
    framed = torch.stack([frame_mask(np.full(hw, value), placement) for placement in placements])
    shown = inside(placements)
    assert int(shown.sum()) == sum(p.scaled_hw[0] * p.scaled_hw[1] for p in placements)
    assert (framed.bool() == (shown & torch.tensor(value))).all()
    (back,) = to_file_size(framed, placements)
    assert back.shape == hw and back.dtype == torch.float32
    assert (back - float(value)).abs().max() < 1e-5


@FEW
@given(SIZE, FRAME, TILE, SEED)
def test_a_map_comes_back_within_its_range_and_several_images_do_not_mix(
    hw: tuple[int, int], side: int, tile: int, seed: int
) -> None:
    framing = framings(hw, side, tile, 0.25)
    first, second = framing.placements(hw, sample=0), framing.placements(hw[::-1], sample=1)
    rng = torch.Generator().manual_seed(seed)
    framed = torch.rand(len(first) + len(second), 1, side, side, generator=rng)
    maps = to_file_size(framed, [*first, *second])
    assert [tuple(values.shape) for values in maps] == [hw, hw[::-1]]
    for values, views in zip(maps, (framed[: len(first)], framed[len(first) :]), strict=True):
        assert values.min() >= views.min() - 1e-5 and values.max() <= views.max() + 1e-5
    assert torch.equal(to_file_size(framed[: len(first)], first)[0], maps[0])


@FEW
@given(SIZE, FRAME, SEED)
def test_an_image_leaves_the_padding_zero_and_a_mask_agrees_with_its_image(
    hw: tuple[int, int], side: int, seed: int
) -> None:
    (placement,) = Framing(side).placements(hw)
    mask = np.random.default_rng(seed).random(hw) < 0.5
    image = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
    framed, truth = frame_image(image, placement), frame_mask(mask, placement)
    height, width = placement.scaled_hw
    assert framed.shape == (3, side, side) and truth.shape == (1, side, side)
    outside = ~inside([placement])[0, 0]
    assert (framed[:, outside] == 0).all() and (truth[:, outside] == 0).all()
    brightness = framed[0, :height, :width] * 58.395 + 123.675  # red's deviation and mean
    assert ((brightness >= 127.5) == truth[0, :height, :width].bool()).all()


@FEW
@given(SIZE, FRAME, TILE, SEED)
def test_points_and_boxes_go_to_the_frame_and_back(hw: tuple[int, int], side: int, tile: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for placement in framings(hw, side, tile, 0.25).placements(hw)[:5]:
        x0, y0, x1, y1 = placement.crop_xyxy
        points = rng.random((6, 2)) * [x1 - x0, y1 - y0] + [x0, y0]
        framed = points_to_frame(points, placement)
        assert framed.dtype == np.float32
        height, width = placement.scaled_hw
        assert (framed >= -1e-3).all() and (framed <= np.array([width, height]) + 1e-3).all()
        back = framed * [(x1 - x0) / width, (y1 - y0) / height] + [x0, y0]
        assert np.abs(back - points).max() < 1e-3 * max(1, max(hw) / 100)
        boxes = np.concatenate([np.minimum(points[:3], points[3:]), np.maximum(points[:3], points[3:])], axis=1)
        moved = boxes_to_frame(boxes, placement)
        assert (moved[:, :2] <= moved[:, 2:]).all()
        np.testing.assert_array_equal(moved[:, 2:], points_to_frame(boxes[:, 2:], placement))
        whole = boxes_to_frame(np.array([placement.crop_xyxy]), placement)
        np.testing.assert_allclose(whole, [[0, 0, width, height]], rtol=1e-5)


@FEW
@given(SIZE, FRAME, TILE, SEED)
def test_a_stretched_frame_has_no_padding_and_is_inverted(hw: tuple[int, int], side: int, tile: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cut = framings(hw, side, tile, 0.25)
    framing = Framing(side, cut.tile_px, cut.overlap, "sam2")
    placements = framing.placements(hw)
    assert inside(placements).all()
    maps = to_file_size(torch.full((len(placements), 1, side, side), 0.25), placements)
    assert maps[0].shape == hw
    torch.testing.assert_close(maps[0], torch.full(hw, 0.25), atol=1e-6, rtol=0)
    for placement in placements[:5]:
        x0, y0, x1, y1 = placement.crop_xyxy
        points = rng.random((6, 2)) * [x1 - x0, y1 - y0] + [x0, y0]
        framed = points_to_frame(points, placement)
        np.testing.assert_allclose(
            framed, (points - [x0, y0]) * [side / (x1 - x0), side / (y1 - y0)], atol=1e-2, rtol=1e-4
        )
        whole = boxes_to_frame(np.array([placement.crop_xyxy]), placement)
        np.testing.assert_allclose(whole, [[0, 0, side, side]], rtol=1e-5)


@FEW
@given(SIZE, SEED)
def test_the_preprocessing_is_part_of_a_views_key(hw: tuple[int, int], seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*hw, 3), dtype=np.uint8)
    placements = [Framing(64, preprocessing=name).placements(hw)[0] for name in PREPROCESSING]
    keys = {bytes(view_key(image, placement).tolist()) for placement in placements}
    assert len(keys) == len(PREPROCESSING)
    for name, placement in zip(PREPROCESSING, placements, strict=True):
        height, width = placement.scaled_hw
        how, framed = PREPROCESSING[name], frame_image(image, placement)[:, :height, :width]
        values = framed * torch.tensor(how.std)[:, None, None] + torch.tensor(how.mean)[:, None, None]
        assert values.min() >= image.min() - 1e-3 and values.max() <= image.max() + 1e-3
        if hw == (height, width):
            assert (values.permute(1, 2, 0).numpy() - image).max() < 1e-3
