"""clDice by hand on lines, and against scikit-image's skeletons on strips."""

import numpy as np
import pytest
import torch
from skimage.morphology import skeletonize

from samis.config import LossConfig
from samis.core.cldice import cldice, soft_skeleton
from samis.core.losses import MaskLoss, dice

SURE = 30.0


def logits_of(mask):
    """Return logits of a sure map, (1, 1, H, W)."""
    return torch.where(torch.from_numpy(mask), SURE, -SURE)[None, None]


def truth_of(mask):
    return torch.from_numpy(mask).float()[None, None]


def line(rows, columns, side=40):
    mask = np.zeros((side, side), bool)
    mask[rows, columns] = True
    return mask


def test_half_a_line_by_hand():
    """A line of 20 pixels, of which 10 are found: precision (10 + 1) / (10 + 1), recall (10 + 1) / (20 + 1)."""
    truth, half = line(slice(8, 9), slice(5, 25)), line(slice(8, 9), slice(5, 15))
    recall = 11 / 21
    assert cldice(logits_of(half), truth_of(truth)).item() == pytest.approx(1 - 2 * recall / (1 + recall), abs=1e-6)
    assert cldice(logits_of(truth), truth_of(truth)).item() == pytest.approx(0, abs=1e-6)
    false = line(slice(30, 31), slice(5, 25))  # nothing of it is right: 1 / 21 both ways
    assert cldice(logits_of(false), truth_of(truth)).item() == pytest.approx(1 - 1 / 21, abs=1e-6)


def test_the_width_does_not_count_but_a_gap_does():
    """A strip 5 wide, found 3 wide: its skeleton is the same; with 10 of 30 columns missing, two thirds are found."""
    truth, thin = line(slice(10, 15), slice(5, 35)), line(slice(11, 14), slice(5, 35))
    whole = cldice(logits_of(thin), truth_of(truth)).item()
    assert whole < 0.02 < 0.2 < dice(logits_of(thin), truth_of(truth)).item()
    gap = thin.copy()
    gap[:, 15:25] = False
    assert cldice(logits_of(gap), truth_of(truth)).item() == pytest.approx(0.2, abs=0.03)  # 1 - 2 (2/3) / (1 + 2/3)


def reference(found, truth):
    """Return 1 - clDice of two masks by scikit-image's skeletons, a pixel added above and below."""
    skeletons = [skeletonize(mask) for mask in (found, truth)]
    precision = ((skeletons[0] & truth).sum() + 1) / (skeletons[0].sum() + 1)
    recall = ((skeletons[1] & found).sum() + 1) / (skeletons[1].sum() + 1)
    return 1 - 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("shift", [0, 2, 3, 4, 6])
@pytest.mark.parametrize("width", [3, 5, 7])
def test_strips_as_by_another_skeleton(width, shift):
    """A strip and the same one below it by some pixels, half of it cut off."""
    truth = line(slice(20, 20 + width), slice(4, 76), side=80)
    found = line(slice(20 + shift, 20 + shift + width), slice(40, 76), side=80)
    expected = reference(found, truth)
    assert cldice(logits_of(found), truth_of(truth)).item() == pytest.approx(expected, abs=0.05)


def test_a_skeleton_is_thin_inside_and_of_soft_maps_soft():
    strip = truth_of(line(slice(10, 17), slice(5, 35)))
    skeleton = soft_skeleton(strip, 10)[0, 0].numpy()
    assert set(np.unique(skeleton)) <= {0, 1}
    assert (skeleton[:, 10:30].sum(axis=0) == 1).all() and (skeleton[13, 10:30] == 1).all()
    assert torch.allclose(soft_skeleton(0.5 * strip, 10), 0.5 * torch.from_numpy(skeleton), atol=1e-6)
    assert not soft_skeleton(strip, 1)[0, 0].numpy()[13, 10:30].any(), "too few steps do not reach the middle"


def test_images_are_apart_and_padding_never_counts():
    masks = [line(slice(8, 9), slice(5, 25)), line(slice(20, 23), slice(5, 35))]
    found = line(slice(8, 9), slice(5, 15))
    alone = [cldice(logits_of(found), truth_of(mask)).item() for mask in masks]
    both = cldice(torch.cat([logits_of(found)] * 2), torch.cat([truth_of(mask) for mask in masks]))
    assert both.tolist() == pytest.approx(alone, abs=1e-6) and alone[0] != alone[1]
    inside = torch.zeros(1, 1, 40, 60, dtype=torch.bool)
    inside[..., :40] = True
    given = ((logits_of(found), SURE), (truth_of(masks[0]), 1.0))
    padded = [torch.nn.functional.pad(each, (0, 20), value=value) for each, value in given]
    assert cldice(*padded, inside).item() == pytest.approx(alone[0], abs=1e-6)


def test_an_empty_truth_and_a_gradient():
    empty = torch.zeros(1, 1, 40, 40)
    assert cldice(torch.full((1, 1, 40, 40), -SURE), empty).item() == pytest.approx(0, abs=1e-5)
    assert cldice(logits_of(line(slice(8, 9), slice(5, 25))), empty).item() > 0.5
    truth = truth_of(line(slice(10, 15), slice(5, 35)))
    logits = torch.zeros(1, 1, 40, 40, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    losses = []
    for _ in range(40):
        loss = (cldice(logits, truth) + dice(logits, truth)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0] and torch.isfinite(logits).all()


def test_it_is_a_part_of_the_loss():
    truth, found = truth_of(line(slice(10, 15), slice(5, 35))), logits_of(line(slice(11, 14), slice(5, 20)))
    loss = MaskLoss(LossConfig(bce=0.0, iou=0.0, dice=0.5, cldice=0.5, cldice_steps=4))
    each, parts = loss(found, truth)
    assert torch.allclose(each, 0.5 * dice(found, truth) + 0.5 * cldice(found, truth, steps=4))
    assert set(parts) == {"dice", "cldice"}
