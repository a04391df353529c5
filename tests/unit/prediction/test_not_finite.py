"""Whatever answers NaN or infinity fails, with the tensor's or the image's name: it is never taken for "no defect"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from samis import factory
from samis.baselines.backbone_weights import read_tensors as read_backbone
from samis.config import Experiment, FrameConfig, PromptConfig, SegmenterConfig
from samis.core.contracts import Batch, Sample
from samis.core.geometry import Framing
from samis.core.weight_files import check_readable, read_tensors
from samis.data.pipeline.loading import build_loader
from samis.errors import UserError
from samis.evaluation.evaluator import Evaluator
from samis.factory import build_learner
from samis.metrics.best_threshold import ThresholdSearch
from samis.prediction import Predictor
from samis.prompts import build_prompter
from samis.sam.framing import build_framing
from samis.sam.weights import read_weights

BAD = [float("nan"), float("inf"), float("-inf")]


class Answers:
    """A segmenter whose maps hold one odd value."""

    def __init__(self, value: float) -> None:
        self.value = value

    def predict(self, batch: Batch) -> list[torch.Tensor]:
        maps = [torch.zeros(p.file_hw) for p in batch.placements]
        for each in maps:
            each[0, 0] = self.value
        return maps

    def describe(self) -> dict[str, object]:
        return {"kind": "baseline"}


class One:
    name, split, ids, class_names = "one", "test", ["photo_7"], ["defect"]

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return Sample("photo_7", np.zeros((20, 30, 3), np.uint8), np.eye(20, 30, dtype=bool))

    def fingerprint(self) -> str:
        return ""


@pytest.mark.parametrize("value", BAD)
def test_a_map_that_is_not_finite_fails_with_its_name(value: float) -> None:
    framing = Framing(32)
    with pytest.raises(UserError, match=r"photo_7.*E-PREDICT-NOT-FINITE"):
        Predictor(Answers(value), framing, build_prompter(PromptConfig())).maps([One()[0]])
    tiles = Framing(32, 16)
    with pytest.raises(UserError, match=r"photo_7.*E-PREDICT-NOT-FINITE"):
        Predictor(Answers(value), tiles, build_prompter(PromptConfig()), views_at_once=2).maps([One()[0]])
    loader = build_loader(One(), framing, batch_size=1)
    for protocol in ("pysod", "inspection"):
        with pytest.raises(UserError, match=r"photo_7.*NaN or infinity"):
            Evaluator(loader, One.ids, protocol=protocol)(Answers(value))
    for truth in (np.eye(4, dtype=bool), np.zeros((4, 4), bool)):
        with pytest.raises(UserError, match="E-METRIC-NOT-FINITE"):
            ThresholdSearch().add(np.full((4, 4), value, np.float32), truth)


@pytest.mark.parametrize("kind", ["empty", "grid"])
def test_a_sam_with_one_nan_fails_and_names_the_tensor(kind: str) -> None:
    config = Experiment(frame=FrameConfig(frame_px=64), prompt=PromptConfig(kind=kind, points_per_side=2))
    names = ["mask_decoder.iou_prediction_head.layers.2.bias"]
    if kind == "empty":  # a grid draws no mask that SAM itself thinks poor
        names.append("mask_decoder.output_hypernetworks_mlps.0.layers.0.weight")
    for name in names:
        segmenter = factory.build_segmenter(config)
        with torch.no_grad():
            segmenter.sam.get_parameter(name).view(-1)[0] = float("nan")
        loader = build_loader(
            One(),
            build_framing(config.frame, config.segmenter.architecture),
            build_prompter(config.prompt),
            batch_size=1,
        )
        with pytest.raises(UserError, match=name.replace(".", r"\.")):
            segmenter.predict(next(iter(loader)))


@pytest.mark.parametrize("value", BAD)
def test_weights_are_checked_on_loading(tmp_path: Path, value: float) -> None:
    learner = build_learner(
        Experiment(segmenter=SegmenterConfig(name="unet", pretrained=False), frame=FrameConfig(frame_px=64))
    )
    learner.save(tmp_path / "unet")
    path = next((tmp_path / "unet").glob("*.safetensors"))
    tensors = load_file(path)
    name = next(key for key in sorted(tensors) if tensors[key].is_floating_point() and tensors[key].ndim == 1)
    tensors[name][-1] = value
    save_file(tensors, path)
    for call in (lambda: learner.load(tmp_path / "unet"), lambda: read_tensors(path), lambda: read_backbone(path)):
        with pytest.raises(UserError, match="NaN or infinity in tensor") as caught:
            call()
        assert str(path) in str(caught.value) and f"'{name}' (1 of" in str(caught.value)
    state = {"image_encoder.a": torch.ones(3), "mask_decoder.b": torch.tensor([1.0, value])}
    torch.save({"model": state}, tmp_path / "sam.pth")
    save_file(state, tmp_path / "sam.safetensors")
    for file in ("sam.pth", "sam.safetensors"):
        with pytest.raises(UserError, match=r"tensor 'mask_decoder\.b'"):
            read_weights(tmp_path / file)


def test_no_such_file_is_not_said_of_one_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no such file"):
        check_readable(tmp_path / "none.safetensors")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="Is a directory"):
        check_readable(tmp_path / "folder")

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", deny)
    with pytest.raises(UserError, match="Permission denied"):
        check_readable(tmp_path / "a.safetensors")
