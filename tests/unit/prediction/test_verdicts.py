"""Verdicts of new photos: by each rule, with dropped regions, over a folder that is continued; what images.csv says."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from samis.config import Experiment, SegmenterConfig
from samis.data.pipeline.photos import find_photos
from samis.decision.of_run import RunDecisions
from samis.errors import UserError
from samis.jobs.predict import predict_photos
from samis.prediction import LoadedModel, Options, predict, predict_to
from samis.tta import build_tta


class ByName:
    """Predicts a square of .9 on .2, whose side the photo's name decides."""

    def predict(self, batch):
        sides = {"none": 0, "speck": 2, "large": 12}
        maps = []
        for name, placement in zip(batch.ids, batch.placements, strict=True):
            values = torch.full(placement.file_hw, 0.2)
            values[: sides[name], : sides[name]] = 0.9
            maps.append(values)
        return maps

    def describe(self):
        return {"kind": "baseline", "oracle": False, "prompt": "none"}


@pytest.fixture
def model():
    config = Experiment(segmenter=SegmenterConfig(name="unet"))
    config.frame.frame_px = 64
    decisions = RunDecisions({"region_area": 0.01})
    return LoadedModel(build_tta(ByName(), "none"), config, 0.5, "validation", decisions=decisions)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("none", "speck", "large"):
        Image.fromarray(np.full((40, 50), 90, np.uint8)).save(tmp_path / "photos" / f"{name}.png")
    return find_photos([str(tmp_path / "photos")])


def verdicts(model, photos, **options):
    return {each.id: each.verdict for each in predict(model, photos, Options(**options))}


def test_each_rule_by_hand(model, photos):
    """2000 pixels: a speck of 4 is .002 of them, a square of 144 .072; the largest 20 values of the speck's map have mean .34."""
    assert verdicts(model, photos) == {"none": "OK", "speck": "defective", "large": "defective"}
    assert verdicts(model, photos, threshold=0.95) == dict.fromkeys(("none", "speck", "large"), "OK")
    area = {"none": "OK", "speck": "OK", "large": "defective"}  # the run's chosen 0.01
    assert verdicts(model, photos, image_rule="region_area") == area
    given = verdicts(model, photos, image_rule="region_area", threshold=0.6)
    assert given["speck"] == "defective", "the chosen image threshold belongs to the run's own threshold of the pixels"
    assert verdicts(model, photos, image_rule="top_1_percent_mean") == area
    assert verdicts(model, photos, image_rule="top_1_percent_mean", image_threshold=0.3)["speck"] == "defective"
    (speck,) = [each for each in predict(model, photos, Options()) if each.id == "speck"]
    assert speck.scores["top_1_percent_mean"] == pytest.approx((4 * 0.9 + 16 * 0.2) / 20)
    assert speck.scores["region_area"] == 4 / 2000


def test_a_dropped_region_leaves_a_photo_ok(model, photos):
    assert verdicts(model, photos, min_area_px=5) == {"none": "OK", "speck": "OK", "large": "defective"}


def test_the_table_of_images(model, photos, tmp_path):
    broken = tmp_path / "photos/zz.png"
    broken.write_bytes(b"no picture")
    out = tmp_path / "out"
    result = predict_to(out, model, [*photos, *find_photos([str(broken)])], Options(mm_per_px=0.5), quiet=True)
    assert result["verdicts"] == {"rule": "max", "threshold": 0.5, "defective": 2, "OK": 1, "not predicted": 1}
    lines = list(csv.DictReader((out / "images.csv").open()))
    assert [line["verdict"] for line in lines] == ["defective", "defective", "OK", "not predicted"]
    assert [line["image"] for line in lines[:3]] == ["large.png", "speck.png", "none.png"]
    assert str(broken) == lines[3]["image"] and lines[3]["score"] == "" and "E-" in lines[3]["reason"]
    assert (lines[0]["area_px"], lines[0]["regions"], float(lines[0]["score"])) == ("144", "1", pytest.approx(0.9))
    summary = json.loads((out / "predictions.json").read_text())
    large = summary["image_list"][0]
    assert (large["file_name"], large["verdict"], large["scores"]["region_area"]) == (
        "large.png",
        "defective",
        144 / 2000,
    )
    (region,) = large["regions"]
    assert region["skeleton_mm"] == 0.5 * region["skeleton_px"] and "rle" not in region and region["area_mm2"] == 36
    again = predict_to(out, model, photos, Options(image_rule="region_area"), quiet=True)
    assert again["predicted_now"] == 0 and again["verdicts"]["defective"] == 1, "another rule needs no new maps"
    record = out / "records/large.json"
    content = json.loads(record.read_text())
    del content["image_scores"]  # as an older version wrote it
    record.write_text(json.dumps(content))
    assert predict_to(out, model, photos, Options(), quiet=True)["predicted_now"] == 1


def test_a_photo_that_was_damaged_since_keeps_no_verdict(model, photos, tmp_path):
    out = tmp_path / "out"
    assert predict_to(out, model, photos, Options(), quiet=True)["verdicts"]["defective"] == 2
    large = next(photo.path for photo in photos if photo.id == "large")
    large.write_bytes(b"no picture")
    result = predict_to(out, model, photos, Options(), quiet=True)
    assert result["verdicts"] == {"rule": "max", "threshold": 0.5, "defective": 1, "OK": 1, "not predicted": 1}
    assert (result["images"], result["regions"]) == (2, 1)
    images = [line["image"] for line in csv.DictReader((out / "images.csv").open())]
    assert images == ["speck.png", "none.png", str(large)]
    assert {line["image"] for line in csv.DictReader((out / "regions.csv").open())} == {"speck.png"}
    assert [each["file_name"] for each in json.loads((out / "predictions.json").read_text())["image_list"]] == images[
        :2
    ]
    assert len(json.loads((out / "coco_rle.json").read_text())["images"]) == 2


def test_an_interrupted_run_leaves_tables_and_a_page_that_agree(model, photos, tmp_path, monkeypatch):
    out, pattern, inner = tmp_path / "out", str(photos[0].path.parent), model.segmenter
    calls = []

    class Interrupted:
        def predict(self, batch):
            calls.append(batch.ids)
            if len(calls) > 2:
                raise KeyboardInterrupt
            return inner.predict(batch)

        def describe(self):
            return inner.describe()

    monkeypatch.setattr("samis.jobs.predict.load_model", lambda *_: model)
    model.segmenter, model.about = Interrupted(), {"model": "any"}
    with pytest.raises(KeyboardInterrupt):
        predict_photos("any", [pattern], out, Options(batch_size=1))
    lines = list(csv.DictReader((out / "images.csv").open()))
    assert len(lines) == len(json.loads((out / "predictions.json").read_text())["image_list"]) == 2
    assert f"{sum(line['verdict'] == 'defective' for line in lines)} of 2 photos" in (out / "index.html").read_text()
    model.segmenter = inner
    assert predict_photos("any", [pattern], out, Options(batch_size=1)) == 0
    assert "2 of 3 photos are defective" in (out / "index.html").read_text()


@pytest.mark.parametrize(
    ("options", "named"), [({"miss_of": "defects"}, "--miss-of"), ({"calibration": "steel.json"}, "--calibration")]
)
def test_an_option_of_a_promise_needs_the_promise(options, named):
    with pytest.raises(UserError, match=f"{named}.*E-DECIDE-OPTIONS"):
        Options(**options)
    Options(**options, miss_at_most=0.1)
