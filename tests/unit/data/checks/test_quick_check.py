"""The short check before a training: it finds what stops a training, quickly, and a training with errors does not start."""

from __future__ import annotations

import runpy
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samis.config import DataConfig
from samis.core.contracts import Dataset
from samis.data import load_dataset
from samis.data.base import subset
from samis.data.checks.doctor import examine
from samis.data.checks.quick_check import quick_check
from samis.data.own.folder import load_folder
from samis.errors import UserError
from samis.jobs.check import check_data

ROOT = Path(__file__).resolve().parents[4]
Draw = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path, draw: Draw) -> Path:
    """Four sound samples in each of three split folders."""
    for number in range(12):
        split = ("train", "val", "test")[number // 4]
        draw(tmp_path / split / "images" / f"p{number}.png", number)
        draw(tmp_path / split / "masks" / f"p{number}.png", number, mask=True)
    return tmp_path


def splits(root: Path) -> dict[str, Dataset]:
    return {split: load_folder(root=root, split=split) for split in ("train", "val", "test")}


def findings_of(root: Path) -> list[str]:
    return [f"{f.severity} {f.code} {Path(f.file).name}" for f in quick_check(splits(root)).findings]


def test_sound_splits(root: Path) -> None:
    assert findings_of(root) == []


def test_what_stops_a_training_is_found_as_the_long_examination_finds_it(root: Path, draw: Draw) -> None:
    shutil.copy(root / "train/images/p0.png", root / "test/images/p8.png")
    (root / "train/images/p1.png").write_bytes(b"")
    draw(root / "val/masks/p5.png", 5, mask=True, hw=(40, 47))
    Image.fromarray(np.full((40, 48), 99, np.uint8)).save(root / "test/masks/p9.png")
    assert sorted(findings_of(root)) == [
        "error empty_file p1.png",
        "error leak p8.png",
        "error mask_values p9.png",
        "error size_mismatch p5.png",
    ]
    long = {(f.severity, f.code, f.file) for f in examine(splits(root)).findings}
    assert {(f.severity, f.code, f.file) for f in quick_check(splits(root)).findings} <= long


def test_a_rotation_told_after_the_pixels_is_no_mismatch(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = root / "train/images/p0.png"
    Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    data = path.read_bytes()
    at = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[at : at + 4], "big")
    path.write_bytes(data[:at] + data[at + length : -12] + data[at : at + length] + data[-12:])
    assert findings_of(root) == []


def test_a_part_of_a_split_and_drawn_surfaces(root: Path) -> None:
    (root / "train/images/p1.png").write_bytes(b"")
    few = subset(load_folder(root=root, split="train"), 4)
    assert [f.code for f in quick_check({"train": few}).findings] == ["empty_file"]
    drawn = load_dataset("procedural", split="train", count=3)
    assert quick_check({"train": drawn}).findings == []


def test_a_thousand_small_images_take_two_seconds(tmp_path: Path, draw: Draw) -> None:
    for number in range(50):
        draw(tmp_path / "images" / f"p{number}.png", number)
        draw(tmp_path / "masks" / f"p{number}.png", number, mask=True)
    dataset = load_folder(root=tmp_path, split="all")
    start = time.process_time()
    quick_check({"all": dataset})
    assert (time.process_time() - start) / 50 * 1000 < 2 * 3  # three times: the machine may be slow and busy


def test_one_line_and_an_error(root: Path) -> None:
    config = DataConfig(name="folder", root=str(root))
    data = splits(root)
    assert check_data(config, data["train"], data["val"]) == "data check: train 4, val 4, test 4: nothing wrong"
    shutil.copy(root / "train/images/p0.png", root / "train/images/p2.png")
    summary = check_data(config, data["train"], data["val"])
    assert "1 warnings, the first: " in summary and "\n" not in summary
    shutil.copy(root / "train/images/p0.png", root / "val/images/p4.png")
    with pytest.raises(UserError, match=r"1 errors, the first: .*p4\.png.*data\.check=false") as caught:
        check_data(config, data["train"], data["val"])
    assert "\n" not in str(caught.value)
    shutil.rmtree(root / "test")
    (root / "val/images/p4.png").unlink()
    (root / "val/masks/p4.png").unlink()
    assert "train 4, val 3: 1 warnings" in check_data(config, data["train"], load_folder(root=root, split="val"))


def test_a_training_with_errors_exits_with_2_before_it_writes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(root / "train/images/p0.png", root / "test/images/p8.png")
    command = [
        "train/adapt.py", "configs/adapt/steel_lora.yaml", "data.name=folder", f"data.root={root}", "frame.frame_px=64",
        "segmenter.weights=random", f"training.out={tmp_path / 'run'}",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / command[0]), run_name="__main__")
    assert ended.value.code == 2
    assert "error: data check: 1 errors, the first: " in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.parametrize(("name", "cheap_px", "leaks"), [("q.bmp", 10**9, 1), ("p0.tif", 0, 1), ("q.bmp", 0, 0)])
def test_a_photo_saved_again_in_another_format_is_a_leak(
    tmp_path: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch, name: str, cheap_px: int, leaks: int
) -> None:
    """By its pixels; where decoding all photos would be slow, by those of the photos that share a name."""
    monkeypatch.setattr("samis.data.checks.quick_check.CHEAP_PX", cheap_px)
    for number in range(3):
        draw(tmp_path / "train" / "images" / f"p{number}.png", number)
        draw(tmp_path / "train" / "masks" / f"p{number}.png", number, mask=True)
    again = tmp_path / "val" / "images" / name
    again.parent.mkdir(parents=True)
    Image.open(tmp_path / "train/images/p0.png").convert("RGB").save(again)
    draw(tmp_path / "val" / "masks" / f"{again.stem}.png", 0, mask=True)
    draw(tmp_path / "val" / "images" / "other.png", 9)
    draw(tmp_path / "val" / "masks" / "other.png", 9, mask=True)
    tables = {split: load_folder(root=tmp_path / split, split="all") for split in ("train", "val")}
    messages = [f.message for f in quick_check(tables).findings if f.code == "leak"]
    assert len(messages) == leaks and all("got the same pixels as" in text for text in messages)
    assert sum(f.code == "leak" for f in examine(tables).findings) == 1
