"""The scripts of this folder in their short form; the long ones are marked slow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMES = [
    "sigkill_train_adapt", "sigkill", "sigkill_two_processes_accumulating", "sigterm_two_processes", "sigint",
    "kill_while_writing", "another_number_of_processes", "flat_memory_of_steps", "flat_memory_of_images",
    "leaks_are_found", "equal_gradients", "equal_metrics", "one_failure_ends_all", "one_nan_skips_all",
    "one_writer", "augmentations_differ",
]  # fmt: skip


@pytest.fixture(scope="module")
def results():
    """All in one process, which imports once and forks the runs."""
    done = subprocess.run([sys.executable, HERE / "short.py"], capture_output=True, text=True, timeout=3600)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name"')]
    assert lines, done.stderr[-3000:]
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("name", NAMES)
def test_fault(results, name):
    assert results.keys() == set(NAMES)
    assert results[name]["fine"], results[name]["message"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("kill_resume.py", ["--kills", "20"]),
        ("kill_resume.py", ["--kills", "20", "--processes", "2", "--accumulation", "2"]),
        ("kill_resume.py", ["--kills", "4", "--signal", "TERM", "--processes", "2"]),
        ("crash_points.py", []),
        ("long_run.py", []),
    ],
)
def test_long(script, arguments):
    done = subprocess.run([sys.executable, HERE / script, *arguments], capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
