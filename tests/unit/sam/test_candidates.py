"""Measures of candidate masks and the filter of a point grid, by hand."""

import pytest
import torch

from samis.sam.candidates import (
    Candidates,
    MaskGeneration,
    _measure_crops,
    _measure_whole,
    filter_masks,
    mask_boxes,
    stability,
)
from samis.sam.forward import SamOutput

INSIDE = torch.ones(4, 4, dtype=torch.bool)


class TestStability:
    def test_is_the_share_that_survives_a_higher_threshold(self):
        logits = torch.full((1, 4, 4), -5.0)
        logits[0, 0] = torch.tensor([3.0, 3.0, 0.5, -0.5])  # 2 cells above +1, 4 above -1
        assert stability(logits, INSIDE, 1.0).tolist() == [0.5]

    def test_is_zero_for_an_empty_mask(self):
        assert stability(torch.full((1, 4, 4), -5.0), INSIDE, 1.0).tolist() == [0.0]

    def test_leaves_padding_out(self):
        logits = torch.full((1, 4, 4), 3.0)
        logits[0, :, 2:] = 0.0
        inside = INSIDE.clone()
        inside[:, 2:] = False
        assert stability(logits, INSIDE, 1.0).tolist() == [0.5]
        assert stability(logits, inside, 1.0).tolist() == [1.0]


class TestBoxes:
    @pytest.mark.parametrize(("cells", "box"), [
        ([], [0, 0, 0, 0]),
        ([(1, 2)], [2, 1, 3, 2]),
        ([(0, 0), (3, 4)], [0, 0, 5, 4]),
    ])  # fmt: skip
    def test_are_around_the_mask_ends_exclusive(self, cells, box):
        mask = torch.zeros(1, 4, 6, dtype=torch.bool)
        for y, x in cells:
            mask[0, y, x] = True
        assert mask_boxes(mask).tolist() == [box]

    def test_no_masks_no_boxes(self):
        assert mask_boxes(torch.zeros(0, 4, 4, dtype=torch.bool)).shape == (0, 4)


def test_area_is_the_share_of_the_image_not_of_the_frame():
    inside = INSIDE.clone()
    inside[2:] = False
    c = Candidates(torch.full((1, 4, 4), 1.0), torch.ones(1), inside, torch.zeros(4, 4))
    assert c.area.tolist() == [1.0]


class TestFilterMasks:
    """One chunk of two prompts, each about its own view; logits of height 500 but where a test says otherwise."""

    def kept(self, masks, iou, *, height=500.0, views=(0, 1), **limits):
        logits = torch.where(masks, height, -height)
        output = SamOutput(logits[:, None], torch.tensor(iou)[:, None])
        inside = torch.ones(2, *masks.shape[-2:], dtype=torch.bool)
        return filter_masks([(output, torch.tensor(views))], inside, MaskGeneration(**limits))

    @pytest.fixture
    def masks(self):
        masks = torch.zeros(2, 4, 8, 8, dtype=torch.bool)
        masks[:, 0] = True  # the single answer is never a candidate
        masks[:, 1, :3, :3] = True
        masks[:, 2, 4:, 4:] = True
        return masks  # the third alternative is empty

    def test_keeps_alternatives_by_view_best_first(self, masks):
        (first, iou), (second, _) = self.kept(masks, [[1.0, 0.9, 0.95, 0.99], [1.0, 0.5, 0.9, 0.9]])
        assert torch.equal(first > 0, masks[0, [2, 1]])
        assert iou.tolist() == pytest.approx([0.95, 0.9])
        assert torch.equal(second > 0, masks[1, [2]])

    def test_thresholds_are_segment_anythings(self):
        assert (MaskGeneration().min_iou, MaskGeneration().min_stability, MaskGeneration().nms_iou) == (0.88, 0.95, 0.7)

    def test_drops_unstable_masks(self, masks):
        first, second = self.kept(masks, [[1.0] * 4] * 2, height=0.5)
        assert len(first[0]) == len(second[0]) == 0

    def test_drops_doubles_within_a_view_only(self, masks):
        masks[:, 2] = masks[:, 1]
        first, second = self.kept(masks, [[1.0, 0.9, 0.95, 0.99]] * 2)
        assert (len(first[0]), len(second[0])) == (1, 1)
        assert first[1].tolist() == pytest.approx([0.95])
        both, none = self.kept(masks, [[1.0, 0.9, 0.95, 0.99], [1.0, 0.97, 0.9, 0.9]], views=(0, 0))
        assert both[1].tolist() == pytest.approx([0.97])
        assert none[0].shape == (0, 8, 8)

    def test_no_prompt_at_all_gives_no_mask(self):
        kept = filter_masks([], torch.ones(2, 8, 8, dtype=torch.bool), MaskGeneration())
        assert [logits.shape for logits, _ in kept] == [(0, 8, 8)] * 2


@pytest.mark.parametrize("held", [1, 256 << 20])
def test_masks_measured_whole_are_those_measured_in_crops(held, monkeypatch):
    """The way of a GPU against that of a CPU: blobs at the border, over padding, and one that is empty."""
    monkeypatch.setattr("samis.sam.candidates.WHOLE_BYTES", held)
    draw = torch.Generator().manual_seed(0)
    logits = (
        6 * torch.nn.functional.interpolate(torch.randn(6, 1, 3, 4, generator=draw), (12, 16), mode="bicubic")[:, 0]
    )
    logits[3] = -9.0
    inside = torch.ones(6, 12, 16, dtype=torch.bool)
    inside[:, 9:] = False
    whole, crops = (measure(logits, inside, 1.0) for measure in (_measure_whole, _measure_crops))
    assert crops[0].count_nonzero() >= 4
    for one, other in zip(whole, crops, strict=True):
        assert torch.equal(one, other)
