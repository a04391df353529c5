"""Help and config mistakes answer before anything heavy is imported (what is imported is tested, not the time it takes)."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = (
    "torch",
    "accelerate",
    "albumentations",
    "torchvision",
    "peft",
    "timm",
    "cv2",
    "matplotlib",
    "tensorboard",
    "segment_anything",
)
SCRIPTS = sorted([*ROOT.glob("train/*.py"), *ROOT.glob("evaluate/*.py")])
RUN = (
    "import runpy, sys; script, heavy = sys.argv[1], {heavy!r}; sys.argv = sys.argv[1:]\n"
    "try: runpy.run_path(script, run_name='__main__')\n"
    "except SystemExit as end: print('ended', end.code or 0)\n"
    "print('heavy', sorted(set(heavy) & set(sys.modules)))"
)


def answer(script, *arguments):
    command = [sys.executable, "-c", RUN.format(heavy=HEAVY), str(script), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)


def test_there_are_scripts():
    assert len(SCRIPTS) >= 6


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_imports_nothing_heavy(script):
    done = answer(script, "--help")
    assert "usage:" in done.stdout
    assert "ended 0\nheavy []" in done.stdout, done.stdout[-300:] + done.stderr[-600:]


@pytest.mark.parametrize("script", ["train/adapt.py", "train/baseline.py", "train/pretrain.py", "evaluate/score.py"])
def test_a_mistake_in_the_config_imports_nothing_heavy(script):
    done = answer(
        ROOT / script, "configs/pretrain.yaml" if "pretrain" in script else "configs/demo.yaml", "trainig.epochs=3"
    )
    assert "ended 2\nheavy []" in done.stdout, done.stdout[-300:] + done.stderr[-600:]
    assert "trainig" in done.stderr and "E-CONFIG-KEY" in done.stderr
