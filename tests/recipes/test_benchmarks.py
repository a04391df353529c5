"""The benchmarks run and end with the line for machines; no time decides a test, only whether results agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "metrics": ["--sides", "64", "--images", "2", "--rounds", "1"],
    "folders": ["--number", "12"],
    "scaling": ["--steps", "1"],
    "encoder": [],
    "automatic_masks": ["--points", "4", "--images", "2"],
    "embeddings": [],
    "memory": [],
    "step": [],
    "scenes": ["--side", "64", "--count", "30"],
}
MOST = {"computing": 1000, "copies": 290}
"""Operators that compute, and copies, of a training step; a cast that comes back at each use shows here."""
SLOW = {"scaling", "encoder", "automatic_masks", "embeddings", "memory"}


def test_every_benchmark_is_launched_here():
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {
        "sides",
        "encoder_table",
        "peft_atlas",
        "atlas_jobs",
        "atlas_page",
        "family_memory",  # prints no ratio of two sides; launched below
        "label_order",
    }
    assert scripts == set(SMALL)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in sorted(SMALL)])
def test_ends_with_the_line_for_machines(name):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", "--quick", "--json", *SMALL[name]]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    line = json.loads(done.stdout.splitlines()[-1])
    assert {"name", "ratio", "peak_memory_ratio", "equal"} <= set(line)
    assert line["equal"] is True and line["ratio"] > 0
    if name == "step":  # the default SAM's training step; 31d036d's smaller one had 2,255, 906 and 7
        assert line["computing"] <= MOST["computing"] and line["copies"] <= MOST["copies"] and line["syncs"] == 0, line


def test_memory_of_a_family(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    small = ["--only", "samis_lite", "--frame", "64", "--rows", tmp_path / "rows.jsonl"]
    command = [sys.executable, ROOT / "benchmarks/family_memory.py", *small]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert len(rows) == 2 and all(row["frame_px"] == 64 and row["ms"] > 0 and row["peak_gb"] is None for row in rows)
