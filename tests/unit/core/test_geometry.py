import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.utils.transforms import ResizeLongestSide

from samis.core.geometry import (
    Framing,
    boxes_to_frame,
    frame_image,
    frame_mask,
    inside,
    place,
    points_to_frame,
    scaled_size,
    tile_crops,
    to_file_size,
)

SIZES = st.tuples(st.integers(1, 400), st.integers(1, 400))


@given(SIZES, st.sampled_from([64, 256, 1024]))
def test_scaled_size_is_stock(hw, side):
    assert scaled_size(hw, side) == tuple(max(1, n) for n in ResizeLongestSide.get_preprocess_shape(*hw, side))


@pytest.mark.parametrize("hw", [(200, 200), (61, 83), (227, 105), (160, 1282)])
def test_image_equals_stock_preprocessing(hw):
    from segment_anything.modeling import Sam

    image = np.random.default_rng(0).integers(0, 256, (*hw, 3), dtype=np.uint8)
    placement = place(hw, (0, 0, hw[1], hw[0]), 256)
    scaled = ResizeLongestSide(256).apply_image(image)
    stock = Sam(type("Encoder", (torch.nn.Module,), {"img_size": 256})(), torch.nn.Identity(), torch.nn.Identity())
    expected = stock.preprocess(torch.from_numpy(scaled).permute(2, 0, 1).float())
    torch.testing.assert_close(frame_image(image, placement), expected, atol=1e-5, rtol=0)


@settings(max_examples=60)
@given(st.tuples(st.integers(16, 400), st.integers(16, 400)), st.integers(0, 2**32 - 1))
def test_round_trip_of_points_is_exact_to_half_a_pixel(hw, seed):
    placement = place(hw, (0, 0, hw[1], hw[0]), 256)
    points = np.random.default_rng(seed).uniform(0, 1, (5, 2)) * [hw[1], hw[0]]
    framed = points_to_frame(points, placement)
    assert framed.dtype == np.float32
    height, width = placement.scaled_hw
    assert np.abs(framed * [hw[1] / width, hw[0] / height] - points).max() < 0.01


@pytest.mark.parametrize("hw", [(61, 83), (227, 105), (200, 200), (255, 257)])
def test_round_trip_of_an_edge_is_exact_to_half_a_pixel(hw):
    """A step edge comes back where it was: the 0.5 crossing moves by less than half a pixel."""
    for column in (hw[1] // 3, hw[1] // 2):
        mask = np.zeros(hw, bool)
        mask[:, column:] = True
        placement = place(hw, (0, 0, hw[1], hw[0]), 256)
        back = to_file_size(frame_mask(mask, placement)[None], [placement])[0]
        assert back.shape == hw
        middle = back[hw[0] // 2].numpy()
        assert abs(float(middle.sum()) - (hw[1] - column)) <= 0.5


def test_boxes_and_points_agree():
    placement = place((100, 50), (10, 20, 50, 60), 64)
    box = boxes_to_frame(np.array([[10, 20, 50, 60]]), placement)
    np.testing.assert_allclose(box, [[0, 0, 64, 64]])


def test_inside_marks_image_not_padding():
    shown = inside([place((10, 20), (0, 0, 20, 10), 64)])
    assert shown.shape == (1, 1, 64, 64)
    assert int(shown.sum()) == 32 * 64


@given(SIZES, st.integers(8, 200), st.sampled_from([0.0, 0.25, 0.5]))
def test_tiles_cover_every_pixel(hw, tile, overlap):
    seen = np.zeros(hw, int)
    crops = tile_crops(hw, tile, overlap)
    for x0, y0, x1, y1 in crops:
        assert 0 <= x0 < x1 <= hw[1]
        assert 0 <= y0 < y1 <= hw[0]
        assert max(x1 - x0, y1 - y0) <= max(tile, 1) or len(crops) == 1
        seen[y0:y1, x0:x1] += 1
    assert seen.min() >= 1


def test_tiles_blend_to_the_whole():
    """Tiles of a smooth field come back as that field."""
    hw = (40, 130)
    field = np.linspace(0, 1, hw[1], dtype=np.float32)[None].repeat(hw[0], 0)
    placements = Framing(64, 40, 0.25).placements(hw)
    assert len(placements) == 4
    views = []
    for p in placements:
        x0, y0, x1, y1 = p.crop_xyxy
        crop = torch.from_numpy(field[y0:y1, x0:x1])[None, None]
        framed = torch.zeros(1, 64, 64)
        height, width = p.scaled_hw
        framed[:, :height, :width] = torch.nn.functional.interpolate(crop, (height, width), mode="bilinear")[0]
        views.append(framed)
    back = to_file_size(torch.stack(views), placements)
    assert len(back) == 1
    assert np.abs(back[0].numpy() - field).max() < 0.01


def test_overlapping_tiles_are_weighted_by_their_distance_to_the_edge():
    """Two tiles of four pixels that share two: weights 1 2 2 1 in each, by hand."""
    placements = [place((4, 6), (0, 0, 4, 4), 16), place((4, 6), (2, 0, 6, 4), 16)]
    views = torch.stack([torch.full((1, 16, 16), 0.0), torch.full((1, 16, 16), 3.0)])
    row = to_file_size(views, placements)[0][1]
    torch.testing.assert_close(row, torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, 3.0]))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [((8,), "frame_px"), ((64, -1), "tile_px"), ((64, 1), "tile_px"), ((64, 16, 0.95), "overlap")],
)
def test_bad_framing_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        Framing(*arguments)
