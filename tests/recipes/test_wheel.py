"""The wheel: built, installed without the checkout, and the main job run by its command in an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not find_spec("hatchling"), reason="needs hatchling, of the extra dev")
MAIN_JOB = """
import sys, samis.cli
small = ["data.name=procedural", "data.options={surface: rail, count: 4}", "frame.frame_px=64", "cache.embeddings=never"]
few = ["metrics.bootstrap=20", "metrics.names=[s_measure, mae]", "metrics.latency=false"]
samis.cli.main(["score", "zero_shot", *small, *few, "prompt.kind=empty", "segmenter.mask_rule=top_iou"])
once = ["training.epochs=1", "training.validate_every=1", "training.gallery=0", "training.workers=0"]
samis.cli.main(["train", "rail_lora", *small, *once])
samis.cli.main(["score", "checkpoints/runs/rail_lora", *few])
samis.cli.main(["compare", "reports/rows"])
samis.cli.main(["predict", "checkpoints/runs/rail_lora", "photos/"])
samis.cli.main(["predict", "steel", "photos/", "--out", "by_name"])
print("samis of", samis.__file__)
"""


def build(source, out):
    options = ["-q", "--no-deps", "--no-build-isolation", "-w", str(out)]
    command = [sys.executable, "-m", "pip", "wheel", *options, str(source)]
    return subprocess.run(command, capture_output=True, text=True, cwd=out.parent)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel") / "dist"
    done = build(ROOT, out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deprecat" not in (done.stdout + done.stderr).lower()
    (file,) = out.glob("samis-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A virtual environment of its own with the wheel; libraries come from the environment of the tests, samis does not."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    options = ["-q", "--no-deps", "--no-index", str(wheel)]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", *options]
    subprocess.run(command, check=True, capture_output=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A folder named in a .pth file is searched for packages, but its own .pth files (an editable samis among them) are not read.
    (packages / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return folder


def run(installed, cwd, *command):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SAMIS_", "PYTHON"))}
    environment |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    command = [str(installed / "bin" / command[0]), *map(str, command[1:])]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_it_holds_what_the_command_needs_and_no_script(wheel):
    assert wheel.stat().st_size < 40e6
    archive = zipfile.ZipFile(wheel)
    names = archive.namelist()
    for folder in ("configs", "checkpoints/samis_lite", "checkpoints/tuned"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file():
                assert f"samis/assets/{folder}/{path.relative_to(ROOT / folder).as_posix()}" in names
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"samis"}
    (metadata,) = (archive.read(name).decode() for name in names if name.endswith("METADATA"))
    assert "License-Expression: Apache-2.0" in metadata


def test_the_main_job_in_an_empty_folder(installed, tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(
        tmp_path / "photos/a.png"
    )
    before = sorted(installed.rglob("*"))
    done = run(installed, tmp_path, "python", "-B", "-c", MAIN_JOB)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-1500:]
    assert f"samis of {installed}" in done.stdout, "another samis was used"
    assert (
        "samis predict checkpoints/runs/rail_lora PHOTOS" in done.stdout and "samis compare reports/rows" in done.stdout
    )
    assert len(list((tmp_path / "reports/rows").glob("*.json"))) == 2
    assert (tmp_path / "report/index.html").stat().st_size > 10_000
    for out in ("predictions", "by_name"):
        assert Image.open(tmp_path / out / "masks/a.png").size == (60, 50)
    assert sorted(installed.rglob("*")) == before, "something was written into the installed package"


def test_the_console_script(installed, tmp_path):
    done = run(installed, tmp_path, "samis", "--version")
    assert done.returncode == 0 and done.stdout.startswith("samis 0.")
    done = run(installed, tmp_path, "samis", "pretrain", "pretrain")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "E-CONFIG-CHECKOUT" in done.stderr


@pytest.mark.parametrize("fault", ["missing", "pointer"])
def test_a_wheel_without_weights_cannot_be_built(tmp_path, fault):
    for name in ("samis", "configs", "checkpoints/tuned", "README.md", "LICENSE", "pyproject.toml", "hatch_build.py"):
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / "source" / name)
    if fault == "pointer":
        weights = tmp_path / "source/checkpoints/samis_lite/model.safetensors"
        weights.parent.mkdir()
        weights.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 10864656\n")
    done = build(tmp_path / "source", tmp_path / "dist")
    assert done.returncode != 0 and not list(tmp_path.glob("dist/*.whl"))
    (line,) = (
        line for line in (done.stdout + done.stderr).splitlines() if "error: " in line and "expected it for" in line
    )
    assert "model.safetensors: expected it for the wheel" in line
    assert ("no such file" if fault == "missing" else "pointer of Git LFS") in line
