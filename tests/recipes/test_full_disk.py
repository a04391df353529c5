"""A disk too small for a run: one line that says how much is missing, exit code 2, nothing begun."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.name == "posix" and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_small_disk_is_told_in_one_line(small_disk, monkeypatch, capsys):
    command = [
        "train/adapt.py", "configs/adapt/steel_lora.yaml", "data.name=procedural", "data.options={surface: steel, count: 6}",
        "frame.frame_px=64", "segmenter.weights=random", "training.epochs=1", "training.batch_size=3",
        "metrics.names=[s_measure]", f"training.out={small_disk / 'run'}",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / command[0]), run_name="__main__")
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert "of disk for resume points and weights" in lines[-1]
    assert "E-TRAIN-DISK" in lines[-1]
    left = [path.name for path in (small_disk / "run").rglob("*") if path.name != ".lock"]
    assert left == [], "a run that was not begun must leave nothing"
