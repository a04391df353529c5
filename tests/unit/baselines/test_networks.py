"""The contract of every baseline network: shapes through the frame, gradients, determinism, saving, mistakes told."""

import numpy as np
import pytest
import torch

from samis.baselines import BASELINES, BaselineLearner, BaselineSegmenter, build_baseline, load_baseline
from samis.baselines.learner import main_logits
from samis.config import LossConfig
from samis.contracts import Batch, Learner, Segmenter, UserError
from samis.data.frame import Framing, frame_image, frame_mask

SIDE = 64


def network(name, **options):
    torch.manual_seed(0)
    return build_baseline(name, **options)


def batch(*, tile_px=0):
    """Two images of odd sizes, one long; the first holds a defect."""
    rng = np.random.default_rng(0)
    framing = Framing(SIDE, tile_px=tile_px)
    views, masks, placements = [], [], []
    for sample, (height, width) in enumerate([(37, 53), (21, 90)]):
        image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), dtype=bool)
        mask[5:15, 8:30] = sample == 0
        for placement in framing.placements((height, width), sample=sample):
            views.append(frame_image(image, placement))
            masks.append(frame_mask(mask, placement))
            placements.append(placement)
    return Batch(["a", "b"], torch.stack(views), placements, masks=torch.stack(masks))


@pytest.mark.parametrize("name", BASELINES)
class TestBaseline:
    def test_maps_have_the_files_sizes(self, name):
        segmenter = BaselineSegmenter(network(name), name=name)
        for tile_px in (0, 40):
            given = batch(tile_px=tile_px)
            maps = segmenter.predict(given)
            assert [tuple(m.shape) for m in maps] == [(37, 53), (21, 90)]
            assert all(m.dtype == torch.float32 and m.min() >= 0 and m.max() <= 1 for m in maps)
        assert isinstance(segmenter, Segmenter)
        described = segmenter.describe()
        assert described["kind"] == "baseline" and described["prompt"] == "none" and described["oracle"] is False

    def test_logits_and_gradients(self, name):
        learner = BaselineLearner(network(name), LossConfig(), name=name).train()
        given = batch()
        logits = main_logits(learner.network(given.images))
        assert logits.shape[:2] == (2, 1) and logits.min() < 0 < logits.max()
        loss = learner(given)
        loss.total.backward()
        assert isinstance(learner, Learner) and {"predicted_share", "truth_share"} <= set(loss.parts)
        for parameter_name, parameter in learner.network.named_parameters():
            assert parameter.grad is not None, parameter_name
        held = [id(p) for group in learner.parameter_groups() for p in group["params"]]
        assert sorted(held) == sorted(id(p) for p in learner.network.parameters())

    def test_deterministic_and_independent_in_evaluation(self, name):
        segmenter = BaselineSegmenter(network(name).train(), name=name)
        given = batch()
        first, second = segmenter.predict(given), segmenter.predict(given)
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
        assert segmenter.network.training  # the trainer's mode is restored
        alone = segmenter.predict(Batch(["a"], given.images[:1], given.placements[:1]))
        assert torch.allclose(alone[0], first[0], atol=1e-5)

    def test_save_load_equal(self, name, tmp_path):
        learner = BaselineLearner(network(name), LossConfig(), name=name).train()
        learner(batch())  # moves the norms' statistics
        learner.save(tmp_path)
        loaded = load_baseline(tmp_path)
        expected = learner.segmenter().predict(batch())
        assert all(torch.equal(a, b) for a, b in zip(loaded.predict(batch()), expected, strict=True))
        assert len(loaded.describe()["weights_sha256"]) == 64

    def test_half_precision(self, name):
        net = network(name).eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logits = main_logits(net(batch().images))
        assert torch.isfinite(logits.float()).all()

    def test_a_side_that_the_strides_do_not_divide(self, name):
        with pytest.raises(UserError, match=r"multiple of 32, got 72; use 64 or 96"):
            network(name)(torch.zeros(1, 3, 72, 72))

    def test_learns(self, name):
        learner = BaselineLearner(network(name), LossConfig(), name=name).train()
        optimizer = torch.optim.AdamW(learner.parameters(), lr=3e-3)
        losses = []
        for _ in range(8):
            loss = learner(batch()).total
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.8 * losses[0]


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


def test_a_network_may_bring_its_own_loss_and_side_outputs():
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

    loss = BaselineLearner(Sided(), LossConfig(), name="unet")(batch())
    assert set(loss.parts) == {"sided", "predicted_share", "truth_share"}
    assert loss.total.item() == pytest.approx(3 * loss.parts["sided"].item())
    assert main_logits({"logits": torch.ones(1), "edge": torch.zeros(1)}).item() == 1


def test_tiles_meet_the_sigmoid_before_they_are_blended():
    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.value = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images):
            views = torch.linspace(-9.0, 9.0, len(images))[:, None, None, None]
            return views.expand(-1, 1, *images.shape[-2:])

    given = batch(tile_px=40)
    answer = BaselineSegmenter(Constant(), name="unet").predict(given)[0]
    probability = torch.linspace(-9.0, 9.0, len(given.images)).sigmoid()
    of_first = [view for view, placement in enumerate(given.placements) if placement.sample == 0]
    assert len(of_first) == 2 and answer[0, 0] == pytest.approx(probability[of_first[0]].item(), rel=1e-5)
    middle = answer[0, 26].item()  # the two tiles of 40 px weigh the same in the middle of the 53
    assert middle == pytest.approx(probability[of_first].mean().item(), rel=1e-5)


def test_a_backbone_that_cannot_be_had_is_told(monkeypatch):
    def refuse(*arguments, **options):
        raise RuntimeError("no\nroute")

    monkeypatch.setattr("timm.create_model", refuse)
    for pretrained, told in ((False, "feature pyramid, but no route; choose"), (True, "segmenter.pretrained=false")):
        with pytest.raises(UserError, match=told):
            build_baseline("unet", pretrained=pretrained)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="known are"):
        build_baseline("u-net")
    with pytest.raises(UserError, match=r"did you mean .*resnet18"):
        build_baseline("unet", backbone="resnet_18")
    with pytest.raises(UserError, match="powers of two"):
        build_baseline("unet", backbone="crossvit_tiny_240")
    with pytest.raises(UserError, match=r"network\.json"):
        load_baseline(tmp_path)
    learner = BaselineLearner(network("unet"), LossConfig(), name="unet")
    learner.save(tmp_path)
    other = BaselineLearner(network("unet", backbone="resnet10t"), LossConfig(), name="unet")
    with pytest.raises(UserError, match="backbone resnet10t, got resnet18"):
        other.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        load_baseline(tmp_path)
