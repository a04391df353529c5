"""The atlas of adapters: what is there is not run again, learning rates come from validation, the advice follows its rule."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import atlas_page, peft_atlas
from benchmarks.atlas_jobs import METHODS, SURFACES, config_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def atlas():
    return peft_atlas, atlas_page


def launch(*arguments):
    command = [sys.executable, ROOT / "benchmarks/peft_atlas.py", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_runs_goes_on_and_writes_the_page(tmp_path):
    small = [
        "--surfaces", "drawn_steel", "--methods", "ln_tuning", "bottleneck", "--seeds", "0", "--steps", "2", "--frame", "64",
        "--batch", "2", "--images", "3", "--rows", tmp_path / "rows.jsonl", "--page", tmp_path / "page.md",
    ]  # fmt: skip
    launch(*small, "--jobs", "2")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    kinds = [row["kind"] for row in rows]
    assert kinds.count("time") == 2 and kinds.count("zero_shot") == 1 and kinds.count("training") == 6
    for row in rows:
        assert row["parameters"] > 0 if row["kind"] != "zero_shot" else row["test"]["s_measure"] > 0
        if row["kind"] == "training":
            assert row["off_exact"] and len(row["test"]["images"]) == 3
    page = (tmp_path / "page.md").read_text()
    assert "| LayerNorm | 8,960 |" in page and "6 of 6" not in page and "2 of 2 trainings" in page
    before = (tmp_path / "rows.jsonl").read_bytes()
    (tmp_path / "page.md").unlink()
    launch(*small, "--jobs", "2")
    assert (tmp_path / "rows.jsonl").read_bytes() == before and (tmp_path / "page.md").read_text() == page


def row(method, seed, lr, validation, test, **more):
    images = {str(number): value for number, value in enumerate(test)}
    common = {"steps": 5, "frame_px": 64, "batch_size": 2, "images": 0, "surface": "rail"}
    scores = {"validation": {"s_measure": validation}, "test": {"s_measure": sum(test) / len(test), "images": images}}
    facts = {"parameters": 7, "off_exact": True, "device": "CPU", "torch": "2"}
    return {"kind": "training", **common, "method": method, "seed": seed, "lr": lr, **scores, **facts, **more}


def options(module, *more):
    settings = ["--surfaces", "rail", "--seeds", "0", "1", "--steps", "5", "--frame", "64", "--batch", "2"]
    return module.parse([*settings, "--methods", "lora", *more])


def test_validation_chooses_the_learning_rate_and_nothing_waits_for_test(atlas):
    module, _ = atlas
    lrs = module.METHODS["lora"].lrs
    plan = module.AtlasPlan(options(module), [])
    # What validates best scores worst on the test split.
    made = [
        row("lora", 0, lr, validation, [test])
        for lr, validation, test in zip(lrs, (0.5, 0.7, 0.6), (0.9, 0.1, 0.8), strict=True)
    ]
    started = [job for job in iter(plan.next, None) if job["kind"] == "training"]
    assert [(job["seed"], job["lr"]) for job in started] == [(0, lr) for lr in lrs]
    for each in made[:2]:
        plan.add(each)
    assert plan.lr("lora") is None and plan.next() is None
    plan.add(made[2])
    assert plan.lr("lora") == lrs[1]
    job = plan.next()
    assert (job["seed"], job["lr"]) == (1, lrs[1]) and plan.next() is None


def test_rows_of_other_settings_do_not_count(atlas):
    module, _ = atlas
    lr = module.METHODS["lora"].lrs[0]
    plan = module.AtlasPlan(options(module), [row("lora", 0, lr, 0.5, [0.5], steps=6), row("lora", 7, lr, 0.5, [0.5])])
    assert plan.known() == []
    jobs = [job for job in iter(plan.next, None) if job["kind"] == "training"]
    assert len(jobs) == 3


def test_a_line_that_was_cut_off_is_left_out(atlas, tmp_path, capsys):
    module, _ = atlas
    path = tmp_path / "rows.jsonl"
    path.write_text('{"kind": "time"}\n{"kind": "trai')
    assert module.read_rows(path) == [{"kind": "time"}]
    assert "cut off" in capsys.readouterr().err


def test_the_advice_follows_the_rule_of_the_page(atlas, tmp_path):
    """IA3 is 0.01 behind on average but ahead on some images: equal, and smaller; VeRA is behind on every image."""
    _, page = atlas
    test = {"lora": [0.80, 0.60, 0.82, 0.62], "ia3": [0.84, 0.54, 0.86, 0.56], "vera": [0.70, 0.50, 0.72, 0.52]}
    sizes, times = {"lora": 100, "ia3": 10, "vera": 1}, {"lora": 5.0, "ia3": 9.0, "vera": 1.0}

    def rows():
        each = [
            row(name, seed, 0.1, 0.5, test[name], parameters=sizes[name]) | {"step_ms": times[name] + seed}
            for name in test
            for seed in (0, 1)
        ]
        # A learning rate that validated worse is no part of the table.
        return [*each, row("lora", 0, 0.2, 0.1, [0.0] * 4)]

    def text(rows):
        page.write_page(rows, tmp_path / "page.md")
        return (tmp_path / "page.md").read_text()

    written = text(rows())
    assert "Take **LoRA**: mean S 0.7100, the largest of all." in written
    assert "take **IA3**: 10 parameters in place of 100, mean S 0.7000" in written
    assert (
        "| LoRA | 100 | 6 | 0.1 | 0.7100 [" in written and "6 of 6 trainings" in written
    )  # the median of 5 and 6 ms, to even
    times["ia3"] = 2.0
    written = text(rows())
    assert "Take **IA3**: mean S 0.7000, which the images cannot tell from the largest, LoRA's 0.7100" in written
    assert "No method with fewer parameters than its 10 is as good." in written
    # Full tuning is ahead on every image: the second sentence is about those that leave SAM as it is.
    full = [row("full", seed, 0.1, 0.5, [0.9] * 4, parameters=1000) | {"step_ms": 3.0} for seed in (0, 1)]
    written = text([*rows(), *full])
    assert "Take **full**: mean S 0.9000, the largest of all." in written
    assert (
        "take **IA3**: 10 parameters in place of 1,000, mean S 0.7000, which the images cannot tell from LoRA's 0.7100."
        in written
    )


def test_every_line_of_the_atlas_is_a_config():
    for surface in SURFACES:
        for method in METHODS:
            job = {"surface": surface, "method": method, "seed": 1, "lr": 0.01, "frame_px": 64, "batch_size": 2}
            config = config_of(job)
            assert config.optim.lr == 0.01 and config.seed == 1 and config.training.batch_size == 2
    assert len(METHODS) == 12 and all(len(entry.lrs) == 3 for entry in METHODS.values())
