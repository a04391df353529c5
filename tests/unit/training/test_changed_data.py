"""A run that is resumed on other images or masks: refused in one line, or recorded as both, with the best epoch selected again."""

import numpy as np
import pytest
import test_trainer
import torch
from PIL import Image

from samis.config import Experiment, load_config
from samis.core.contracts import Evaluation
from samis.data.own.folder import load_folder
from samis.errors import UserError
from samis.jobs.train import train

BEFORE = {"data.train": "a" * 64, "data.val": "b" * 64}
"""Fingerprints of a run's first data."""


class Cut(Exception):
    """Ends a run as a kill would."""


def run(folder, data, *, errors=(3.0, 2.0, 1.0, 0.5), cut_after=None, **training):
    """Train the small line; its validations bring `errors` in turn, and an exception after `cut_after` of them."""
    values, made = iter(errors), []

    def validate(_):
        if len(made) == cut_after:
            raise Cut
        made.append(1)
        return Evaluation({"error": next(values)})

    trained = test_trainer.trainer(folder, validate=validate, data=data, save_every_min=0.0, **training)
    if cut_after is None:
        trained.fit()
    else:
        with pytest.raises(Cut):
            trained.fit()
    return trained


@pytest.mark.parametrize("split", ["data.train", "data.val"])
def test_other_data_is_refused_in_one_line_and_nothing_is_changed(tmp_path, split):
    run(tmp_path, BEFORE, cut_after=2)
    state = (tmp_path / "resume/state.pt").read_bytes()
    with pytest.raises(UserError) as caught:
        run(tmp_path, BEFORE | {split: "c" * 64})
    assert f"fingerprint of {split} {BEFORE[split][:12]} there and {'c' * 12} here" in str(caught.value)
    assert "E-TRAIN-OTHER-DATA" in str(caught.value) and "\n" not in str(caught.value)
    assert (tmp_path / "resume/state.pt").read_bytes() == state


def test_equal_data_goes_on_without_a_word(tmp_path, capsys):
    run(tmp_path, BEFORE, cut_after=2)
    again = run(tmp_path, dict(BEFORE), errors=(5.0, 5.0))
    assert again.record()["data_fingerprints"] == [BEFORE]
    assert again.state.best == 2.0 and "fingerprint" not in capsys.readouterr().out


def test_accepted_validation_images_choose_the_best_anew(tmp_path, capsys):
    """The first data's best (2.0) is no bar for the second's (5.0 and 4.0)."""
    run(tmp_path, BEFORE, cut_after=2)
    after = BEFORE | {"data.val": "c" * 64}
    again = run(tmp_path, after, errors=(5.0, 4.0), allow_changed_data=True)
    assert again.state.best == 4.0 and again.run.best() == {"error": 4.0}
    assert again.record()["data_fingerprints"] == [BEFORE, after]
    assert "the data has changed (fingerprint of data.val" in capsys.readouterr().out
    held = torch.load(tmp_path / "resume/state.pt", weights_only=True)["data"]
    assert held == [BEFORE, after], "a second resume must know both"


def test_accepted_training_images_leave_the_best(tmp_path):
    run(tmp_path, BEFORE, cut_after=2)
    again = run(tmp_path, BEFORE | {"data.train": "c" * 64}, errors=(5.0, 4.0), allow_changed_data=True)
    assert again.state.best == 2.0 and len(again.record()["data_fingerprints"]) == 2


def test_a_resume_point_of_before_says_so_and_goes_on(tmp_path, capsys):
    run(tmp_path, None, cut_after=2)
    again = run(tmp_path, BEFORE, errors=(5.0, 5.0))
    assert "holds no fingerprints of the data" in capsys.readouterr().out
    assert again.record()["data_fingerprints"] == [BEFORE] and again.state.epoch == 4


def photos(folder):
    rng = np.random.default_rng(0)
    for number in range(8):
        values = rng.integers(60, 200, (64, 64, 3)).astype(np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        mask[10:30, 20 : 40 + number] = 255
        for kind, picture in (("images", values), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / kind / f"p{number}.png")


def config(folder, *more):
    return load_config(
        "configs/own.yaml",
        [
            f"data.root={folder / 'photos'}", f"training.out={folder / 'run'}", "training.epochs=1", "training.gallery=0",
            "segmenter.weights=random", "frame.frame_px=64", "adapter.rank=2", "metrics.names=[mae, s_measure]",
            "training.batch_size=4", "data.augment=none", "cache.embeddings=never",
            "training.keep_resume=true", *more,
        ],
        schema=Experiment,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["images", "masks"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_replaced_picture_of_each_kind_and_split_is_noticed(tmp_path, kind, split):
    """Through ``samis.jobs.train.train`` and real files; the folder's own split says which picture to replace."""
    photos(tmp_path / "photos")
    train(config(tmp_path))
    key = load_folder(root=tmp_path / "photos", split=split).ids[0]
    path = tmp_path / "photos" / kind / f"{key}.png"
    values = np.asarray(Image.open(path)).copy()
    values[:4, :4] = 255
    Image.fromarray(values).save(path)
    with pytest.raises(UserError, match=rf"fingerprint of data.{split} \w+ there and \w+ here\).*E-TRAIN-OTHER-DATA"):
        train(config(tmp_path, "training.epochs=2"))
