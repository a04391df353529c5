"""What the five surface-defect networks hold inside: attention by hand, branches, refinement, reverse attention, losses."""

import numpy as np
import pytest
import torch

from samis.baselines import build_baseline
from samis.baselines.attention import ChannelAttention, ResidualCbam, SpatialAttention
from samis.baselines.dacnet import MultiResolutionEncoder
from samis.baselines.edrnet import ChannelsWeightedBlock, Refinement
from samis.baselines.learner import main_logits
from samis.baselines.mcnet import PyramidPooling
from samis.baselines.tsernet import EdgeAwareRefinement, ForegroundBackgroundIntegration
from samis.config import LossConfig
from samis.losses import MaskLoss, bce, edges, hybrid, iou, ssim

SURFACE = ("edrnet", "mcnet", "dacnet", "csepnet", "tsernet")
TINY = "mobilenetv3_small_050"


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_channel_attention_by_hand():
    attention = ChannelAttention(8, reduction=2)
    first, second = attention.shared[0], attention.shared[2]
    x = torch.randn(1, 8, 3, 5)
    weights = [layer.weight.detach().numpy()[:, :, 0, 0] for layer in (first, second)]
    biases = [layer.bias.detach().numpy() for layer in (first, second)]

    def shared(pooled):
        return weights[1] @ np.maximum(weights[0] @ pooled + biases[0], 0) + biases[1]

    values = x[0].numpy().reshape(8, 15)
    expected = sigmoid(shared(values.mean(1)) + shared(values.max(1)))
    assert np.allclose(attention(x)[0, :, 0, 0].detach().numpy(), expected, atol=1e-6)


def test_spatial_attention_sees_mean_and_maximum():
    attention = SpatialAttention()
    with torch.no_grad():
        attention.conv.weight.zero_()
        attention.conv.weight[0, :, 3, 3] = torch.tensor([2.0, -1.0])  # twice the mean less the maximum, nothing around
        attention.conv.bias.fill_(0.25)
        x = torch.randn(1, 6, 4, 9)
        expected = sigmoid(2 * x[0].numpy().mean(0) - x[0].numpy().max(0) + 0.25)
        assert np.allclose(attention(x)[0, 0].numpy(), expected, atol=1e-6)


def test_cbam_keeps_what_attention_switches_off():
    block = ResidualCbam(8)
    with torch.no_grad():
        block.spatial.conv.bias.fill_(-100.0)
        x = torch.randn(2, 8, 5, 5)
        assert torch.allclose(block(x), x)


def test_cwb_weighs_the_skip_only():
    block = ChannelsWeightedBlock(2)
    with torch.no_grad():
        block.weigh[2].weight.zero_()
        block.weigh[2].bias.copy_(torch.tensor([100.0, -100.0]))  # keeps the first channel, drops the second
        skip, deep = torch.randn(1, 2, 3, 3), torch.randn(1, 2, 3, 3)
        answer = block(skip, deep)
    assert torch.allclose(answer[:, 0], (skip + deep)[:, 0]) and torch.allclose(answer[:, 1], deep[:, 1])


def test_the_refinement_is_a_residual_at_any_size():
    refine = Refinement(width=4).eval()
    with torch.no_grad():
        coarse = torch.randn(1, 1, 37, 21)
        assert not torch.equal(refine(coarse), coarse)
        refine.leave.weight.zero_()
        refine.leave.bias.zero_()
        assert torch.equal(refine(coarse), coarse)


def test_pyramid_pooling_trains_on_one_image():
    module = PyramidPooling(8, 4).train()
    x = torch.randn(1, 8, 5, 7, requires_grad=True)
    module(x).square().sum().backward()
    assert x.grad.isfinite().all() and all(p.grad.any() for p in module.pooled.parameters())


@pytest.mark.parametrize(
    ("side", "half", "quarter"), [(256, 128, 64), (384, 192, 96), (96, 64, 64), (64, 64, 64), (224, 128, 64)]
)
def test_resolutions_are_whole_cells(side, half, quarter):
    encoder = MultiResolutionEncoder(TINY)
    images = torch.zeros(1, 3, side, side, device="meta")
    assert encoder.smaller(images, 2) == (half, half) and encoder.smaller(images, 4) == (quarter, quarter)


def test_the_three_branches_have_weights_of_their_own():
    encoder = MultiResolutionEncoder(TINY).eval()
    own = [list(e.network.parameters()) for e in (encoder, encoder.medium, encoder.low)]
    assert len({id(p) for parameters in own for p in parameters}) == 3 * len(own[0]) > 300
    with torch.no_grad():
        high, medium, low = encoder.branches(torch.randn(1, 3, 256, 256))
    assert [f.shape[-1] for f in (high[-1], medium, low)] == [8, 4, 2] and len(high) == 5


def test_reverse_attention_hides_the_defect_from_the_background_branch():
    module = ForegroundBackgroundIntegration(4, 3).eval()
    seen = {}
    module.foreground.register_forward_hook(lambda _, inputs, __: seen.update(fore=inputs[0]))
    module.background.register_forward_hook(lambda _, inputs, __: seen.update(back=inputs[0]))
    level = torch.randn(1, 4, 2, 2)
    sure = torch.tensor([[100.0, -100.0], [100.0, -100.0]])[None, None]
    with torch.no_grad():
        module(level, sure, torch.zeros(1, 3, 2, 2))
    assert torch.allclose(seen["fore"][..., 0], level[..., 0]) and not seen["fore"][..., 1].any()
    assert torch.allclose(seen["back"][..., 1], level[..., 1]) and not seen["back"][..., 0].any()


def test_refinement_looks_along_the_edge():
    module = EdgeAwareRefinement(4).eval()
    level = torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        nowhere, somewhere = (module(level, torch.full((1, 1, 6, 6), x)) for x in (-100.0, 100.0))
    assert torch.allclose(nowhere, level)  # a convolution without bias of nothing, at the norm's starting statistics
    assert not torch.allclose(somewhere, level)


def test_the_hybrid_loss_is_its_three_parts():
    logits, truth = torch.randn(2, 1, 16, 16), (torch.rand(2, 1, 16, 16) > 0.7).float()
    shown = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    shown[1, :, 8:] = False
    parts = [loss(logits, truth, shown) for loss in (bce, ssim, iou)]
    assert torch.allclose(hybrid(logits, truth, shown), parts[0] + parts[1] + parts[2])
    assert hybrid(100 * (2 * truth - 1), truth, shown).abs().max() < 1e-5


@pytest.mark.parametrize("name", SURFACE)
def test_a_perfect_answer_costs_nothing(name, draw_batch):
    """With the truth as every map and its rim as the edge, each network's loss is nought: nothing else is asked of it."""
    given = draw_batch()
    network = build_baseline(name, backbone=TINY).eval()
    perfect = 100 * (2 * given.masks - 1)
    rim = 100 * (2 * edges(given.masks) - 1)
    outputs = {
        "mcnet": perfect,
        "csepnet": {"logits": perfect, "edge": rim},
        "tsernet": [perfect, perfect, perfect, rim],
    }.get(name, [perfect, perfect])
    each, parts = network.loss(outputs, given, MaskLoss(LossConfig()))
    assert each.shape == (2,) and each.max() < 1e-4 and "main" in parts
    wrong = {"mcnet": -perfect, "csepnet": {"logits": -perfect, "edge": rim}}.get(name, [-perfect, perfect, rim])
    assert network.loss(wrong, given, MaskLoss(LossConfig()))[0].min() > 1


@pytest.mark.parametrize("name", SURFACE)
@pytest.mark.parametrize(("backbone", "levels"), [("convnext_atto", 4), ("vgg11", 6)])
def test_pyramids_of_four_and_six_levels(name, backbone, levels):
    """Shapes alone, on the meta device: VGG's own weights would take seconds to draw."""
    with torch.device("meta"), torch.no_grad():
        network = build_baseline(name, backbone=backbone).eval()
        logits = main_logits(network(torch.zeros(1, 3, 64, 96)))
    assert len(network.encoder.channels) == levels
    assert logits.shape[:2] == (1, 1) and logits.shape[-1] * 2 == logits.shape[-2] * 3
