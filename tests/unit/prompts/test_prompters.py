"""Prompters on hand-made masks: counts, coordinates, padding, tiles, oracles' marks, mistakes."""

import numpy as np
import pytest
import torch

from samis.config import PromptConfig
from samis.core.contracts import Sample
from samis.core.geometry import Framing
from samis.data.pipeline.loading import concat_prompts
from samis.errors import UserError
from samis.prompts import PROMPTERS, build_prompter


def sample_of(mask: np.ndarray | None, hw: tuple[int, int] = (40, 80)) -> Sample:
    hw = hw if mask is None else mask.shape
    return Sample("s", np.zeros((*hw, 3), np.uint8), mask)


def ask(sample: Sample, framing: Framing, *, seed: int = 0, **options):
    prompter = build_prompter(PromptConfig(**options))
    placements = framing.placements(sample.image.shape[:2])
    return prompter(sample, placements, np.random.default_rng(seed))


@pytest.fixture
def two_defects() -> Sample:
    mask = np.zeros((40, 80), dtype=bool)
    mask[4:10, 10:20] = True
    mask[30:36, 60:70] = True
    mask[36, 70] = True  # touches by a corner: the same component
    mask[0, 0] = True  # a speck
    return sample_of(mask)


class TestEveryPrompter:
    @pytest.mark.parametrize("kind", PROMPTERS)
    def test_one_row_for_each_view_in_float32(self, kind, two_defects):
        prompt = ask(two_defects, Framing(64, tile_px=40), kind=kind, points_per_side=3)
        views = len(Framing(64, tile_px=40).placements((40, 80)))
        assert prompt.kind == kind
        assert prompt.sees_truth == PROMPTERS[kind].sees_truth == (kind in ("box", "point"))
        for tensor in (prompt.points_xy, prompt.boxes_xyxy):
            assert tensor is None or (tensor.shape[0] == views and tensor.dtype == torch.float32)

    @pytest.mark.parametrize("kind", PROMPTERS)
    def test_samples_with_and_without_defects_share_a_batch(self, kind, two_defects):
        clean = sample_of(np.zeros((64, 64), dtype=bool))
        both = concat_prompts([ask(s, Framing(64), kind=kind, points_per_side=2) for s in (two_defects, clean)])
        if kind in ("box", "point"):
            assert both.present.tolist() == [[True, True], [False, False]]

    @pytest.mark.parametrize("kind", [kind for kind in PROMPTERS if not PROMPTERS[kind].sees_truth])
    def test_prompts_without_truth_need_no_mask(self, kind):
        ask(sample_of(None), Framing(64), kind=kind)

    @pytest.mark.parametrize("kind", ["box", "point"])
    def test_an_oracle_without_mask_is_refused(self, kind):
        with pytest.raises(UserError, match=f"s: prompt '{kind}'.*E-PROMPT-TRUTH"):
            ask(sample_of(None), Framing(64), kind=kind)


class TestGrid:
    def test_points_stand_half_a_cell_from_the_image_rim_and_off_the_padding(self):
        prompt = ask(sample_of(None, (40, 80)), Framing(64), kind="grid", points_per_side=2)
        # 80 x 40 becomes 64 x 32 in the frame.
        assert prompt.points_xy[0, :, 0].tolist() == [[16, 8], [48, 8], [16, 24], [48, 24]]
        assert prompt.point_labels.shape == (1, 4, 1)
        assert (prompt.point_labels == 1).all()

    def test_each_tile_has_its_own_grid(self):
        prompt = ask(sample_of(None, (40, 80)), Framing(64, tile_px=40), kind="grid", points_per_side=2)
        assert prompt.points_xy[:, :, 0].tolist() == 3 * [[[16, 16], [48, 16], [16, 48], [48, 48]]]


class TestWhole:
    def test_the_box_leaves_padding_out(self):
        prompt = ask(sample_of(None, (40, 80)), Framing(64), kind="whole")
        assert prompt.boxes_xyxy.tolist() == [[[0, 0, 64, 32]]]


class TestBox:
    def test_one_box_for_each_component_specks_left_out(self, two_defects):
        prompt = ask(two_defects, Framing(80), kind="box")
        assert prompt.boxes_xyxy.tolist() == [[[10, 4, 20, 10], [60, 30, 71, 37]]]
        assert prompt.present.all()

    def test_one_box_for_the_image(self, two_defects):
        prompt = ask(two_defects, Framing(80), kind="box", per="image")
        assert prompt.boxes_xyxy.tolist() == [[[0, 0, 71, 37]]]

    def test_a_speck_counts_where_there_is_nothing_else(self):
        mask = np.zeros((8, 8), dtype=bool)
        mask[2, 5] = True
        assert ask(sample_of(mask), Framing(16), kind="box").boxes_xyxy.tolist() == [[[10, 4, 12, 6]]]

    def test_a_full_mask_gives_the_whole_image(self):
        assert ask(sample_of(np.ones((8, 8), bool)), Framing(16), kind="box").boxes_xyxy.tolist() == [[[0, 0, 16, 16]]]

    def test_tiles_see_only_their_part_of_a_defect(self):
        mask = np.zeros((40, 80), dtype=bool)
        mask[10:20, 30:46] = True
        prompt = ask(sample_of(mask), Framing(40, tile_px=40, overlap=0.0), kind="box")
        assert prompt.boxes_xyxy.tolist() == [[[30, 10, 40, 20]], [[0, 10, 6, 20]]]

    def test_views_without_a_defect_are_not_present(self):
        mask = np.zeros((40, 80), dtype=bool)
        mask[10:20, 50:60] = True
        prompt = ask(sample_of(mask), Framing(40, tile_px=40, overlap=0.0), kind="box")
        assert prompt.present.tolist() == [[False], [True]]

    def test_jitter_moves_each_side_within_the_view_and_by_seed_alone(self, two_defects):
        plain, moved, again, other = (
            ask(two_defects, Framing(80), kind="box", jitter=jitter, seed=seed).boxes_xyxy
            for jitter, seed in ((0.0, 0), (0.1, 0), (0.1, 0), (0.1, 1))
        )
        assert torch.equal(moved, again)
        assert not torch.equal(moved, other)
        size = (plain[..., 2:] - plain[..., :2]).repeat(1, 1, 2)
        assert ((moved - plain).abs() <= 0.2 * size + 1e-4).all()
        assert (moved != plain).all()
        assert (moved >= 0).all() and (moved[..., 2:] <= torch.tensor([80, 40])).all()

    def test_a_jittered_box_keeps_an_area(self):
        mask = np.zeros((8, 8), dtype=bool)
        mask[3, 3] = True
        for seed in range(50):
            box = ask(sample_of(mask), Framing(16), kind="box", jitter=0.4, seed=seed).boxes_xyxy[0, 0]
            assert (box[2:] - box[:2] >= 2).all()  # a file pixel is two of the frame


class TestPoint:
    def test_the_innermost_pixel_of_each_component(self):
        mask = np.zeros((40, 80), dtype=bool)
        mask[5:10, 10:15] = True
        mask[20:23, 50:53] = True
        prompt = ask(sample_of(mask), Framing(80), kind="point")
        assert prompt.points_xy.tolist() == [[[[12, 7]], [[51, 21]]]]
        assert prompt.point_labels.tolist() == [[[1], [1]]]

    def test_one_for_the_image_lies_in_the_thickest_defect(self):
        mask = np.zeros((40, 80), dtype=bool)
        mask[5:14, 10:19] = True
        mask[20:23, 50:53] = True
        assert ask(sample_of(mask), Framing(80), kind="point", per="image").points_xy.tolist() == [[[[14, 9]]]]

    def test_a_ring_is_asked_on_itself_not_in_its_hole(self):
        y, x = np.mgrid[:41, :41]
        ring = np.abs(np.hypot(y - 20, x - 20) - 14) < 3
        x, y = ask(sample_of(ring), Framing(41), kind="point").points_xy[0, 0, 0].int().tolist()
        assert ring[y, x]


class TestMistakes:
    @pytest.mark.parametrize(
        ("options", "parts"),
        [
            ({"kind": "boxes"}, "prompt.kind: .*'boxes'; did you mean box.*E-PROMPT-KIND"),
            ({"kind": "box", "per": "images"}, "prompt.per: .*'images'; did you mean image.*E-PROMPT-OPTION"),
            ({"kind": "point", "per": "x"}, "prompt.per: .*'x'.*E-PROMPT-OPTION"),
            ({"kind": "box", "jitter": -0.1}, r"prompt.jitter: .*-0.1.*E-PROMPT-OPTION"),
            ({"kind": "grid", "points_per_side": 0}, "prompt.points_per_side: .* 0 .*E-PROMPT-OPTION"),
        ],
    )
    def test_one_clear_line(self, options, parts):
        with pytest.raises(UserError, match=parts) as caught:
            build_prompter(PromptConfig(**options))
        assert "\n" not in str(caught.value)
