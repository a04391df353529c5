"""The shipped launch file trains in the precision that it names (known fault: a config's "no" overrode it in silence)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "data.name=procedural", "data.options={surface: steel, count: 6}", "data.augment=light", "data.check=false",
    "frame.frame_px=64", "segmenter.weights=random", "adapter.rank=2", "adapter.encoder=[q, v]", "training.batch_size=4",
    "training.epochs=1", "training.gallery=0", "metrics.names=[s_measure, mae]",
]  # fmt: skip
CONFIG = "configs/adapt/steel_lora.yaml"


def launch(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("ACCELERATE_MIXED_PRECISION", None)
    file = ["--config_file", "configs/accelerate/multi_gpu.yaml", "--cpu", "--num_processes", "1"]
    command = [sys.executable, "-m", "accelerate.commands.launch", *file, "train/adapt.py", CONFIG, *SMALL, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="compares with float32 on a CPU")
def test_the_launch_file_trains_in_bf16(tmp_path, monkeypatch):
    done = launch(f"training.out={tmp_path / 'launched'}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert json.loads((tmp_path / "launched" / "provenance.json").read_text())["mixed_precision"] == "bf16"

    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.chdir(ROOT)
    from samis.config import load_config
    from samis.jobs.train import train

    alone = train(load_config(CONFIG, [*SMALL, f"training.out={tmp_path / 'alone'}"]))
    assert json.loads((alone / "provenance.json").read_text())["mixed_precision"] == "no"
    half, single = (load_file(tmp_path / run / "last" / "adapter_model.safetensors") for run in ("launched", "alone"))
    assert half.keys() == single.keys()
    changed = [name for name in half if not torch.equal(half[name], single[name])]
    assert len(changed) > len(half) / 2, "bf16 and float32 end with the same bits"


def test_a_config_that_contradicts_the_launch_file_is_refused(tmp_path):
    done = launch("training.mixed_precision=no", f"training.out={tmp_path / 'run'}")
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines == [
        "error: training.mixed_precision=no contradicts accelerate launch, which has bf16; set "
        "training.mixed_precision=auto, or pass --mixed_precision no to accelerate launch [E-TRAIN-LAUNCH]"
    ]
    assert not (tmp_path / "run").exists()
