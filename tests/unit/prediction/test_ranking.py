"""Which photos to label next: the rules by hand, and samis rank on drawn photos."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from samis.cli import main
from samis.config import Experiment, FrameConfig, SegmenterConfig
from samis.errors import UserError
from samis.jobs.rank import rank_photos
from samis.prediction.model import LoadedModel
from samis.prediction.ranking import RANK_RULES, uncertainty_of


def test_uncertainty_by_hand():
    values = np.zeros((10, 10))
    values[0, :5] = [0.5, 0.5, 0.25, 0.25, 0.0]  # 5 of 100 pixels count
    quarter = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert uncertainty_of(values) == pytest.approx((1 + 1 + quarter + quarter + 0) / 5)
    assert uncertainty_of(1 - values) == pytest.approx(uncertainty_of(values))
    assert uncertainty_of(np.array([[1.0]])) == 0


def test_rules_by_hand():
    # two groups of photos along a line, and one photo between them
    points = np.array([[0.0], [0.1], [5.2], [10.0], [10.1]])
    uncertainty = np.array([0.1, 0.9, 0.2, 0.8, 0.3])
    assert RANK_RULES["uncertainty"](uncertainty, points) == [1, 3, 4, 2, 0]
    assert RANK_RULES["diversity"](uncertainty, points)[0] == 2  # nearest to the mean, 5.08
    assert set(RANK_RULES["diversity"](uncertainty, points)[1:3]) == {0, 4}  # the two ends
    both = RANK_RULES["both"](uncertainty, points)
    assert set(both[1:3]) == {1, 3}  # at the ends the uncertain ones
    for rule in RANK_RULES.values():
        assert sorted(rule(uncertainty, points)) == [0, 1, 2, 3, 4]
        assert rule(np.zeros(0), np.zeros((0, 1))) == []
        assert sorted(rule(np.ones(3), np.zeros((3, 2)))) == [0, 1, 2]  # photos that are all the same


class ByBrightness:
    """A segmenter whose map is uncertain in the middle of the grey levels."""

    class network(torch.nn.Module):
        encoder = torch.nn.AvgPool2d(16)

    def __init__(self):
        self.network = ByBrightness.network()
        self.network.encoder = torch.nn.AvgPool2d(16)

    def predict(self, batch):
        means = self.network.encoder(batch.images).mean((1, 2, 3))
        return [torch.full(p.file_hw, float(m.mul(2).sigmoid())) for m, p in zip(means, batch.placements, strict=True)]

    def describe(self):
        return {"kind": "baseline", "prompt": "none", "oracle": False}


@pytest.fixture
def model(monkeypatch):
    config = Experiment(segmenter=SegmenterConfig(name="unet"), frame=FrameConfig(frame_px=64))
    loaded = LoadedModel(ByBrightness(), config, 0.5, "validation", {"model": "made"})
    monkeypatch.setattr("samis.jobs.rank.load_model", lambda name: loaded)
    monkeypatch.setattr("samis.core.shipped.find_model", lambda name: name)
    return loaded


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for grey in (10, 60, 117, 200, 250):
        Image.fromarray(np.full((32, 32, 3), grey, np.uint8)).save(tmp_path / f"photos/=grey{grey}.png")
    return tmp_path / "photos"


def test_the_command_writes_the_order(model, photos, tmp_path, capsys):
    main(["rank", str(photos), "--run", "made", "--rule", "uncertainty", "--out", str(tmp_path / "next.csv")])
    rows = list(csv.DictReader((tmp_path / "next.csv").open()))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[0]["image"] == "'=grey117"  # a spreadsheet runs no cell
    assert [float(row["uncertainty"]) for row in rows] == sorted(
        (float(row["uncertainty"]) for row in rows), reverse=True
    )
    assert "5 photos by uncertainty" in capsys.readouterr().out


def test_mistakes_are_one_line(model, photos, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["rank", str(photos), "--run", "made", "--rule", "diversty", "--out", str(tmp_path / "next.csv")])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "E-PREDICT-RANK-RULE" in error and "did you mean diversity?" in error
    assert not (tmp_path / "next.csv").exists()
    model.segmenter.network.encoder = None
    model.segmenter.predict = lambda batch: [torch.zeros(placement.file_hw) for placement in batch.placements]
    with pytest.raises(UserError, match="E-PREDICT-RANK-EMBEDDING"):
        rank_photos("made", [str(photos)], rule="both")
    assert len(rank_photos("made", [str(photos)], rule="uncertainty")[0]) == 5
