"""Nine images over two gloo processes: each counts once, so that the weights are those of one process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def trained(folder, processes, batch_size, accumulation):
    """Train on some processes; return the weights."""
    folder.mkdir()
    spread = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    script = ROOT / "tests" / "recipes" / "count_once.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *spread, str(script), str(folder), str(batch_size), str(accumulation)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return json.loads((folder / "weights.json").read_text())


@pytest.mark.parametrize(("batch_size", "accumulation"), [(2, 2), (3, 1)])
def test_nine_images_count_once_on_two_processes(tmp_path, batch_size, accumulation):
    """The second process has four of the nine; what fills its last step up counts nothing. (3, 1) needs no filling up."""
    alone = trained(tmp_path / "alone", 1, 2 * batch_size, accumulation)
    both = trained(tmp_path / "both", 2, batch_size, accumulation)
    assert both == pytest.approx(alone, abs=1e-6) and max(map(abs, alone)) > 0.05
