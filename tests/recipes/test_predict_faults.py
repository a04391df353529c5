"""evaluate/predict.py where something is wrong: photos too large, gone, or of odd types; folders that cannot be written."""

from __future__ import annotations

import csv
import json
import os
import runpy
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import samis
from samis.config import AdapterConfig, DataConfig, Experiment, FrameConfig, to_yaml
from samis.data import load_dataset
from samis.data.checks.doctor import usual_side
from samis.errors import UserError
from samis.factory import build_learner
from samis.jobs.predict import load_model
from samis.prediction import LoadedModel, Options
from samis.prediction.model import tuned_side

ROOT = Path(__file__).resolve().parents[2]
ADAPTER = "best/adapter_model.safetensors"


def make_run(folder: Path, *, tile_px: int = 0, photo_px: int | None = 64) -> Path:
    """Write a run folder as training leaves it, with an adapter that has not moved yet."""
    config = Experiment(
        experiment="small", data=DataConfig(name="procedural"), frame=FrameConfig(frame_px=64, tile_px=tile_px),
        adapter=AdapterConfig(rank=2),
    )  # fmt: skip
    build_learner(config).save(folder / "best")
    (folder / "config.yaml").write_text(to_yaml(config))
    known = {} if photo_px is None else {"photo_px": photo_px}
    (folder / "provenance.json").write_text(json.dumps({"threshold": {"value": 0.4, "iou": 0.5, "images": 3}} | known))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for name, seed in (("a.png", 0), ("b.png", 1)):
        values = np.random.default_rng(seed).integers(0, 255, (50, 60, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def launch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *command: object
) -> tuple[int, str, str]:
    """Run the script in this process; return its exit code, output and errors."""
    monkeypatch.setattr(sys, "argv", ["evaluate/predict.py", *map(str, command)])
    monkeypatch.chdir(ROOT)
    try:
        runpy.run_path(str(ROOT / "evaluate/predict.py"), run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, *capsys.readouterr()


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    return lambda *command: launch(monkeypatch, capsys, *command)


def images_of(out: Path) -> list[str]:
    with open(out / "regions.csv", encoding="utf-8") as file:
        return sorted({row["image"] for row in csv.DictReader(file)})


def test_a_nan_in_the_adapter_is_no_verdict(run: Path, photos: Path, tmp_path: Path, predict) -> None:
    bad = make_run(tmp_path / "bad")
    tensors = load_file(bad / ADAPTER)
    name = sorted(tensors)[3]
    tensors[name].view(-1)[0] = float("nan")
    save_file(tensors, bad / ADAPTER)
    code, out, err = predict(bad, photos, "--out", tmp_path / "out")
    assert code == 2 and name in err and ADAPTER in err and "defective" not in out
    for call in (lambda: samis.load_run(bad), lambda: load_model(bad)):
        with pytest.raises(UserError, match="E-FILE-NOT-FINITE"):
            call()
    for script in ("score", "export"):
        done = subprocess.run(
            [sys.executable, f"evaluate/{script}.py", str(bad), *(["--out", str(tmp_path / "e")])],
            cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 2 and name in done.stderr, done.stderr


def test_a_dangling_link_is_reported(run: Path, photos: Path, tmp_path: Path, predict) -> None:
    (photos / "gone.png").symlink_to(photos / "nothing.png")
    code, _, err = predict(run, photos, "--out", tmp_path / "out")
    assert code == 1 and "gone.png" in err and "Traceback" not in err
    summary = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert list(summary["failed"]) == [str(photos / "gone.png")] and summary["images"] == 2
    code, _, err = predict(run, f"{photos}/*.png", "--out", tmp_path / "out")
    assert code == 1 and "gone.png" in err


def test_a_deleted_photo_leaves_the_tables(run: Path, photos: Path, tmp_path: Path, predict) -> None:
    out = tmp_path / "out"
    command = (run, photos, "--out", out, "--threshold", "0")
    predict(*command)
    assert images_of(out) == ["a.png", "b.png"]
    (photos / "a.png").unlink()
    code, _, err = predict(*command)
    assert code == 0 and images_of(out) == ["b.png"] and str(photos / "a.png") in err
    summary = json.loads((out / "predictions.json").read_text())
    assert summary["gone"] == [str(photos / "a.png")] and summary["images"] == 1
    coco = json.loads((out / "coco_rle.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["b.png"]


@pytest.mark.parametrize(
    "option", [("--mm-per-px", "inf"), ("--mm-per-px", "nan"), ("--mm-per-px", "1e300"), ("--white", "inf")]
)
def test_numbers_that_are_not_finite_are_refused(run: Path, photos: Path, tmp_path: Path, predict, option) -> None:
    code, _, err = predict(run, photos, "--out", tmp_path / "out", *option)
    assert code == 2 and err.count("\n") == 1 and option[0].strip("-").replace("-", "_") in err
    assert not (tmp_path / "out").exists()


def test_json_of_predictions_has_no_infinity(run: Path, photos: Path, tmp_path: Path, predict) -> None:
    predict(run, photos, "--out", tmp_path / "out", "--mm-per-px", "0.5")
    for path in (tmp_path / "out").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)


def test_folders_that_cannot_be_written_take_one_line(
    run: Path, photos: Path, tmp_path: Path, predict, monkeypatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "below"):
        code, _, err = predict(run, photos, "--out", out)
        assert code == 2 and err.startswith("error: ") and str(file) in err and err.count("\n") == 1, err

    def deny(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", deny)
    code, _, err = predict(run, photos, "--out", tmp_path / "denied")
    assert code == 2 and "Permission denied" in err and "denied" in err and err.count("\n") == 1


def test_a_32_bit_photo_is_not_called_black(run: Path, photos: Path, tmp_path: Path, predict) -> None:
    Image.fromarray((np.arange(3000, dtype=np.int32) * 100).reshape(50, 60)).save(photos / "deep.tif")
    code, _, err = predict(run, photos, "--out", tmp_path / "out")
    assert code == 1 and "deep.tif" in err and "--white" in err
    code, *_ = predict(run, photos / "deep.tif", "--out", tmp_path / "white", "--white", "300000")
    assert code == 0


@pytest.mark.parametrize(
    ("photo_px", "run_tile", "tile", "warned"),
    [
        (64, 0, 0, True),
        (64, 0, 64, False),
        (64, 0, 300, True),
        (500, 64, 64, False),
        (500, 64, 0, True),
        (300, 0, 0, False),
        (None, 0, 0, False),
    ],
)
def test_photos_far_larger_than_in_training(photo_px: int | None, run_tile: int, tile: int, warned: bool) -> None:
    config = Experiment(frame=FrameConfig(tile_px=run_tile))
    tuned = tuned_side(photo_px, config)
    config.frame.tile_px = tile
    model = LoadedModel(None, config, 0.5, "", tuned_px=tuned)  # type: ignore[arg-type]
    text = model.scale_warning((300, 400), "large.png")
    assert bool(text) == warned and (not warned or ("frame.tile_px=64" in str(text) and "large.png" in str(text)))
    assert model.scale_warning((60, 70), "small.png") is None


def test_a_photo_far_larger_than_in_training_is_warned_about_once(run: Path, tmp_path: Path, predict) -> None:
    (tmp_path / "photos").mkdir()
    for name, size in (("large.png", (400, 300)), ("larger.png", (500, 300)), ("small.png", (70, 60))):
        Image.new("RGB", size).save(tmp_path / "photos" / name)
    _, _, err = predict(run, tmp_path / "photos", "--out", tmp_path / "out")
    assert err.count("warning:") == 1 and "frame.tile_px=64" in err and "large.png" in err
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["warnings"]) == 1


def test_the_notebook_warns_too(run: Path, tmp_path: Path) -> None:
    Image.new("RGB", (400, 300)).save(tmp_path / "large.png")
    with pytest.warns(UserWarning, match="frame.tile_px=64"):
        samis.load_run(run).predict(tmp_path / "large.png")


def test_the_usual_side_of_photos(tmp_path: Path) -> None:
    assert usual_side(load_dataset("procedural", split="test", surface="steel", count=3)) == max(
        load_dataset("procedural", split="test", surface="steel", count=3)[0].image.shape[:2]
    )


def test_files_may_be_read_by_whom_the_umask_allows(tmp_path: Path, run: Path) -> None:
    before = os.umask(0o027)
    try:
        folder = make_run(tmp_path / "run")
        done = subprocess.run(
            [sys.executable, "evaluate/export.py", str(folder), "--out", str(tmp_path / "export"), "--formats", "peft", "merged"],
            cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        files = [path for path in (*folder.rglob("*"), *(tmp_path / "export").rglob("*")) if path.is_file()]
        assert len(files) > 5
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o640}
    finally:
        os.umask(before)


def test_options_name_what_is_wrong() -> None:
    with pytest.raises(UserError, match=r"mm_per_px.*E-PREDICT-OPTION"):
        Options(mm_per_px=float("inf"))
