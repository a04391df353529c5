"""evaluate/check_data.py on a folder of photos with planted faults, and on a sound one."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def photos(folder, count=12):
    rng = np.random.default_rng(0)
    for k in range(count):
        image = rng.integers(0, 255, (40, 50), dtype=np.uint8)
        mask = np.zeros((40, 50), np.uint8)
        mask[5 : 15 + k, 10:30] = 255
        for name, values in (("images", image), ("masks", mask)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(folder / name / f"photo_{k}.png")


def check(folder, monkeypatch, *more):
    command = [
        "evaluate/check_data.py",
        "configs/adapt/steel_lora.yaml",
        "data.name=folder",
        f"data.root={folder}",
        *more,
    ]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.chdir(ROOT)
    try:
        runpy.run_path(str(ROOT / command[0]), run_name="__main__")
    except SystemExit as ended:
        return ended.code
    return 0


def test_sound_photos_pass(tmp_path, monkeypatch, capsys):
    photos(tmp_path)
    assert check(tmp_path, monkeypatch, "--sheet", str(tmp_path / "sheet.png")) == 0
    output = capsys.readouterr().out
    assert "0 errors" in output
    assert "train" in output
    assert Image.open(tmp_path / "sheet.png").width > 100


def test_planted_faults_are_found(tmp_path, monkeypatch, capsys):
    photos(tmp_path)
    (tmp_path / "images" / "photo_3.png").write_bytes((tmp_path / "images" / "photo_3.png").read_bytes()[:200])
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "masks" / "photo_4.png")
    assert check(tmp_path, monkeypatch, "--json") == 2
    report = json.loads(capsys.readouterr().out)
    files = {Path(finding["file"]).name for finding in report["findings"] if finding["severity"] == "error"}
    assert {"photo_3.png", "photo_4.png"} <= files


def test_a_missing_folder_is_told(tmp_path, monkeypatch, capsys):
    assert check(tmp_path / "nowhere", monkeypatch) == 2
    assert "nowhere" in capsys.readouterr().out
