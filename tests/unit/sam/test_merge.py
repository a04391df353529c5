"""Each mask rule on hand-made candidates: what it picks, what it leaves out, what it says when there is nothing."""

import pytest
import torch

from samis.errors import UserError
from samis.sam.candidates import Candidates
from samis.sam.merge import MASK_RULES, NOTHING, ORACLE_RULES, RULE_PARAMETERS, check_rule, merge

RULES = pytest.mark.parametrize("rule", MASK_RULES)
PICKS_ONE = ["top_iou", "top_stability", "largest", "contrast", "oracle_best"]


def mask_of(text: str) -> torch.Tensor:
    return torch.tensor([[cell == "#" for cell in row] for row in text.split()])


SPOT = mask_of(".... .##. .##. ....")  # dark, 4 cells
CORNER = mask_of("##.. #... .... ....")  # 3 cells, as bright as the rest
STRIPE = mask_of("##.. ##.. ##.. ##..")  # 8 cells: half of the image, still no background
SURFACE = mask_of("#### #..# #..# ####")  # 12 cells, background


def candidates(*masks: torch.Tensor, iou=None, height=None, truth=SPOT, inside=None) -> Candidates:
    """Return candidates whose logits are +height on the mask and -height off it."""
    height = torch.tensor(height if height is not None else [5.0] * len(masks))
    stack = torch.stack(masks) if masks else torch.zeros(0, 4, 4, dtype=torch.bool)
    return Candidates(
        logits=torch.where(stack, 1.0, -1.0) * height[:, None, None],
        iou=torch.tensor(iou if iou is not None else [0.5] * len(masks)),
        inside=torch.ones(4, 4, dtype=torch.bool) if inside is None else inside,
        grey=torch.where(SPOT, 60.0, 100.0),
        truth=None if truth is None else truth.float(),
    )


def merged(rule: str, c: Candidates) -> torch.Tensor:
    return merge(rule, c).sigmoid() > 0.5


class TestEveryRule:
    @RULES
    def test_no_candidate_gives_exactly_zero(self, rule):
        logits = merge(rule, candidates())
        assert logits.shape == (4, 4)
        assert (logits.sigmoid() == 0).all()

    @RULES
    def test_does_not_change_its_input(self, rule):
        c = candidates(SPOT, CORNER, SURFACE)
        before = c.logits.clone()
        merge(rule, c)
        assert torch.equal(c.logits, before)

    @RULES
    def test_order_of_candidates_does_not_matter(self, rule):
        masks, iou, height = [SPOT, CORNER, STRIPE, SURFACE], [0.6, 0.9, 0.7, 0.8], [5.0, 1.5, 3.0, 2.0]
        forth = candidates(*masks, iou=iou, height=height)
        back = candidates(*masks[::-1], iou=iou[::-1], height=height[::-1])
        torch.testing.assert_close(merge(rule, forth), merge(rule, back))

    @RULES
    def test_is_finite_on_full_and_empty_masks(self, rule):
        full, empty = torch.ones(4, 4, dtype=torch.bool), torch.zeros(4, 4, dtype=torch.bool)
        for masks in ([full], [empty], [full, empty]):
            assert merge(rule, candidates(*masks)).isfinite().all()

    @pytest.mark.parametrize("rule", PICKS_ONE)
    def test_one_mask_keeps_its_logits(self, rule):
        c = candidates(SPOT)
        assert torch.equal(merge(rule, c), c.logits[0])

    def test_parameters_belong_to_rules(self):
        assert set(RULE_PARAMETERS) | ORACLE_RULES <= set(MASK_RULES)


def test_top_iou_takes_the_best_predicted_even_background():
    assert torch.equal(merged("top_iou", candidates(SPOT, SURFACE, iou=[0.8, 0.9])), SURFACE)


class TestTopStability:
    def test_takes_the_mask_that_moves_least(self):
        # Logits of +-0.5 move when the threshold does by 1, those of +-5 do not.
        assert torch.equal(merged("top_stability", candidates(CORNER, SPOT, height=[0.5, 5.0], iou=[0.9, 0.1])), SPOT)

    def test_of_equals_the_better_predicted(self):
        assert torch.equal(merged("top_stability", candidates(CORNER, SPOT, STRIPE, iou=[0.1, 0.3, 0.2])), SPOT)


class TestLargest:
    def test_leaves_background_out(self):
        assert torch.equal(merged("largest", candidates(SPOT, STRIPE, SURFACE)), STRIPE)

    def test_takes_the_smallest_if_all_are_background(self):
        full = torch.ones(4, 4, dtype=torch.bool)
        assert torch.equal(merged("largest", candidates(full, SURFACE)), SURFACE)

    def test_padding_does_not_count(self):
        inside = mask_of("###. ###. .... ....")  # on 6 cells, STRIPE covers 4: background; CORNER covers 3
        assert torch.equal(merged("largest", candidates(STRIPE, CORNER, inside=inside)), CORNER)


class TestUnionTopk:
    def test_joins_masks_without_background(self):
        assert torch.equal(merged("union_topk", candidates(SPOT, CORNER, SURFACE)), SPOT | CORNER)

    def test_joins_five(self):
        masks = torch.eye(16, dtype=torch.bool)[:7].reshape(7, 4, 4)
        got = merged("union_topk", candidates(*masks, iou=[0.1, 0.9, 0.8, 0.7, 0.2, 0.6, 0.5]))
        assert torch.equal(got, masks[[1, 2, 3, 5, 6]].any(0))


class TestContrast:
    def test_takes_what_differs_from_its_ring(self):
        assert torch.equal(merged("contrast", candidates(CORNER, SPOT, iou=[0.9, 0.1])), SPOT)

    def test_counts_deviations_of_the_ring(self):
        # Ring of SPOT: 12 cells of grey 100, deviation 0, held at 2 levels: (100 - 60) / 2.
        assert candidates(SPOT).contrast.tolist() == pytest.approx([20.0])

    def test_only_background_gives_nothing(self):
        assert (merge("contrast", candidates(SURFACE)) == NOTHING).all()

    def test_a_mask_without_ring_has_none(self):
        assert candidates(torch.ones(4, 4, dtype=torch.bool)).contrast.tolist() == [0.0]

    def test_padding_is_no_ring(self):
        inside = mask_of(".... .##. .##. ....")
        assert candidates(SPOT, inside=inside).contrast.tolist() == [0.0]


class TestUnionContrast:
    def test_joins_all_that_stand_out(self):
        left, right = mask_of(".... .#.. .#.. ...."), mask_of(".... ..#. ..#. ....")
        plain = mask_of(".... .... .... ...#")
        c = candidates(left, right, plain)
        c.grey = torch.tensor([[100.0, 104, 96, 100], [100, 60, 60, 104], [96, 60, 60, 100], [100, 104, 96, 100]])
        assert c.contrast[2] < 1.5 <= c.contrast[:2].min()
        assert torch.equal(merged("union_contrast", c), SPOT)

    def test_may_find_nothing(self):
        c = candidates(CORNER, STRIPE)
        c.grey = torch.full((4, 4), 100.0)
        assert (merge("union_contrast", c) == NOTHING).all()


class TestContrastSum:
    def test_adds_weighted_probabilities_over_their_maximum(self):
        c = candidates(SPOT, CORNER)
        weight = c.contrast / c.contrast.sum()
        total = (weight[:, None, None] * c.logits.sigmoid()).sum(0)
        torch.testing.assert_close(merge("contrast_sum", c).sigmoid(), total / total.max(), atol=2e-6, rtol=0)

    def test_no_contrast_gives_nothing(self):
        c = candidates(CORNER)
        c.grey = torch.full((4, 4), 100.0)
        assert (merge("contrast_sum", c) == NOTHING).all()


class TestNotBackground:
    def test_is_what_the_surface_leaves_out(self):
        assert torch.equal(merged("not_background", candidates(SURFACE, CORNER)), SPOT)

    def test_without_surface_there_is_nothing(self):
        assert (merge("not_background", candidates(SPOT)) == NOTHING).all()


class TestOracleBest:
    def test_takes_the_nearest_to_the_truth(self):
        assert torch.equal(merged("oracle_best", candidates(STRIPE, SPOT, SURFACE, iou=[0.9, 0.1, 0.5])), SPOT)

    def test_an_empty_truth_wants_nothing(self):
        c = candidates(SPOT, truth=torch.zeros(4, 4))
        assert (merge("oracle_best", c) == NOTHING).all()

    def test_without_truth_it_is_refused(self):
        with pytest.raises(UserError, match=r"oracle_best.*E-SAM-ORACLE"):
            merge("oracle_best", candidates(SPOT, truth=None))


def test_an_unknown_rule_is_answered_with_the_near_one():
    with pytest.raises(UserError, match=r"'top_ious'; did you mean top_iou\?.*E-SAM-MASK-RULE"):
        check_rule("top_ious")
