"""Launches the real commands on drawn surfaces: train, two processes, resume, score, the errors a user meets."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "data.name=procedural", "data.options={surface: steel, count: 10}", "data.augment=light", "frame.frame_px=64",
    "segmenter.architecture=samis_lite", "segmenter.weights=random", "adapter.rank=2", "adapter.encoder=[q, v]",
    "training.batch_size=2", "training.epochs=2", "training.log_every=1", "training.gallery=2", "training.validate_every=1",
    "metrics.names=[s_measure, mae, iou]", "metrics.batch_size=3",
]  # fmt: skip
CONFIG = "configs/adapt/steel_lora.yaml"


def launch(*command, check=True):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def weights(run):
    from safetensors.torch import load_file

    return load_file(run / "last" / "adapter_model.safetensors")


def validations(run):
    return [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process with batches of four."""
    folder = tmp_path_factory.mktemp("runs") / "alone"
    done = launch("train/adapt.py", CONFIG, *SMALL, "training.batch_size=4", f"training.out={folder}")
    assert "validation after epoch 2" in done.stdout
    return folder


def test_run_folder_is_as_promised(alone):
    for name in (
        "config.yaml",
        "provenance.json",
        "validation.jsonl",
        "best",
        "last",
        "tensorboard",
    ):
        assert (alone / name).exists(), name
    assert not (alone / "resume").exists(), "nothing goes on from a finished run's"
    log = (alone / "log.txt").read_text()
    for text in ("10 training images", "step 3/6 ", "validation after epoch 2: ", "best validation: "):
        assert text in log, text
    assert (alone / "best" / "adapter_config.json").exists(), "peft's own format"
    threshold = json.loads((alone / "provenance.json").read_text())["threshold"]
    assert 0 <= threshold["value"] < 1
    assert threshold["iou"] > 0
    steps = [line["step"] for line in validations(alone)]
    assert steps == [3, 6]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(alone / "tensorboard"))
    events.Reload()
    assert "validation/s_measure" in events.Tags()["scalars"]
    assert len([tag for tag in events.Tags()["images"] if tag.startswith("gallery/")]) == 2


def test_two_processes_equal_one(alone, tmp_path):
    """Two gloo processes with half the batch: the same weights on both ranks, one process's numbers."""
    folder = tmp_path / "two"
    done = launch(
        "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29611", "tests/recipes/adapt_and_compare.py",
        CONFIG, *SMALL, f"training.out={folder}",
    )  # fmt: skip
    assert "ranks agree on" in done.stdout
    two, one = weights(folder), weights(alone)
    assert two.keys() == one.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=2e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    for ours, theirs in zip(validations(folder), validations(alone), strict=True):
        assert ours["step"] == theirs["step"]
        for name, value in theirs["metrics"].items():
            assert ours["metrics"][name] == pytest.approx(value, abs=2e-3)


def test_scores_twice_the_same_and_as_validated(alone, tmp_path):
    rows = []
    for turn in ("a", "b"):
        launch(
            "evaluate/score.py",
            alone,
            "--split",
            "val",
            "--out",
            tmp_path / turn,
            "metrics.batch_size=2",
            "metrics.names=[s_measure, mae, iou]",
            "metrics.latency=false",  # two measurements of time differ
            "--save-maps",
            tmp_path / "maps",
            "--overwrite",
        )
        (path,) = (tmp_path / turn).glob("*.json")
        rows.append(json.loads(path.read_text()))
    for row in rows:
        row["provenance"] = {
            k: v for k, v in row["provenance"].items() if k not in ("created", "seconds_per_image", "command")
        }
    assert rows[0] == rows[1]
    best = [line for line in validations(alone) if line["best"]][-1]
    for name, value in best["metrics"].items():
        assert rows[0]["metrics"][name] == pytest.approx(value, rel=1e-6)
    assert rows[0]["kind"] == "tuned"
    assert rows[0]["oracle"] is False
    # The maps it saved, scored as saved maps, give the same numbers: one evaluator for all.
    (maps,) = (tmp_path / "maps").iterdir()
    launch(
        "evaluate/score.py", "configs/saved_maps.yaml", "data.name=procedural", "data.options={surface: steel, count: 10}",
        f"segmenter.maps={maps}", "metrics.names=[s_measure, mae, iou]", "--split", "val", "--out", tmp_path / "saved",
    )  # fmt: skip
    (saved,) = (tmp_path / "saved").glob("*.json")
    assert json.loads(saved.read_text())["metrics"] == rows[0]["metrics"]


def test_a_second_run_of_the_same_command_goes_on(alone, tmp_path):
    folder = tmp_path / "run"
    first = [*SMALL, "training.batch_size=4", f"training.out={folder}", "training.keep_resume=true"]
    launch("train/adapt.py", CONFIG, *first, "training.epochs=1")
    done = launch("train/adapt.py", CONFIG, *first)
    assert "resuming" in done.stdout
    assert [line["step"] for line in validations(folder)] == [3, 6]


def test_a_finished_run_is_told_and_another_config_refused(alone, monkeypatch, capsys):
    def again(*overrides):
        same = [*SMALL, "training.batch_size=4", f"training.out={alone}", *overrides]
        monkeypatch.setattr(sys, "argv", ["train/adapt.py", CONFIG, *same])
        monkeypatch.chdir(ROOT)
        runpy.run_path(str(ROOT / "train" / "adapt.py"), run_name="__main__")

    before = {path: path.read_bytes() for path in alone.rglob("*") if path.is_file()}
    again()
    assert "this run is finished" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        again("optim.lr=0.5", "training.epochs=9")
    assert ended.value.code == 2
    assert "(optim.lr is" in (line := capsys.readouterr().err) and "E-TRAIN-OTHER-CONFIG" in line
    with pytest.raises(SystemExit):
        again("training.epochs=9")
    assert "cannot train a finished run on (training.epochs is 2 there and 9 here)" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in alone.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "word", "code"),
    [
        (["adapter.rnak=4"], "did you mean rank?", "E-CONFIG-KEY"),
        (["data.name=sd_saliency900"], "sd_saliency_900", "E-CONFIG-CHOICE"),
        (["data.train=trian"], "trian", "E-DATA-SPLIT"),
        (["adapter.encoder=[qq]"], "qq", "E-CONFIG-CHOICE"),
        (["segmenter.weights=/nowhere.pth"], "/nowhere.pth", "E-SAM-NO-WEIGHTS"),
        (["segmenter.architecture=vit_b", "segmenter.weights=null"], "sam_vit_b_01ec64.pth", "E-SAM-NO-OFFICIAL"),
        (["segmenter.architecture=vit_q"], "vit_b", "E-CONFIG-CHOICE"),
        (["frame.frame_px=100"], "16", "E-SAM-FRAME"),
        (["training.epochs=0"], "epochs", "E-CONFIG-RANGE"),
    ],
)
def test_mistakes_get_one_line_and_code_2(arguments, word, code, tmp_path, monkeypatch, capsys):
    """In this process, since each launch would import torch again; one real launch follows below."""
    command = ["train/adapt.py", CONFIG, *SMALL, f"training.out={tmp_path / 'run'}", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / command[0]), run_name="__main__")
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert word in lines[0] and lines[0].endswith(f"[{code}]")
    assert not (tmp_path / "run" / "best").exists()


def test_a_mistake_leaves_no_traceback(tmp_path):
    missing = [
        "data.name=folder",
        "data.options={}",
        f"data.root={tmp_path / 'nowhere'}",
        f"training.out={tmp_path / 'run'}",
    ]
    done = launch("train/adapt.py", CONFIG, *SMALL, *missing, check=False)
    assert done.returncode == 2
    assert str(tmp_path / "nowhere") in done.stderr
    assert "Traceback" not in done.stderr


def test_dry_run_shows_config_and_trainable_parameters(tmp_path):
    done = launch("train/adapt.py", CONFIG, *SMALL, "--dry-run", f"training.out={tmp_path / 'run'}")
    assert "frame_px: 64" in done.stdout
    assert "image_encoder" in done.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "script", sorted([*ROOT.glob("train/*.py"), *ROOT.glob("evaluate/*.py")]), ids=lambda path: path.stem
)
def test_help_is_quick_and_complete(script):
    done = launch("-X", "importtime", script, "--help")
    assert "usage:" in done.stdout
    assert " torch\n" not in done.stderr, "--help must not import torch"
