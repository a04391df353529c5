"""Scoring and predicting by two processes on a CPU: rows and files are those of one process, mistakes are told once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.data import load_dataset

ROOT = Path(__file__).resolve().parents[2]
COUNT = 7
"""Images: three batches of two and one of one, so that the shares are unequal."""
SCORE = [
    "evaluate/score.py", "configs/zero_shot.yaml", "data.name=procedural", f"data.options={{surface: steel, count: {COUNT}}}",
    "frame.frame_px=64", "prompt.points_per_side=4", "metrics.bootstrap=20", "metrics.batch_size=2", "cache.embeddings=never",
    "data.salt_pepper=0.05", "metrics.latency=false",
]  # fmt: skip
PREDICT = ["prompt.kind=empty", "segmenter.mask_rule=single", "frame.frame_px=64", "cache.embeddings=never"]


def launch(*command, processes=1, check=True):
    spread = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *spread, *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_rows_and_maps_of_two_processes_are_those_of_one(tmp_path):
    printed = {}
    for processes in (1, 2):
        place = tmp_path / str(processes)
        done = launch(*SCORE, "--out", place / "rows", "--save-maps", place / "maps", processes=processes)
        printed[processes] = done.stdout.replace(str(place), "")
    one, two = files(tmp_path / "1"), files(tmp_path / "2")
    assert len(one) > 9 * (2 + COUNT) - COUNT and one.keys() == two.keys()
    assert printed[1] == printed[2], "only one process shows the table"
    for path, content in one.items():
        if path.suffix == ".json":
            rows = [json.loads(text) for text in (content, two[path])]
            for row in rows:
                for key in ("command", "created", "seconds_per_image"):
                    del row["provenance"][key]
            assert rows[0] == rows[1], path
        else:
            assert content == two[path], path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    drawn = load_dataset("procedural", split="test", surface="steel", count=COUNT)
    for index in range(COUNT):
        Image.fromarray(drawn[index].image).save(folder / f"photo_{index}.png")
    (folder / "photo_broken.png").write_bytes(b"no picture")
    return folder


def test_predictions_of_two_processes_are_those_of_one(photos, tmp_path):
    for processes in (1, 2):
        command = ["evaluate/predict.py", "configs/zero_shot.yaml", photos, "--out", tmp_path / str(processes)]
        done = launch(*command, *PREDICT, "--batch-size", 2, processes=processes, check=False)
        assert done.returncode == 1 and done.stderr.count("not predicted") == 1
        assert f"{COUNT} photos in" in done.stdout
    one, two = files(tmp_path / "1"), files(tmp_path / "2")
    assert len([path for path in one if path.suffix == ".png"]) == 2 * COUNT
    for folder in (one, two):
        predictions = json.loads(folder[Path("predictions.json")])
        del predictions["provenance"]["command"]
        folder[Path("predictions.json")] = json.dumps(predictions).encode()
    assert one == two
    assert np.asarray(Image.open(tmp_path / "2/maps/photo_0.png")).any()


def test_a_mistake_is_told_once(photos, tmp_path):
    """Every process meets it, or one of them; two cases, since a launch costs seconds."""
    missing = [*SCORE[:2], "data.name=folder", f"data.root={tmp_path / 'nowhere'}", "--out", tmp_path / "rows"]
    done = launch(*missing, processes=2, check=False)
    assert done.returncode and not (tmp_path / "rows").exists()
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == [
        line for line in done.stderr.splitlines() if str(tmp_path / "nowhere") in line
    ]
    assert done.stderr.count("error: ") == 1
