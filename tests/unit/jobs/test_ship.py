"""Adapters that ship: found by name, small, complete, of the embedded weights; and the command that makes them."""

import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import samis
from samis.config import AdapterConfig, DataConfig, Experiment, FrameConfig, load_config, to_yaml
from samis.core.files import file_sha256
from samis.core.shipped import find_run, shipped_runs
from samis.errors import UserError
from samis.evaluation.score_row import ScoreRow, rows_of_training
from samis.factory import build_learner
from samis.jobs import ship as shipping
from samis.jobs.load import load_run
from samis.jobs.ship import ship
from samis.sam.architectures import EMBEDDED
from samis.sam.weights import find_weights

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("rail", "steel", "tile")
WEIGHTS = "best/adapter_model.safetensors"


@pytest.mark.parametrize("name", NAMES)
def test_what_ships_is_small_complete_and_of_the_embedded_weights(name):
    folder = ROOT / "checkpoints/tuned" / name
    assert (folder / WEIGHTS).stat().st_size <= 5e6
    assert {tensor.dtype for tensor in load_file(folder / WEIGHTS).values()} == {torch.float16}
    record = json.loads((folder / "provenance.json").read_text())
    assert 0 < record["threshold"]["value"] < 1
    assert 0 < record["validation"]["s_measure"] < 1
    assert load_config(folder / "config.yaml").segmenter.weights is None
    card = (folder / "README.md").read_text()
    assert file_sha256(find_weights(EMBEDDED)) in card
    assert f"{record['validation']['s_measure']:.4f}" in card and f"{record['threshold']['value']:.3f}" in card
    assert re.search(r"tuned on \| .*H200", card)


@pytest.mark.parametrize("name", NAMES)
def test_load_run_takes_the_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = samis.load_run(name)
    values = model.predict(np.full((60, 90, 3), 120, np.uint8))
    assert values.shape == (60, 90) and np.isfinite(values).all()
    assert model.threshold_from == "validation"


def made_run(folder, seed=0, **changes):
    """A run folder as training leaves it, with an adapter that answers otherwise than its base."""
    config = Experiment(
        experiment="mine", data=DataConfig(name="procedural", root="/home/me/data"), frame=FrameConfig(frame_px=64),
        adapter=AdapterConfig(rank=2),
    )  # fmt: skip
    config.segmenter.weights = changes.get("weights")
    learner = build_learner(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in learner.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    learner.save(folder / "best")
    (folder / "config.yaml").write_text(to_yaml(config))
    record = {
        "commit": "abc",
        "command": "adapt.py",
        "validation": {"s_measure": 0.123456789012},
        "data_fingerprint": "f",
    }
    record["threshold"] = {"value": 0.375, "iou": 0.5, "images": 3}
    (folder / "provenance.json").write_text(json.dumps(record))
    return folder


def picture():
    return np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)


def test_a_run_ships_in_half_precision_with_its_card_and_again_with_new_rows(tmp_path):
    run = made_run(tmp_path / "run")
    folder = ship(run, "mine", tmp_path / "tuned", made={"hardware": "a lathe", "limits": "Only on Mondays."})
    assert sorted(path.name for path in tmp_path.joinpath("tuned").iterdir()) == ["mine"]
    before, after = load_file(run / WEIGHTS), load_file(folder / WEIGHTS)
    assert all(torch.equal(after[name], tensor.half()) for name, tensor in before.items())
    assert (folder / WEIGHTS).stat().st_mode & 0o444 == 0o444
    maps = [samis.load_run(each).predict(picture()) for each in (run, folder)]
    assert 0 < np.abs(maps[0] - maps[1]).max() < 0.05
    config = load_config(folder / "config.yaml")
    assert (config.experiment, config.data.root, config.training.workers) == ("mine", None, 0)
    card = (folder / "README.md").read_text()
    assert "0.1235" in card and "a lathe" in card and "Only on Mondays." in card and "0.375" in card
    assert "There is no score on a test split" in card
    training = load_run(folder).provenance
    row = {"kind": "tuned", "dataset": "d", "split": "test", "n_images": 7, "prompt": "empty", "mask_rule": "single"}
    for number, record in ((0.4321, training), (0.8765, {**training, "validation": {"s_measure": 0.5}})):
        ScoreRow(
            name=f"{number}", oracle=False, protocol="pysod", metrics={"s_measure": number},
            directions={"s_measure": 1}, provenance={"training": record}, **row
        ).save(tmp_path / f"rows/{number}.json")  # fmt: skip
    ship(folder, "mine", tmp_path / "tuned", rows=tmp_path / "rows")
    card = (folder / "README.md").read_text()
    assert "0.4321" in card and "0.8765" not in card and "a lathe" in card
    assert all(torch.equal(load_file(folder / WEIGHTS)[name], tensor) for name, tensor in after.items())
    assert len(rows_of_training(tmp_path / "rows", training)) == 1


def test_a_run_that_was_cut_takes_what_its_validation_says_and_a_threshold(tmp_path):
    run = made_run(tmp_path / "run")
    (run / "provenance.json").unlink()
    lines = [{"epoch": e, "best": e == 2, "metrics": {"s_measure": e / 10}} for e in (1, 2, 3)]
    (run / "validation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = load_run(ship(run, "cut", tmp_path / "tuned")).provenance
    assert (record["validation"], record["best_epoch"]) == ({"s_measure": 0.2}, 2)
    assert "last validated at epoch 3 of 30" in record["cut"]
    assert 0 < record["threshold"]["value"] < 1 and record["threshold"]["images"] > 0


class TestRefused:
    def test_an_adapter_of_other_weights(self, tmp_path):
        run = made_run(tmp_path / "run", weights="random")
        with pytest.raises(UserError, match="E-EXPORT-OTHER-BASE"):
            ship(run, "mine", tmp_path / "tuned")
        assert not (tmp_path / "tuned").exists()

    def test_one_that_is_too_large_leaves_nothing(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shipping, "LIMIT_MB", 0.001)
        with pytest.raises(UserError, match="E-EXPORT-TOO-LARGE"):
            ship(made_run(tmp_path / "run"), "mine", tmp_path / "tuned")
        assert list((tmp_path / "tuned").iterdir()) == []

    def test_a_name_with_a_path_in_it(self, tmp_path):
        with pytest.raises(UserError, match="E-EXPORT-NAME"):
            ship(tmp_path, "../mine", tmp_path)


def test_a_folder_in_the_working_folder_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_run("steel") == shipped_runs()["steel"]
    (tmp_path / "steel/best").mkdir(parents=True)
    (tmp_path / "steel/config.yaml").write_text("")
    assert find_run("steel") == Path("steel")


def test_other_weights_folders_keep_the_names(tmp_path, monkeypatch):
    monkeypatch.setenv("SAMIS_CHECKPOINTS", str(tmp_path))
    assert set(NAMES) <= set(shipped_runs())


@pytest.mark.parametrize("script", ["predict", "export", "score"])
def test_an_unknown_name_lists_the_known_ones_and_says_what_a_run_folder_is(script, monkeypatch, capsys, tmp_path):
    more = {"predict": ["photos", "--out", "o"], "export": ["--out", "o"], "score": []}[script]
    monkeypatch.setattr(sys, "argv", [script, "steeel", *more])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / f"evaluate/{script}.py"), run_name="__main__")
    assert ended.value.code == 2
    expected = capsys.readouterr().err
    assert (
        expected.startswith("error: steeel: expected a run folder, with config.yaml and best/")
        and expected.count("\n") == 1
    )
    assert "come with the project: rail, steel, tile" in expected


def test_the_same_from_python():
    with pytest.raises(UserError, match=r"rail, steel, tile.*E-TRAIN-NO-RUN"):
        samis.load_run("steeel")
    with pytest.raises(UserError, match=r"rail, steel, tile.*E-TRAIN-NO-RUN"):
        load_run("steeel")
