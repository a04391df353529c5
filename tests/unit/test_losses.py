"""Losses against numbers worked out by hand, plain loops and torchvision."""

import math

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from samis.config import LossConfig
from samis.losses import MaskLoss, bce, dice, focal, iou, l1

LOSSES = {"bce": bce, "focal": focal, "dice": dice, "iou": iou, "l1": l1}
ZERO, HALF = 0.0, math.log(3)  # sigmoid 1/2 and 3/4


def image(*rows):
    return torch.tensor(rows, dtype=torch.float32)[None, None]


LOGITS = image([HALF, -HALF], [ZERO, HALF])  # map: 3/4 1/4 / 1/2 3/4
TRUTH = image([1, 0], [0, 0])
EMPTY, FULL = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)


def test_by_hand():
    costs = [math.log(4 / 3), math.log(4 / 3), math.log(2), math.log(4)]
    assert bce(LOGITS, TRUTH).item() == pytest.approx(sum(costs) / 4, rel=1e-6)
    # overlap 3/4, predicted 9/4, wanted 1
    assert dice(LOGITS, TRUTH).item() == pytest.approx(1 - (1.5 + 1) / (3.25 + 1), rel=1e-6)
    assert iou(LOGITS, TRUTH).item() == pytest.approx(1 - (0.75 + 1) / (2.5 + 1), rel=1e-6)
    assert l1(LOGITS, TRUTH).item() == pytest.approx((0.25 + 0.25 + 0.5 + 0.75) / 4, rel=1e-6)
    weighed = [0.25 * 0.25**2, 0.75 * 0.25**2, 0.75 * 0.5**2, 0.75 * 0.75**2]
    expected = sum(w * c for w, c in zip(weighed, costs, strict=True)) / 4
    assert focal(LOGITS, TRUTH).item() == pytest.approx(expected, rel=1e-6)


def test_class_balance_by_hand():
    costs = [math.log(4 / 3), math.log(4 / 3), math.log(2), math.log(4)]
    expected = costs[0] / 2 + sum(costs[1:]) / 6
    assert bce(LOGITS, TRUTH, balance=1.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_mask_is_sane(name):
    nothing, much = (LOSSES[name](torch.full((1, 1, 2, 2), value), EMPTY).item() for value in (-30.0, 2.0))
    assert nothing == pytest.approx(0, abs=1e-6) and 0 < much < 10
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    LOSSES[name](logits, EMPTY).sum().backward()
    assert (logits.grad > 0).all()  # every false pixel is pushed down


@pytest.mark.parametrize("name", LOSSES)
def test_a_full_mask_is_sane(name):
    assert LOSSES[name](torch.full((1, 1, 2, 2), 30.0), FULL).item() == pytest.approx(0, abs=1e-6)
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    LOSSES[name](logits, FULL).sum().backward()
    assert (logits.grad < 0).all()


@pytest.mark.parametrize("edge_weight", [0.0, 5.0])
@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("truth", [EMPTY, FULL])
def test_weights_stay_finite_without_a_second_class(edge_weight, balance, truth):
    value = bce(LOGITS, truth, edge_weight=edge_weight, balance=balance)
    assert torch.isfinite(value).all() and value.item() > 0


def test_edge_weight_equals_a_loop():
    side = 24
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(1, 1, side, side)
    truth[..., 5:14, 7:9] = 1
    logits = torch.randn(1, 1, side, side, generator=generator)
    # 31 at 352 is a window of 3 at 24
    total = weight_sum = 0.0
    for y in range(side):
        for x in range(side):
            rows, columns = range(max(0, y - 1), min(side, y + 2)), range(max(0, x - 1), min(side, x + 2))
            near = [truth[0, 0, i, j].item() for i in rows for j in columns]
            t, z = truth[0, 0, y, x].item(), logits[0, 0, y, x].item()
            weight = 1 + 5 * abs(sum(near) / len(near) - t)
            total += weight * (math.log(1 + math.exp(z)) - t * z)
            weight_sum += weight
    assert bce(logits, truth, edge_weight=5.0).item() == pytest.approx(total / weight_sum, rel=1e-5)


def test_the_window_is_31_at_352():
    truth = torch.zeros(1, 1, 352, 352)
    truth[..., 176, 176] = 1
    logits = torch.zeros_like(truth, requires_grad=True)
    bce(logits, truth, edge_weight=352.0).backward()
    heavier = (logits.grad[0, 0] > logits.grad[0, 0, 0, 0] * 1.01).nonzero()
    assert heavier.min(0).values.tolist() == [161, 161] and heavier.max(0).values.tolist() == [191, 191]


def test_focal_equals_torchvision():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 1, 8, 8, generator=generator) * 4
    truth = (torch.rand(3, 1, 8, 8, generator=generator) > 0.7).float()
    for alpha, gamma in ((0.25, 2.0), (0.6, 0.5)):
        expected = sigmoid_focal_loss(logits, truth, alpha=alpha, gamma=gamma).mean((1, 2, 3))
        assert torch.allclose(focal(logits, truth, alpha=alpha, gamma=gamma), expected, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_padding_never_counts(name):
    inside = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    inside[..., :2, :2] = True
    truth, logits = torch.zeros(1, 1, 4, 4), torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(2)) * 9
    truth[..., :2, :2], logits[..., :2, :2] = TRUTH, LOGITS
    logits.requires_grad_(True)
    padded = LOSSES[name](logits, truth, inside)
    assert padded.item() == pytest.approx(LOSSES[name](LOGITS, TRUTH).item(), rel=1e-6)
    padded.sum().backward()
    assert (logits.grad[~inside] == 0).all() and (logits.grad[inside] != 0).all()


def test_padding_does_not_count_in_balance():
    inside = torch.tensor([[[[True, True, False], [True, True, False]]]])
    truth, logits = torch.zeros(1, 1, 2, 3), torch.full((1, 1, 2, 3), 7.0)
    truth[..., :2], logits[..., :2] = TRUTH, LOGITS
    assert bce(logits, truth, inside, balance=1.0).item() == pytest.approx(
        bce(LOGITS, TRUTH, balance=1.0).item(), rel=1e-6
    )


@pytest.mark.parametrize("name", LOSSES)
def test_images_do_not_mix(name):
    pair = LOSSES[name](torch.cat([LOGITS, -LOGITS]), torch.cat([TRUTH, FULL]))
    assert pair.shape == (2,)
    assert pair[0].item() == pytest.approx(LOSSES[name](LOGITS, TRUTH).item(), rel=1e-6)
    assert pair[1].item() == pytest.approx(LOSSES[name](-LOGITS, FULL).item(), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_logits_are_widened(name):
    value = LOSSES[name](LOGITS.bfloat16(), TRUTH)
    assert value.dtype == torch.float32 and torch.isfinite(value).all()


def test_mask_loss_mixes_and_leaves_out():
    loss = MaskLoss(LossConfig(bce=2.0, edge_weight=0.0, iou=0.0, dice=0.5, l1=0.0, focal=20.0))
    each, parts = loss(LOGITS, TRUTH)
    expected = 2 * bce(LOGITS, TRUTH) + 0.5 * dice(LOGITS, TRUTH) + 20 * focal(LOGITS, TRUTH)
    assert torch.allclose(each, expected) and set(parts) == {"bce", "dice", "focal"}
    assert not any(part.requires_grad for part in parts.values())
