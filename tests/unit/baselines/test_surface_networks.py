"""What the five surface-defect networks hold inside: attention by hand, branches, refinement, reverse attention, losses."""

import numpy as np
import pytest
import torch

from samis.baselines import build_baseline
from samis.baselines.attention import ChannelAttention, ResidualCbam, SpatialAttention
from samis.baselines.csepnet import CrossAttention, CrossScaleInteraction, EdgePurification
from samis.baselines.dacnet import DACNet
from samis.baselines.edrnet import Cbam, ChannelWeightedBlock, EDRNet, Refinement
from samis.baselines.learner import main_logits
from samis.baselines.mcnet import DilatedDenseNet, MCnet, PyramidPooling
from samis.baselines.tsernet import (
    EdgeRefinementModule,
    ForegroundBackgroundIntegration,
    TSERNet,
    balanced_bce,
    f_measure_loss,
)
from samis.config import LossConfig
from samis.core.losses import MaskLoss, bce, edges, hybrid, iou, ssim
from samis.errors import UserError

SURFACE = ("edrnet", "mcnet", "dacnet", "csepnet", "tsernet")
TINY = "resnet10t"


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
    block = ChannelWeightedBlock(2)
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
        assert torch.equal(refine(coarse), coarse)


def test_pyramid_pooling_trains_on_one_image():
    module = PyramidPooling(8, 4).train()
    x = torch.randn(1, 8, 5, 7, requires_grad=True)
    module(x).square().sum().backward()
    assert x.grad.isfinite().all() and all(p.grad.any() for p in module.pooled.parameters())


def test_attention_in_a_block_starts_at_one_half_everywhere():
    block, x = Cbam(8).eval(), torch.randn(1, 8, 5, 4)
    with torch.no_grad():
        assert torch.allclose(block(x), 0.5 * x * block.channel(x))


def test_every_block_of_edrnets_encoder_attends():
    encoder = EDRNet(TINY).encoder
    blocks = [module for module in encoder.modules() if type(module).__name__ == "BasicBlock"]
    assert len(blocks) == 4 and all(isinstance(block.se, Cbam) for block in blocks)
    assert encoder.strides == [1, 2, 4, 8, 16] and encoder.channels == [64, 64, 128, 256, 512]
    with pytest.raises(UserError, match=r"EDRNet.*E-NET-BACKBONE"):
        EDRNet("vgg11")


def test_one_encoder_looks_at_three_resolutions():
    network = DACNet(TINY).eval()
    seen = []
    network.encoder.network.register_forward_hook(lambda module, inputs, outputs: seen.append(inputs[0].shape[-1]))
    with torch.no_grad():
        outputs = network(torch.randn(1, 3, 96, 96))
    assert sorted(seen) == [24, 48, 96]
    assert [output.shape[-1] for output in outputs] == [96, 48, 24, 12, 6, 3, 3]


def test_deep_logits_reach_every_shallower_stage():
    """The first convolution of a decoder stage sees skip, stage below and one logit of each stage at least two deeper."""
    network = DACNet(TINY)
    widths = [stage[0][0].in_channels for stage in network.decoder]
    assert widths == [64 + 64 + 4, 128 + 128 + 3, 256 + 256 + 2, 512 + 512 + 1, 1024, 1024]


def test_reverse_attention_hides_what_decoder_and_edge_are_sure_of():
    module = ForegroundBackgroundIntegration(4).eval()
    seen = {}
    module.background.register_forward_hook(lambda _, inputs, __: seen.update(back=inputs[0]))
    module.inside.register_forward_hook(lambda _, inputs, __: seen.update(inside=inputs[0]))
    level = torch.randn(1, 4, 2, 2)
    sure = torch.tensor([[100.0, -100.0], [100.0, -100.0]])[None, None]
    with torch.no_grad():
        module(level, sure.expand(-1, 4, -1, -1), sure)
        shown = module.level(level)
    assert not seen["back"][..., 0].any() and torch.allclose(seen["back"][..., 1], shown[..., 1])
    assert not seen["inside"][..., 0].any()


def test_a_flat_feature_has_no_edge_of_its_own():
    module = EdgeRefinementModule(4).eval()
    seen = []
    module.edge.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0][:, 4:]))
    flat = torch.ones(1, 4, 8, 8)
    step = torch.cat([flat[..., :4], 3 * flat[..., 4:]], -1)
    with torch.no_grad():
        for shallow in (flat, step):
            module(flat, shallow, torch.zeros(1, 1, 8, 8))
    assert not seen[0][..., 1:-1, 1:-1].any()
    assert seen[1][0, 0, 4, 4].item() == pytest.approx(2 / 3) and not seen[1][..., 1:-1, 1:4].any()


def test_edges_are_purified_by_what_stands_out():
    block, flat = EdgePurification(4).eval(), torch.ones(1, 4, 7, 7)
    torch.nn.init.zeros_(block.weigh[0].bias)
    with torch.no_grad():
        answer = block(flat)
    assert torch.allclose(answer[..., 1:-1, 1:-1], torch.tensor(1.5))  # the gate of nothing is one half


def test_cross_attention_mixes_by_one_gate():
    for complementary, share in ((True, 0.0), (False, 1.0)):
        module = CrossAttention(3, 4, complementary=complementary).eval()
        seen = []
        module.fuse.register_forward_hook(lambda _, inputs, __, seen=seen: seen.append(inputs[0]))
        torch.nn.init.zeros_(module.gate[1].weight)
        torch.nn.init.constant_(module.gate[1].bias, 100.0)  # the gate is open
        fine, coarse = torch.randn(1, 4, 6, 6), torch.randn(1, 3, 3, 3)
        with torch.no_grad():
            module(fine, coarse)
            larger = module.coarse(torch.nn.functional.interpolate(coarse, (6, 6), mode="bilinear"))
        assert torch.allclose(seen[0], larger + share * fine, atol=1e-6)
    assert CrossScaleInteraction(8, 4)(torch.randn(2, 8, 5, 3)).shape == (2, 8, 5, 3)


def test_dense_network_ends_at_an_eighth():
    with torch.device("meta"), torch.no_grad():
        encoder = DilatedDenseNet("densenet121").eval()
        features = encoder(torch.zeros(1, 3, 64, 64))
    assert [tuple(f.shape[1:]) for f in features] == [(128, 8, 8), (256, 8, 8), (512, 8, 8), (1024, 8, 8)]
    rates = {
        m.dilation[0] for n, m in encoder.named_modules() if "block4" in n and getattr(m, "kernel_size", 0) == (3, 3)
    }
    assert rates == {4}


def test_two_scores_become_one_logit():
    """The cross-entropy of their difference is that of the softmax over both."""
    network = MCnet(TINY).eval()
    seen = []
    network.mix[-1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        logits = network(torch.randn(1, 3, 64, 64))
    truth = torch.rand_like(logits).round()
    expected = torch.nn.functional.cross_entropy(seen[0], truth[:, 0].long())
    assert torch.allclose(bce(logits, truth), expected)


def test_tsernets_losses_by_hand():
    truth = torch.zeros(1, 1, 4, 4)
    truth[..., :2, :2] = 1
    shown = torch.ones_like(truth, dtype=torch.bool)
    half = torch.zeros_like(truth)
    # 4 of 16 pixels: TP 2, predicted 8, true 4; one pixel above and below
    assert f_measure_loss(half, truth, shown).item() == pytest.approx(1 - (1.3 * 2 + 1) / (0.3 * 4 + 8 + 1))
    expected = np.log(2) * (4 * 0.75 + 12 * 1.1 * 0.25) / 16
    assert balanced_bce(half, truth, shown).item() == pytest.approx(expected)
    assert balanced_bce(half, 0 * truth, shown).item() == 0


def test_the_hybrid_loss_is_its_three_parts():
    logits, truth = torch.randn(2, 1, 16, 16), (torch.rand(2, 1, 16, 16) > 0.7).float()
    shown = torch.ones(2, 1, 16, 16, dtype=torch.bool)
    shown[1, :, 8:] = False
    parts = [loss(logits, truth, shown) for loss in (bce, ssim, iou)]
    assert torch.allclose(hybrid(logits, truth, shown), parts[0] + parts[1] + parts[2])
    assert hybrid(100 * (2 * truth - 1), truth, shown).abs().max() < 1e-5


@pytest.mark.parametrize("name", SURFACE)
def test_a_perfect_answer_costs_nothing(name, draw_batch):
    """With the truth as every map and its boundary as the edge, each network's loss is 0."""
    given = draw_batch()
    network = build_baseline(name, backbone=TINY).eval()
    perfect = 100 * (2 * given.masks - 1)
    edge_logits = 100 * (2 * edges(given.masks) - 1)
    outputs = {"mcnet": perfect, "tsernet": [perfect, perfect, perfect, edge_logits]}.get(name, [perfect, perfect])
    each, parts = network.loss(outputs, given, MaskLoss(LossConfig()))
    assert each.shape == (2,) and each.max() < 1e-4 and "main" in parts
    wrong = {"mcnet": -perfect}.get(name, [-perfect, perfect, edge_logits])
    assert network.loss(wrong, given, MaskLoss(LossConfig()))[0].min() > 1


@pytest.mark.parametrize(("name", "outputs"), [("edrnet", 7), ("dacnet", 7), ("csepnet", 5), ("tsernet", 13)])
def test_every_supervised_output_enters_the_loss(name, outputs, draw_batch):
    given, network = draw_batch(), build_baseline(name, backbone=TINY).eval()
    with torch.no_grad():
        answer = network(given.images)
    leaves = [output.requires_grad_(True) for output in answer]
    each, _ = network.loss(leaves, given, MaskLoss(LossConfig()))
    each.sum().backward()
    assert len(leaves) == outputs and all(leaf.grad.any() for leaf in leaves)


@pytest.mark.parametrize(
    ("name", "backbone", "levels"),
    [("mcnet", "convnext_atto", 4), ("mcnet", "vgg11", 6), ("csepnet", "convnext_atto", 4), ("csepnet", "vgg11", 6)],
)
def test_pyramids_of_four_and_six_levels(name, backbone, levels):
    """Shapes alone, on the meta device: VGG's own weights would take seconds to draw."""
    with torch.device("meta"), torch.no_grad():
        network = build_baseline(name, backbone=backbone).eval()
        logits = main_logits(network(torch.zeros(1, 3, 64, 96)))
    assert len(network.encoder.network.feature_info.channels()) == levels
    assert logits.shape[:2] == (1, 1) and logits.shape[-1] * 2 == logits.shape[-2] * 3


@pytest.mark.parametrize("network", [DACNet, TSERNet, EDRNet])
def test_a_backbone_that_cannot_start_at_full_size_is_told(network):
    with pytest.raises(UserError, match=r"first \d .*E-NET-BACKBONE"):
        network("convnext_atto")
