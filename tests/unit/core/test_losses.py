"""Losses against numbers worked out by hand, plain loops and torchvision."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity
from torchvision.ops import sigmoid_focal_loss

from samis.config import LossConfig
from samis.core.losses import MaskLoss, bce, cel, dice, edges, focal, hybrid, iou, l1, ssim, weighted_iou

LOSSES = {
    "bce": bce,
    "focal": focal,
    "dice": dice,
    "iou": iou,
    "l1": l1,
    "weighted_iou": weighted_iou,
    "cel": cel,
    "ssim": ssim,
    "hybrid": hybrid,
}
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
    assert cel(LOGITS, TRUTH).item() == pytest.approx((1.5 + 0.25) / (2.25 + 1 + 1), rel=1e-6)  # FP, FN; P + G + 1
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


def test_rims_by_hand():
    """At 34 pixels the window is 3; one defect pixel p: weights 1 + 5 * 8/9 on it, 1 + 5/9 on its eight neighbours."""
    truth = torch.zeros(1, 1, 34, 34)
    truth[..., 10, 10] = 1
    logits = torch.full_like(truth, -30.0)
    logits[..., 10, 10] = HALF  # 3/4 on the defect
    logits[..., 9, 10] = ZERO  # 1/2 above it
    edge, beside = 1 + 5 * 8 / 9, 1 + 5 / 9
    overlap, union = 0.75 * edge, edge + 0.5 * beside
    assert weighted_iou(logits, truth).item() == pytest.approx(1 - (overlap + 1) / (union + 1), rel=1e-5)
    total = 34 * 34 + 5 * 8 / 9 + 8 * 5 / 9
    expected = (edge * math.log(4 / 3) + beside * math.log(2)) / total
    assert bce(logits, truth, edge_weight=5.0).item() == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(weighted_iou(logits, truth, edge_weight=0.0), iou(logits, truth))


def test_padding_is_no_background_to_a_rim():
    """A defect that fills the image has no rim, however much padding follows."""
    truth, inside = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    truth[..., :20, :], inside[..., :20, :] = 1, True
    logits = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    for loss in (bce, weighted_iou):
        plain, weighed = (loss(logits, truth, inside, edge_weight=weight) for weight in (0.0, 5.0))
        assert torch.allclose(plain, weighed)
    assert edges(truth, inside).sum() == 0 and edges(truth).sum() == 2 * 64


def test_pixel_weights_by_hand():
    weight = image([1, 0], [3, 0])
    expected = (math.log(4 / 3) + 3 * math.log(2)) / 4
    assert bce(LOGITS, TRUTH, pixel_weight=weight).item() == pytest.approx(expected, rel=1e-6)


def test_ssim_equals_scikit_image():
    """Ten flat pixels around make both libraries' borders the same."""
    rng = np.random.default_rng(0)
    truth, result = np.zeros((2, 48, 40)), np.full((2, 48, 40), 1e-6)
    truth[0, 15:30, 12:25], truth[1, 12:14, 11:29] = 1, 1
    result[:, 11:37, 11:29] = rng.uniform(0.01, 0.99, (2, 26, 18))
    result[1] = 0.2 * result[1] + 0.8 * np.clip(truth[1], 1e-6, 1 - 1e-6)
    logits = torch.logit(torch.tensor(result))[:, None].float()
    got = ssim(logits, torch.tensor(truth)[:, None].float())
    for index in range(2):
        _, pixels = structural_similarity(
            result[index],
            truth[index],
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        assert got[index].item() == pytest.approx(1 - pixels.mean(), abs=2e-5)
    assert 0.01 < got[1] < got[0] < 1


def test_ssim_inside_equals_the_image_alone():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(1, 1, 40, 40, generator=generator)
    truth = (torch.rand(1, 1, 40, 40, generator=generator) > 0.5).float()
    inside = torch.zeros(1, 1, 40, 40, dtype=torch.bool)
    inside[..., :23, :31] = True
    alone = ssim(logits[..., :23, :31], truth[..., :23, :31])
    assert torch.allclose(ssim(logits, truth * inside, inside), alone, atol=1e-5)


def test_ssim_stays_precise_under_autocast():
    logits = torch.linspace(-3, 3, 32 * 32).reshape(1, 1, 32, 32)
    truth = (logits > 1).float()
    with torch.autocast("cpu", torch.bfloat16):
        halved = ssim(logits, truth)
    assert torch.equal(halved, ssim(logits, truth))


@pytest.mark.parametrize("width", [3, 5])
def test_edges_equal_scipy(width):
    truth = torch.rand(2, 1, 40, 30, generator=torch.Generator().manual_seed(4)) > 0.7
    truth[1] = False
    truth[1, 0, 5:20, 4:30] = True  # runs into the border, where neither library sees a rim
    got = edges(truth.float(), width=width)
    for index in range(2):
        square = np.ones((width, width), dtype=bool)
        mask = truth[index, 0].numpy()
        grown = ndimage.binary_dilation(mask, square)
        eaten = ndimage.binary_erosion(mask, square, border_value=1)
        assert np.array_equal(got[index, 0].numpy(), (grown & ~eaten).astype(np.float32))
    assert got.dtype == torch.float32 and got[1].sum() > 0
    assert edges(torch.zeros(1, 1, 8, 8)).sum() == 0


def test_edges_stay_inside():
    truth, inside = torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    inside[..., :5], truth[..., :4, :5] = True, 1.0
    result = edges(truth, inside)
    assert result[..., :5].sum() == 10  # the rows above and below the region's lower side
    assert result[..., 5:].sum() == 0


def test_focal_equals_torchvision():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 1, 8, 8, generator=generator) * 4
    truth = (torch.rand(3, 1, 8, 8, generator=generator) > 0.7).float()
    for alpha, gamma in ((0.25, 2.0), (0.6, 0.5)):
        expected = sigmoid_focal_loss(logits, truth, alpha=alpha, gamma=gamma).mean((1, 2, 3))
        assert torch.allclose(focal(logits, truth, alpha=alpha, gamma=gamma), expected, atol=1e-6)


@pytest.mark.parametrize("fill", [0.0, 1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_padding_never_counts(name, fill):
    inside = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    inside[..., :2, :2] = True
    truth = torch.full((1, 1, 4, 4), fill)
    logits = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(2)) * 9
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
    loss = MaskLoss(LossConfig(bce=2.0, edge_weight=0.0, iou=0.0, dice=0.5, l1=0.0, focal=20.0, ssim=0.3))
    each, parts = loss(LOGITS, TRUTH)
    expected = 2 * bce(LOGITS, TRUTH) + 0.5 * dice(LOGITS, TRUTH) + 20 * focal(LOGITS, TRUTH)
    expected = expected + 0.3 * ssim(LOGITS, TRUTH)
    assert torch.allclose(each, expected) and set(parts) == {"bce", "dice", "focal", "ssim"}
    assert not any(part.requires_grad for part in parts.values())


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_mask_pulls_the_map_down(name, balance):
    """Defect-free photos in training: finite, and each step of the gradient calls less of the surface defective."""
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 24, 24).mul(3).requires_grad_()
    truth = torch.zeros(2, 1, 24, 24)
    truth[1, :, 4:9, 5:12] = 1  # beside a defective photo, as in a batch
    inside = torch.ones_like(truth, dtype=torch.bool)
    inside[:, :, 18:] = False
    loss = LOSSES[name]
    each = loss(logits, truth, inside, balance=balance) if name == "bce" else loss(logits, truth, inside)
    each.mean().backward()
    gradient = logits.grad[0]
    assert torch.isfinite(each).all() and torch.isfinite(logits.grad).all()
    assert gradient.sum() > 0 and (gradient[:, 18:] == 0).all()
    if name not in ("ssim", "hybrid"):  # whose local variances also even a map out
        assert (gradient[:, :18] > 0).all()
    with torch.no_grad():
        stepped = logits - 0.5 * logits.grad / logits.grad.abs().amax()
    area = [x[0, :, :18].sigmoid().mean().item() for x in (logits.detach(), stepped)]
    assert area[1] < area[0]
