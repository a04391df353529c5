"""The benchmarks end on the device, with results that agree; no time that they measure decides a test."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {  # on a GPU, and for a trial on a CPU
    "encoder": (["--quick", "--batches", "2", "--no-compile"], ["--quick", "--frame", "128"]),
    "automatic_masks": ([], ["--quick", "--points", "3", "--images", "2"]),
    "embeddings": (["--images", "16"], ["--quick"]),
    "step": ([], ["--quick"]),
}
LIMIT_S = 400
"""For a script that hangs; with other work on the machine a benchmark may take several times the minute that it takes alone."""


@pytest.mark.parametrize("name", OPTIONS)
def test_ends_with_results_that_agree(device, small, note, name):
    script = ROOT / "benchmarks" / f"{name}.py"
    if not script.exists():
        pytest.skip(f"{script.name} is not there")
    options = OPTIONS[name][1 if small else 0]
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(script), "--json", "--device", device, *options],
        cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert name not in ("automatic_masks", "embeddings") or device in line["name"], "it ran elsewhere"
    note(f"benchmarks/{name}.py: {time.monotonic() - start:.0f} s, {line}")
