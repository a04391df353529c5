"""Predictions say which photos are unlike the training photos: on the terminal and in predictions.json."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from samis.config import Experiment, FrameConfig, SegmenterConfig
from samis.data import load_dataset
from samis.drift.fingerprint import FILE, Fingerprint
from samis.jobs.fingerprint import write_fingerprint
from samis.jobs.predict import NO_FINGERPRINT, predict_photos
from samis.prediction import Options, find_photos
from samis.prediction.folder import predict_to
from samis.prediction.model import LoadedModel

CONFIG = Experiment(segmenter=SegmenterConfig(name="unet"), frame=FrameConfig(frame_px=64))


class Pooling(nn.Module):
    """A network whose encoder pools and whose map is constant."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.AvgPool2d(16)

    def predict(self, batch):
        self.encoder(batch.images)
        return [torch.full(placement.file_hw, 0.25) for placement in batch.placements]

    def describe(self):
        return {"kind": "baseline", "prompt": "none", "oracle": False}


class Segmenter:
    def __init__(self):
        self.network = Pooling()

    def predict(self, batch):
        return self.network.predict(batch)

    def describe(self):
        return self.network.describe()


@pytest.fixture
def model(tmp_path):
    data = load_dataset("procedural", split="train", surface="steel", count=40)
    written = write_fingerprint(tmp_path, Segmenter(), CONFIG, data)
    assert written == tmp_path / FILE
    return LoadedModel(Segmenter(), CONFIG, 0.5, "validation", {"model": "made"}, fingerprint=Fingerprint.load(written))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    data = load_dataset("procedural", split="test", surface="steel", count=6)
    for number in range(6):
        image = data[number].image
        Image.fromarray(image if number < 4 else (image // 40)).save(folder / f"{number}.png")
    return folder


def test_each_photo_and_the_whole_are_in_predictions_json(model, photos, tmp_path):
    result = predict_to(tmp_path / "out", model, find_photos([str(photos)]), Options(batch_size=3), quiet=True)
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    assert written["drift"] == result["drift"]
    entries = {each["id"]: each["drift"] for each in written["image_list"]}
    assert [entries[str(number)]["unlike"] for number in range(6)] == [False] * 4 + [True] * 2
    assert "less sharp" in entries["5"]["reasons"] and entries["0"]["reasons"] == []
    assert entries["0"]["embedding"] > 0  # recorded in the pass that made the map
    assert result["drift"]["unlike"] == 2 and result["drift"]["photos"] == 6
    expected = np.asarray(Image.open(photos / "0.png").convert("L")).mean()
    assert entries["0"]["brightness"] == pytest.approx(expected, abs=0.6)


@pytest.mark.parametrize("known", [True, False])
def test_the_terminal_says_it_in_a_line(model, photos, tmp_path, known, capsys, monkeypatch):
    model.fingerprint = model.fingerprint if known else None
    monkeypatch.setattr("samis.jobs.predict.load_model", lambda name, overrides: model)
    predict_photos("made", [str(photos)], tmp_path / "out", Options())
    text = capsys.readouterr().out
    assert ("2 of 6 photos are unlike what the model was tuned on" in text) is known
    assert (NO_FINGERPRINT in text) is not known
    drift = json.loads((tmp_path / "out/predictions.json").read_text())["drift"]
    assert (drift is not None) is known


def test_few_photos_have_no_fingerprint(tmp_path):
    data = load_dataset("procedural", split="train", surface="steel", count=5)
    assert write_fingerprint(tmp_path, Segmenter(), CONFIG, data) is None and not list(tmp_path.iterdir())
