"""What a run folder that holds something already does to the next run: go on, leave alone, or refuse in one line."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from samis.config import Experiment, OptimConfig, TrainingConfig, load_config
from samis.core.contracts import Batch, Evaluation, Loss
from samis.core.geometry import place
from samis.errors import UserError
from samis.training.state import checkpoint
from samis.training.state.step_plan import StepPlan, TrainerState, carried_over, changes
from samis.training.trainer import Selection, Trainer


class Point(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def forward(self, batch):
        return Loss(((self.weight - 1) ** 2).mean(), {})

    def parameter_groups(self):
        return [{"params": [self.weight], "lr_scale": 1.0, "decay": False}]

    def save(self, folder):
        folder.mkdir()
        save_file({"weight": self.weight.detach()}, folder / "model.safetensors")


class Two:
    def __len__(self):
        return 2

    def set_epoch(self, epoch, *, skip=0):
        self.skip = skip

    def __iter__(self):
        for index in range(self.skip, 2):
            yield Batch([f"image_{index}"], torch.zeros(1, 3, 4, 4), [place((4, 4), (0, 0, 4, 4), 16)])


def run(folder, config=None, **training):
    config = config or Experiment(experiment="point")
    config = replace(config, training=TrainingConfig(**{"epochs": 2, "gallery": 0, **training}))
    trainer = Trainer(
        Point(),
        Two(),
        lambda learner: Evaluation({"error": float((learner.weight.detach() - 1).abs().sum())}),
        selection=Selection("error", higher_is_better=False),
        optim=OptimConfig(lr=0.05),
        training=config.training,
        folder=folder,
        config=config,
    )
    trainer.fit()
    return trainer


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_finished_run_is_left_alone(tmp_path, capsys):
    assert not run(tmp_path).finished
    before = contents(tmp_path)
    assert len(before) > 4
    again = run(tmp_path)
    assert again.finished
    assert contents(tmp_path) == before
    assert "is finished (epoch 2, step 4; best error" in capsys.readouterr().out


def test_more_epochs_go_on(tmp_path, capsys):
    run(tmp_path)
    longer = run(tmp_path, epochs=3)
    assert longer.state.step == 6
    printed = capsys.readouterr().out
    assert "resuming" in printed
    assert "the learning-rate schedule spans 3 epochs, before 2" in printed
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 3]
    assert load_config(tmp_path / "config.yaml").training.epochs == 3


def test_an_early_stop_says_how_to_go_on(tmp_path, capsys):
    worse = iter([1.0, 2.0, 3.0])
    config = replace(Experiment(), training=TrainingConfig(epochs=9, patience=2, gallery=0))
    for _ in range(2):
        Trainer(
            Point(), Two(), lambda _: Evaluation({"error": next(worse)}), selection=Selection("error", higher_is_better=False),
            optim=OptimConfig(), training=config.training, folder=tmp_path, config=config,
        ).fit()  # fmt: skip
    assert "it stopped early: training.patience=0 trains on to epoch 9" in capsys.readouterr().out


def test_another_config_is_refused_and_the_folder_kept(tmp_path):
    run(tmp_path)
    before = contents(tmp_path)
    other = replace(Experiment(experiment="point"), seed=7, keep_best="mae")
    with pytest.raises(UserError, match="E-TRAIN-OTHER-CONFIG") as caught:
        run(tmp_path, other, epochs=5)
    assert "seed is 0 there and 7 here, keep_best is s_measure there and mae here" in str(caught.value)
    assert "training.epochs" not in str(caught.value)
    assert contents(tmp_path) == before


def test_a_config_may_change_before_the_first_resume_point(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    run(tmp_path)
    assert load_config(tmp_path / "config.yaml").seed == 0


def test_weights_without_a_resume_point_are_not_overwritten(tmp_path):
    (tmp_path / "best").mkdir()
    with pytest.raises(UserError, match="E-TRAIN-NO-RESUME"):
        run(tmp_path)


def test_a_damaged_resume_point_is_one_line(tmp_path):
    run(tmp_path)
    path = tmp_path / "resume" / "state.pt"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match=r"state\.pt: .*E-TRAIN-RESUME-DAMAGED") as caught:
        run(tmp_path, epochs=3)
    assert "\n" not in str(caught.value)


def test_an_older_resume_point_is_refused(tmp_path):
    run(tmp_path)
    torch.save({"model": {}}, tmp_path / "resume" / "state.pt")
    with pytest.raises(UserError, match=r"version 2, got an older one.*E-TRAIN-RESUME-VERSION"):
        run(tmp_path, epochs=3)


def test_random_states_come_back():
    torch.manual_seed(5)
    np.random.seed(6)  # noqa: NPY002
    state = checkpoint.random_state()
    drawn = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    checkpoint.set_random_state(state)
    again = torch.rand(3), np.random.rand(3)  # noqa: NPY002
    assert torch.equal(drawn[0], again[0])
    assert (drawn[1] == again[1]).all()


def test_staged_weights_count_only_with_their_epoch(tmp_path):
    def save(value):
        def write(folder):
            folder.mkdir()
            save_file({"weight": torch.tensor([value])}, folder / "model.safetensors")

        return write

    checkpoint.stage(tmp_path, "best", epoch=1, save=save(1.0))
    checkpoint.settle(tmp_path, epoch=1)
    checkpoint.stage(tmp_path, "best", epoch=2, save=save(2.0))
    checkpoint.settle(tmp_path, epoch=1)  # the resume point of epoch 2 was never written
    assert load_file(tmp_path / "best" / "model.safetensors")["weight"].item() == 1.0
    checkpoint.stage(tmp_path, "best", epoch=2, save=save(2.0))
    (tmp_path / "best" / "old.json").write_text("{}")
    checkpoint.settle(tmp_path, epoch=2)
    assert load_file(tmp_path / "best" / "model.safetensors")["weight"].item() == 2.0
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


@pytest.mark.parametrize(
    ("old", "new", "position", "batches", "step"),
    [
        # 12 images an epoch. Two processes of 2 have seen 8: one process of 3 has seen 6, and sees 2 of them again.
        (StepPlan(3, 2, 2, 1, 3), StepPlan(3, 1, 3, 1, 4), TrainerState(epoch=1, batches=2, step=5), 2, 6),
        # Half the batch, twice the accumulation: the same steps.
        (StepPlan(3, 1, 4, 1, 3), StepPlan(3, 1, 2, 2, 6), TrainerState(epoch=2, batches=1, step=7), 2, 7),
        # Accumulation of 4: 6 single images seen are one whole step of four.
        (StepPlan(3, 1, 1, 1, 12), StepPlan(3, 1, 1, 4, 12), TrainerState(epoch=0, batches=6, step=6), 4, 1),
        # An epoch that lacks only its validation stays so.
        (StepPlan(3, 2, 2, 1, 3), StepPlan(3, 1, 5, 1, 3), TrainerState(epoch=0, batches=3, step=3), 3, 3),
    ],
)
def test_a_position_is_carried_over(old, new, position, batches, step):
    carried = carried_over(position, old, new)
    assert (carried.epoch, carried.batches, carried.step) == (position.epoch, batches, step)
    assert changes(old, new)
    assert changes(old, old) == []
    assert carried_over(position, old, old) is position


def finish(folder, **training):
    """Train a run to its end and write its provenance, as the training job does."""
    trainer = run(folder, **training)
    if not trainer.finished:
        (folder / "provenance.json").write_text("{}")
    trainer.end()
    return trainer


def test_a_finished_run_without_its_resume_point_is_reported_and_not_changed(tmp_path, capsys):
    first = finish(tmp_path)
    assert not (tmp_path / "resume").exists()
    before = contents(tmp_path)
    again = finish(tmp_path)
    assert again.finished and contents(tmp_path) == before
    assert again.run.best() == first.run.best() and again.state.best_epoch == first.state.best_epoch
    printed = capsys.readouterr().out
    assert "is finished (epoch 2, step 4; best error" in printed and "training.keep_resume=true" in printed


def test_a_longer_run_without_its_resume_point_is_refused_and_nothing_lost(tmp_path):
    finish(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"training.epochs is 2 there and 3 here.*E-TRAIN-FINISHED"):
        finish(tmp_path, epochs=3)
    assert contents(tmp_path) == before


def test_a_kept_resume_point_trains_on(tmp_path):
    finish(tmp_path, keep_resume=True)
    assert (tmp_path / "resume" / "state.pt").exists()
    assert finish(tmp_path, epochs=3).state.step == 6


def test_a_run_that_was_cut_before_its_provenance_keeps_its_resume_point(tmp_path):
    run(tmp_path)
    assert (tmp_path / "resume" / "state.pt").exists()
    assert run(tmp_path).finished


def test_the_log_goes_on_in_a_resumed_run(tmp_path, capsys):
    run(tmp_path)
    run(tmp_path, epochs=3)
    log = (tmp_path / "log.txt").read_text()
    printed = capsys.readouterr().out
    lines = [line for line in log.splitlines() if not line.startswith("#")]
    assert lines and all(line in printed for line in lines)
    assert sum("validation after epoch" in line for line in lines) == 3 and "resuming" in log and "\r" not in log
