"""A training never selects on what it is scored on, nor trains on what it is selected on."""

from __future__ import annotations

import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from samis.config import DataConfig, Experiment, FrameConfig, SegmenterConfig, TrainingConfig
from samis.data.checks.doctor import examine
from samis.data.checks.quick_check import quick_check
from samis.data.own.folder import load_folder
from samis.errors import UserError
from samis.jobs.check import check_data, check_experiment
from samis.jobs.train import train

ROOT = Path(__file__).resolve().parents[4]
Draw = Callable[..., Path]
EQUAL = [
    {"val": "test"},
    {"test": "train"},
    {"val": "train"},
    {"train": "test"},
    {"train": "all", "val": "all", "test": "all"},
]


@pytest.fixture
def root(tmp_path: Path, draw: Draw) -> Path:
    for number in range(12):
        split = ("train", "val", "test")[number // 4]
        draw(tmp_path / split / "images" / f"p{number}.png", number)
        draw(tmp_path / split / "masks" / f"p{number}.png", number, mask=True)
    return tmp_path


def experiment(root: Path, **names: object) -> Experiment:
    data = DataConfig(name="folder", root=str(root), **names)  # type: ignore[arg-type]
    small = {"segmenter": SegmenterConfig(weights="random"), "frame": FrameConfig(frame_px=64)}
    return Experiment(data=data, training=TrainingConfig(out=str(root / "run"), epochs=1), **small)


@pytest.mark.parametrize("names", EQUAL)
def test_one_split_in_two_roles_is_refused_before_anything_is_loaded(root: Path, names: dict[str, str]) -> None:
    with pytest.raises(UserError, match="both '") as caught:
        check_experiment(experiment(root / "nowhere", **names))
    assert "data." in str(caught.value)
    with pytest.raises(UserError, match="both '"):
        train(experiment(root, **names), dry_run=True)
    check_experiment(experiment(root))


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("names", [{"train": "trainval"}, {"train": "all"}, {"val": "all"}, {"val": "trainval"}])
def test_overlapping_splits_are_refused_by_id(root: Path, names: dict[str, str], check: bool) -> None:
    with pytest.raises(UserError, match=r"4 in both|8 in both"):
        train(experiment(root, check=check, **names))
    assert not (root / "run" / "best").exists()


def test_a_test_split_that_overlaps_is_refused_too(root: Path) -> None:
    config = DataConfig(name="folder", root=str(root), test="trainval")
    parts = [load_folder(root=root, split=split) for split in ("train", "val")]
    with pytest.raises(UserError, match="errors, the first"):
        check_data(config, *parts)


def test_common_images_are_found_by_id_and_by_content(root: Path) -> None:
    whole = {split: load_folder(root=root, split=split) for split in ("trainval", "val", "test")}
    for report in (examine(whole), quick_check(whole)):
        codes = [f.code for f in report.findings if f.severity == "error"]
        assert codes.count("shared_images") == 1 and codes.count("leak") == 4
    shutil.copy(root / "train/images/p0.png", root / "test/images/p8.png")
    parts = {split: load_folder(root=root, split=split) for split in ("train", "val", "test")}
    for report in (examine(parts), quick_check(parts)):
        assert [f.code for f in report.findings if f.severity == "error"] == ["leak"]


@pytest.mark.parametrize("names", EQUAL[:3])
def test_check_data_reports_them(root: Path, monkeypatch, capsys, names: dict[str, str]) -> None:
    words = [f"data.{role}={split}" for role, split in names.items()]
    monkeypatch.setattr(sys, "argv", ["check_data.py", "configs/own.yaml", f"data.root={root}", *words])
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "evaluate/check_data.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert ended.value.code == 2 and "error: expected splits that differ" in out
