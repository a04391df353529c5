"""Launches training with clean photos, scores with and without flips, predicts: rows, files and messages."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.config import Experiment, SegmenterConfig
from samis.errors import UserError
from samis.factory import build_segmenter

ROOT = Path(__file__).resolve().parents[2]
DATA = ["data.name=procedural", "data.options={surface: steel, count: 12, clean_share: 0.4}", "metrics.batch_size=4"]
SMALL = [
    *DATA, "data.augment=light", "data.clean_share=0.3", "frame.frame_px=64", "segmenter.weights=random", "adapter.rank=2",
    "adapter.encoder=[q, v]", "training.batch_size=4", "training.epochs=1", "training.gallery=0",
    "metrics.names=[s_measure, mae, iou]",
]  # fmt: skip


def launch(*command, code=0):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "clean"
    output = launch("train/adapt.py", "configs/adapt/steel_lora.yaml", *SMALL, f"training.out={folder}")
    assert "clean images are kept clean" in output
    return folder


def test_the_threshold_knows_the_clean_photos(run):
    threshold = json.loads((run / "provenance.json").read_text())["threshold"]
    assert set(threshold) == {"value", "iou", "images", "kept_clean", "defect_recall", "clean_images"}
    assert threshold["images"] + threshold["clean_images"] == 12 and threshold["clean_images"] > 0


def test_rows_say_what_clean_photos_and_flips_came_to(run, tmp_path):
    for tta in ("none", "flips"):
        output = launch("evaluate/score.py", run, f"segmenter.tta={tta}", "--out", tmp_path, "metrics.bootstrap=0")
        assert "kept clean" in output and "of the defective images detected" in output
    label = "procedural_clean_share_0.4_count_12_surface_steel-test-steel_lora"
    rows = [json.loads((tmp_path / f"{label}{end}.json").read_text()) for end in ("", "_flips")]
    assert len(list(tmp_path.glob("*.json"))) == 2
    stored = json.loads((run / "provenance.json").read_text())["threshold"]["value"]
    for row in rows:
        assert row["dataset"] == "procedural (clean_share=0.4, count=12, surface=steel)"
        assert row["clean"]["threshold"] == pytest.approx(stored)
        assert set(row["clean"]) >= {"kept_clean", "defect_recall", "image_auroc", "n_images"}
    assert [row["provenance"].get("tta") for row in rows] == [None, "flips"]
    assert [row["name"] for row in rows] == ["steel_lora", "steel_lora, flips"]
    assert rows[0]["metrics"]["mae"] != rows[1]["metrics"]["mae"]
    lines = list(csv.DictReader((tmp_path / f"{label}.csv").open()))
    clean = [line for line in lines if line["class_name"] == "clean"]
    assert len(clean) == rows[0]["clean"]["n_images"] and all(
        line["kept_clean"] and not line["s_measure"] for line in clean
    )
    assert np.mean([float(line["kept_clean"]) for line in clean]) == pytest.approx(rows[0]["clean"]["kept_clean"])


def test_predicting_takes_flips_and_says_so(run, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60), dtype=np.uint8)).save(tmp_path / "photos/a.png")
    for tta in ("none", "flips"):
        launch("evaluate/predict.py", run, tmp_path / "photos", "--out", tmp_path / tta, f"segmenter.tta={tta}")
    settings = [json.loads((tmp_path / tta / "predictions.json").read_text()) for tta in ("none", "flips")]
    assert [each["settings"].get("tta") for each in settings] == [None, "flips"]
    maps = [np.asarray(Image.open(next((tmp_path / tta).rglob("maps/*.png")))) for tta in ("none", "flips")]
    assert not np.array_equal(*maps)
    boxed = launch(
        "evaluate/predict.py",
        run,
        tmp_path / "photos",
        "--out",
        tmp_path / "box",
        "segmenter.tta=flips",
        "--box=5,5,30,30",
    )
    assert "1 photos" in boxed


def test_a_share_of_photos_that_are_not_there(tmp_path):
    none = ["data.options={surface: steel, count: 6, clean_share: 0}"]
    output = launch(
        "train/adapt.py", "configs/adapt/steel_lora.yaml", *SMALL, *none, f"training.out={tmp_path}/a", code=2
    )
    assert (
        "defect-free images for data.clean_share=0.3" in output
        and "E-DATA-CLEAN-SHARE" in output
        and "Traceback" not in output
    )


def test_flips_of_what_computes_nothing_are_refused():
    config = Experiment(segmenter=SegmenterConfig(name="otsu_box", tta="flips"))
    with pytest.raises(UserError, match=r"otsu_box.*E-CONFIG-TTA"):
        build_segmenter(config)
