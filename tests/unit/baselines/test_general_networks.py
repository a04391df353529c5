"""Pieces of DSS, PiCANet, CPD and PoolNet and of the shared blocks, against other ways to the same number."""

import pytest
import torch
import torch.nn.functional as F

from samis.baselines.blocks import deep_supervision
from samis.baselines.cpd import CPD, HolisticAttention
from samis.baselines.dss import DSS, mean_of_maps
from samis.baselines.picanet import DilatedVgg, GlobalPiCANet, LocalPiCANet
from samis.baselines.poolnet import FeatureAggregationModule
from samis.core.geometry import inside
from samis.core.losses import bce
from samis.errors import UserError

LIGHT = "resnet10t"


def test_deep_supervision_is_the_weighted_sum_over_pixels_inside(draw_batch):
    batch = draw_batch()
    torch.manual_seed(0)
    outputs = [torch.randn(2, 1, 64, 64), torch.randn(2, 1, 16, 16)]
    each, parts = deep_supervision(outputs, batch, bce, weights=[1.0, 0.5])
    shown = inside(batch.placements)
    for view in (0, 1):
        expected = 0.0
        for weight, logits in zip((1.0, 0.5), outputs, strict=True):
            large = F.interpolate(logits, (64, 64), mode="bilinear", align_corners=False)[view][shown[view]]
            expected += weight * F.binary_cross_entropy_with_logits(large, batch.masks[view][shown[view]])
        torch.testing.assert_close(each[view], expected)
    torch.testing.assert_close(parts["main"] + parts["sides"], each.mean())
    with pytest.raises(ValueError, match="2 weights"):
        deep_supervision(outputs, batch, bce, weights=[1.0])


def test_local_attention_is_unfolded_attention():
    torch.manual_seed(0)
    local, x = LocalPiCANet(5).eval(), torch.randn(2, 5, 9, 11)
    with torch.no_grad():
        attention = local.attention(local.context(x)).softmax(1).flatten(2)  # (V, 49, h w)
        around = F.unfold(x, 7, dilation=2, padding=6).view(2, 5, 49, 99)
        expected = (around * attention[:, None]).sum(2).view_as(x)
        torch.testing.assert_close(local(x), expected)


def test_global_attention_sees_every_third_pixel_of_the_papers_feature():
    torch.manual_seed(0)
    attending = GlobalPiCANet(4).eval()
    torch.nn.init.zeros_(attending.attention.weight)
    torch.nn.init.zeros_(attending.attention.bias)  # all places weigh the same
    x = torch.randn(1, 4, 28, 28)
    with torch.no_grad():
        expected = x[:, :, ::3, ::3].mean((2, 3), keepdim=True).expand_as(x)
        torch.testing.assert_close(attending(x), expected)
        assert attending(torch.randn(1, 4, 3, 5)).shape == (1, 4, 3, 5)


def test_the_final_map_of_dss_is_the_mean_of_maps():
    logits = [torch.randn(3, 4), torch.randn(3, 4), torch.full((3, 4), 200.0)]
    expected = torch.stack([value.sigmoid() for value in logits]).mean(0)
    torch.testing.assert_close(mean_of_maps(logits).sigmoid(), expected)
    assert torch.isfinite(mean_of_maps([torch.tensor(200.0)] * 2))


def test_short_connections_of_dss_come_from_deeper_sides():
    network = DSS("resnet18")  # five levels: the paper's first is missing
    assert network.numbers == [2, 3, 4, 5, 6]
    sources = [short.sources for short in network.short]
    assert sources == [(3, 4, 5, 6), (5, 6), (5, 6), (), ()]


def test_holistic_attention_never_hides_what_the_first_map_shows():
    torch.manual_seed(0)
    attention, initial = HolisticAttention(), torch.randn(2, 1, 40, 40)
    assert attention.blur.sum().item() == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        seen = attention(initial, torch.ones(2, 1, 40, 40))
    assert (seen >= initial.sigmoid()).all()


def test_the_detection_branch_starts_as_a_copy_and_learns_apart():
    encoder = CPD(LIGHT).encoder.eval()
    with torch.no_grad():
        features = encoder.attention_features(torch.randn(1, 3, 64, 64))
        again = encoder.detection_features(features[0])
    assert all(torch.equal(a, b) for a, b in zip(features[1:], again, strict=True))
    ours, theirs = list(encoder.detection.parameters()), {id(p) for p in encoder.network.parameters()}
    assert ours and not any(id(parameter) in theirs for parameter in ours)
    with pytest.raises(UserError, match=r"CPD.*E-NET-BACKBONE"):
        CPD("mobilenetv3_small_050")


def test_feature_aggregation_averages_over_2_4_and_8():
    """With convolutions that pass a channel on, the sum is the feature plus its three averages."""
    module, x = FeatureAggregationModule(1, 1).eval(), torch.rand(1, 1, 8, 8)
    for branch in module.branches:
        torch.nn.init.dirac_(branch.weight)
    caught = []
    module.joined.register_forward_pre_hook(lambda layer, inputs: caught.append(inputs[0]))
    with torch.no_grad():
        module(x)
        expected = x + sum(
            F.interpolate(F.avg_pool2d(x, rate), (8, 8), mode="bilinear", align_corners=False) for rate in (2, 4, 8)
        )
    torch.testing.assert_close(caught[0], expected)


def test_picanets_vgg_ends_at_an_eighth():
    with torch.device("meta"), torch.no_grad():
        encoder = DilatedVgg("vgg16").eval()
        features = encoder(torch.zeros(1, 3, 64, 64))
    assert [f.shape[-1] for f in features] == [64, 32, 16, 8, 8, 8] and encoder.strides == [1, 2, 4, 8, 8, 8]
    rates = [m.dilation[0] for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert rates == [1] * 10 + [2] * 3
    assert not DilatedVgg(LIGHT).dilated
