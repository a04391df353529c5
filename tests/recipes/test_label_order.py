"""The benchmark of labels saved: its summary by hand, and itself in small on the steel training set."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.label_order import interval, labels_for, summary
from samis.data import load_dataset
from samis.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_the_summary_by_hand():
    assert labels_for([(16, 0.7), (32, 0.8)], 0.75) == pytest.approx(24)
    assert labels_for([(16, 0.7)], 0.9) == math.inf and labels_for([(16, 0.7)], 0.6) == 16
    mean, low, high = interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2, 2 - 4.30265 / math.sqrt(3), 2 + 4.30265 / math.sqrt(3)), abs=1e-4)
    values = {
        ("random", 16): [0.70, 0.72],
        ("random", 32): [0.80, 0.82],
        ("both", 16): [0.70, 0.72],
        ("both", 32): [0.90, 0.92],
    }
    rows = [
        {"rule": rule, "labels": labels, "seed": seed, "s_measure": value}
        for (rule, labels), of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    ]
    lines = summary(rows)
    assert len(lines) == 5 and "both" in lines[3] and "against random +0.1000 [+0.1000, +0.1000]" in lines[3]
    # 0.80 of random with 32 lies half way between 0.70 and 0.90: 24 labels, 8 saved, for both seeds
    assert "labels saved for the S of 32 random ones: 8.0 [8.0, 8.0]" in lines[4] and "2 of 2 seeds" in lines[4]


@pytest.mark.slow
def test_it_runs_in_small_on_steel(tmp_path):
    try:
        load_dataset("sd_saliency_900", split="train")
    except UserError:
        pytest.skip("no steel data: set SAMIS_DATA")
    words = ["--budgets", "8", "16", "--seeds", "1", "--epochs", "2", "--test", "12", "--frame-px", "128"]
    out = tmp_path / "rows.jsonl"
    done = subprocess.run(
        [sys.executable, "benchmarks/label_order.py", *words, "--rules", "random", "both", "--out", str(out)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["rule"], row["labels"]) for row in rows] == [("random", 8), ("random", 16), ("both", 8), ("both", 16)]
    assert rows[0]["s_measure"] == pytest.approx(rows[2]["s_measure"], abs=1e-3)  # both start from the same photos
    assert all(0.2 < row["s_measure"] < 1 for row in rows) and "labels saved" in done.stdout
