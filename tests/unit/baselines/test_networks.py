"""What the learner gives any network, shown on the U-Net: groups, side outputs, tiles, backbones, mistakes."""

import pytest
import torch

from samis.baselines import BaselineLearner, BaselineSegmenter, build_baseline, load_baseline
from samis.baselines.learner import main_logits
from samis.config import LossConfig
from samis.errors import UserError

SIDE = 64


def network(name, **options):
    torch.manual_seed(0)
    return build_baseline(name, **options)


def test_groups_by_origin():
    net = network("unet")
    net.encoder.pretrained = True
    groups = BaselineLearner(net, LossConfig(), name="unet", pretrained_lr_scale=0.1).parameter_groups()
    assert {(group["lr_scale"], group["decay"]) for group in groups} == {
        (s, d) for s in (0.1, 1.0) for d in (True, False)
    }
    assert all((p.ndim >= 2) == group["decay"] for group in groups for p in group["params"])


def test_another_backbone_with_other_strides():
    """MobileNet starts at 2, ConvNeXt at 4, Swin answers channels last."""
    for backbone in ("mobilenetv3_small_050", "convnext_atto", "swin_s3_tiny_224"):
        net = network("unet", backbone=backbone).eval()
        side = 224 if "swin" in backbone else SIDE
        with torch.no_grad():
            assert net(torch.zeros(1, 3, side, side)).shape == (1, 1, side, side)


def test_a_network_may_bring_its_own_loss_and_side_outputs(draw_batch):
    class Sided(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network("unet")
            self.encoder = self.inner.encoder

        def forward(self, images):
            logits = self.inner(images)
            return [logits, logits[..., ::2, ::2]]

        def loss(self, outputs, batch, mask_loss):
            assert len(outputs) == 2
            each, _ = mask_loss(outputs[0], batch.masks)
            return 3 * each, {"sided": each.detach().mean()}

    loss = BaselineLearner(Sided(), LossConfig(), name="unet")(draw_batch())
    assert set(loss.all_parts()) == {"sided", "predicted_share", "truth_share"}
    assert loss.total.item() == pytest.approx(3 * loss.parts["sided"].item())
    assert main_logits({"logits": torch.ones(1), "edge": torch.zeros(1)}).item() == 1


def test_tiles_meet_the_sigmoid_before_they_are_blended(draw_batch):
    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.value = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images):
            views = torch.linspace(-9.0, 9.0, len(images))[:, None, None, None]
            return views.expand(-1, 1, *images.shape[-2:])

    given = draw_batch(tile_px=40)
    answer = BaselineSegmenter(Constant(), name="unet").predict(given)[0]
    probability = torch.linspace(-9.0, 9.0, len(given.images)).sigmoid()
    of_first = [view for view, placement in enumerate(given.placements) if placement.sample == 0]
    assert len(of_first) == 2 and answer[0, 0] == pytest.approx(probability[of_first[0]].item(), rel=1e-5)
    middle = answer[0, 26].item()  # the two tiles of 40 px weigh the same in the middle of the 53
    assert middle == pytest.approx(probability[of_first].mean().item(), rel=1e-5)


def test_a_backbone_that_cannot_be_built_is_refused(monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("no\nroute")

    monkeypatch.setattr("timm.create_model", refuse)
    for pretrained, code in ((False, "no route.*E-NET-BACKBONE"), (True, "no route.*E-NET-DOWNLOAD")):
        with pytest.raises(UserError, match=code):
            build_baseline("unet", pretrained=pretrained)


def test_mistakes_have_a_code(tmp_path):
    with pytest.raises(UserError, match="E-NET-NAME"):
        build_baseline("u-net")
    with pytest.raises(UserError, match=r"did you mean .*resnet18.*E-NET-BACKBONE-NAME"):
        build_baseline("unet", backbone="resnet_18")
    with pytest.raises(UserError, match="E-NET-BACKBONE"):
        build_baseline("unet", backbone="crossvit_tiny_240")
    with pytest.raises(UserError, match=r"network\.json.*E-NET-NO-RECORD"):
        load_baseline(tmp_path)
    learner = BaselineLearner(network("unet"), LossConfig(), name="unet")
    learner.save(tmp_path)
    other = BaselineLearner(network("unet", backbone="resnet10t"), LossConfig(), name="unet")
    with pytest.raises(UserError, match=r"backbone resnet10t, got resnet18.*E-NET-OTHER"):
        other.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"model\.safetensors.*E-NET-DAMAGED"):
        load_baseline(tmp_path)
