"""BASNet, F3Net, MINet and ITSD: their papers' sizes, their blocks by hand, their losses term by term."""

import pytest
import torch

from samis.baselines.basnet import BASNet, ResidualRefinementModule
from samis.baselines.f3net import CrossFeatureModule, F3Net, SubDecoder
from samis.baselines.full_size import FullSizeEncoder
from samis.baselines.itsd import ITSD, channel_pooling
from samis.baselines.minet import MINet, resized
from samis.core.contracts import Batch
from samis.core.geometry import Framing, inside
from samis.core.losses import bce, edges, iou, ssim, weighted_iou
from samis.errors import UserError

SIDE = 32
NETWORKS = {"basnet": BASNet, "f3net": F3Net, "minet": MINet, "itsd": ITSD}


def batch():
    """Two views with padding below and to the right; the second one's truth is empty."""
    framing = Framing(SIDE)
    placements = [framing.placements(hw, sample=i)[0] for i, hw in enumerate([(20, 32), (32, 24)])]
    masks = torch.zeros(2, 1, SIDE, SIDE)
    masks[0, :, 4:12, 6:20] = 1
    return Batch(["a", "b"], torch.zeros(2, 3, SIDE, SIDE), placements, masks=masks)


def logits(count, side=SIDE):
    drawn = torch.randn(count, 2, 1, side, side, generator=torch.Generator().manual_seed(0))
    return [each.requires_grad_(True) for each in drawn.unbind()]


def without_backbone(network):
    """An instance good for its loss alone."""
    instance = network.__new__(network)
    torch.nn.Module.__init__(instance)
    instance.decoders = [None, None]
    return instance


def outputs(name):
    if name == "minet":
        return logits(1)[0]
    if name == "itsd":
        drawn = logits(5)
        return {"logits": drawn[0], "saliency": drawn[1:3], "contours": drawn[3:]}
    return logits({"basnet": 8, "f3net": 6}[name])


def tensors(answer):
    if isinstance(answer, dict):
        return [answer["logits"], *answer["saliency"], *answer["contours"]]
    return answer if isinstance(answer, list) else [answer]


@pytest.mark.parametrize("name", NETWORKS)
def test_losses_ignore_padding_and_reach_every_output(name):
    given, answer = batch(), outputs(name)
    shown = inside(given.placements)
    assert (~shown).sum() > 0
    each, parts = without_backbone(NETWORKS[name]).loss(answer, given, None)
    assert each.shape == (2,) and each.dtype == torch.float32
    assert parts and not any(part.requires_grad for part in parts.values())
    each.sum().backward()
    for tensor in tensors(answer):
        assert (tensor.grad[~shown] == 0).all() and (tensor.grad[shown] != 0).any()


def test_basnet_sums_the_hybrid_loss_of_eight_outputs():
    given, answer = batch(), outputs("basnet")
    truth, shown = given.masks, inside(given.placements)
    each, _ = without_backbone(BASNet).loss(answer, given, None)
    expected = sum(bce(x, truth, shown) + ssim(x, truth, shown) + iou(x, truth, shown) for x in answer)
    assert torch.allclose(each, expected)


def test_f3net_weighs_levels_as_its_paper():
    given, answer = batch(), outputs("f3net")
    truth, shown = given.masks, inside(given.placements)
    each, _ = without_backbone(F3Net).loss(answer, given, None)
    own = [bce(x, truth, shown, edge_weight=5.0) + weighted_iou(x, truth, shown) for x in answer]
    expected = (own[0] + own[1]) / 2 + own[2] / 2 + own[3] / 4 + own[4] / 8 + own[5] / 16
    assert torch.allclose(each, expected)


def test_minet_adds_false_to_all_positives():
    given, answer = batch(), outputs("minet")
    truth, shown = given.masks, inside(given.placements)
    each, _ = without_backbone(MINet).loss(answer, given, None)
    map_ = answer.sigmoid() * shown
    false = (map_ * (1 - truth)).sum((1, 2, 3)) + ((1 - map_) * truth).sum((1, 2, 3))
    consistency = false / (map_.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    assert torch.allclose(each, bce(answer, truth, shown) + consistency, atol=1e-5)


def test_itsd_weighs_pixels_by_true_and_found_contours():
    given, answer = batch(), outputs("itsd")
    truth, shown = given.masks, inside(given.placements)
    each, parts = without_backbone(ITSD).loss(answer, given, None)
    rims = edges(truth, shown, width=5)

    def act(logits, contour):
        return bce(logits, truth, shown, pixel_weight=1 + 4 * torch.maximum(contour.detach().sigmoid(), rims))

    shallow, deep = answer["contours"]
    expected = 1.5 * act(answer["logits"], shallow)
    for weight, logits, contour in ((0.3, answer["saliency"][0], shallow), (0.1, answer["saliency"][1], deep)):
        expected = expected + weight * (act(logits, contour) + bce(contour, rims, shown))
    assert torch.allclose(each, expected) and set(parts) == {"main", "sides", "contours"}


@pytest.mark.parametrize(
    ("network", "backbone", "millions", "within"),
    [
        (BASNet, "resnet34", 348.5 / 4, 0.005),  # 348.5 MB of float32 (sal_eval_toolbox)
        (F3Net, "resnet50", 25.2791, 0.015),  # with batch norm folded in (OpenVINO)
        (MINet, "resnet50", 162.38, 0.005),  # Liu et al. 2024, doi 10.20517/ir.2024.29
        (ITSD, "vgg16", 17.08 - 0.392, 0.005),  # its paper's abstract, less what its code registers and never calls
    ],
)
def test_as_large_as_stated(network, backbone, millions, within):
    with torch.device("meta"):
        parameters = sum(p.numel() for p in network(backbone).parameters())
    assert parameters / 1e6 == pytest.approx(millions, rel=within)


def test_basnet_starts_at_full_size():
    encoder = FullSizeEncoder("resnet10t").eval()
    assert [tuple(f.shape[1:]) for f in encoder(torch.zeros(1, 3, 64, 32))] == [
        (channels, 64 // stride, 32 // stride)
        for channels, stride in zip(encoder.channels, encoder.strides, strict=True)
    ]
    assert encoder.strides == [1, 2, 4, 8]
    with pytest.raises(UserError, match=r"32, got 48; use 32 or 64.*E-NET-SIDE"):  # of the further stages too
        encoder(torch.zeros(1, 3, 48, 48))
    with pytest.raises(UserError, match=r"resnet34.*E-NET-BACKBONE"):
        FullSizeEncoder("convnext_atto")


def test_basnet_refines_by_a_residual():
    refine = ResidualRefinementModule().eval()
    torch.nn.init.zeros_(refine.output.weight)
    torch.nn.init.zeros_(refine.output.bias)
    coarse = torch.randn(1, 1, 48, 32)
    assert torch.equal(refine(coarse), coarse)


def test_cross_features_keep_what_both_agree_on():
    """Where the deep branch is silent, the shallow one learns nothing from it."""
    module = CrossFeatureModule().eval()
    shallow, deep = torch.randn(1, 64, 8, 8), torch.randn(1, 64, 4, 4)
    module.deep[1][1].bias.data.fill_(-1e6)  # after the ReLU: nothing
    first, _ = module(shallow, deep)
    again, _ = module(shallow, 100 + deep)
    assert torch.equal(first, again)
    assert first.shape == (1, 64, 8, 8)


def test_feedback_reaches_every_level():
    decoder = SubDecoder().eval()
    levels = [torch.randn(1, 64, side, side) for side in (8, 4, 2, 1)]
    plain, answer = decoder(levels)
    refined, _ = decoder(levels, answer)
    assert len(refined) == 4 and answer.shape == levels[0].shape
    assert all(not torch.equal(a, b) for a, b in zip(plain, refined, strict=True))


def test_too_few_levels_are_told():
    with pytest.raises(UserError, match=r"4 levels, got 3.*E-NET-BACKBONE"):
        F3Net("levit_128s")


def test_channel_pooling_by_hand():
    x = torch.arange(6.0)[None, :, None, None].repeat(1, 1, 2, 3)
    assert channel_pooling(x, 3)[0, :, 1, 2].tolist() == [1, 3, 5]
    assert channel_pooling(x, 4)[0, :, 1, 2].tolist() == [1, 3, 5, 1]  # 0 and 1 fill up
    assert channel_pooling(x, 8)[0, :, 1, 2].tolist() == [0, 1, 2, 3, 4, 5, 0, 1]


def test_minet_resizes_by_averages_and_repeats():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert resized(x, torch.zeros(1, 1, 2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert resized(x, torch.zeros(1, 1, 8, 8))[0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(resized(x, x), x)
