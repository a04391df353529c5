"""NaN, infinite, leaping and dead numbers: reported by name, skipped or stopped as configured, never kept as the best."""

import json
import math

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file

from samis.config import OptimConfig
from samis.core.contracts import Batch, Evaluation, Loss
from samis.core.geometry import place
from samis.errors import UserError
from samis.evaluation.evaluator import Evaluator
from samis.training.optim import lr_factor

OPTIM = OptimConfig(lr=0.05, clip_norm=0.0)


def poison(*places):
    return lambda epoch, index, batch: tiny.poisoned(batch) if (epoch, index) in places else batch


def kept(folder, name="best"):
    return load_file(folder / name / "model.safetensors")["weight"]


def test_a_nan_loss_stops_and_names_step_batch_and_images(tmp_path):
    with pytest.raises(
        UserError, match=r"step 8: .* nan on images point_1_4, point_1_5 \(batch 2 of epoch 1\).*E-TRAIN-NAN"
    ):
        tiny.train(tmp_path, spoil=poison((1, 2)), save_every_steps=1)
    state = torch.load(tmp_path / "resume" / "state.pt", weights_only=True)
    assert state["position"]["step"] == 8
    for weights in (kept(tmp_path), kept(tmp_path, "last"), state["model"]["weight"]):
        assert torch.isfinite(weights).all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_skipped_step_changes_nothing(tmp_path, value):
    """Against a loop of plain torch that leaves the bad batch out."""

    def spoil(epoch, index, batch):
        if (epoch, index) == (1, 2):
            batch.images[0, 1] = value
        return batch

    run = tiny.train(tmp_path, learner=tiny.Line(dropout=0.0), optim=OPTIM, spoil=spoil, on_nan="skip", epochs=2)
    line = tiny.Line(dropout=0.0)
    optimizer = torch.optim.AdamW(
        line.parameters(), lr=OPTIM.lr, betas=(0.9, OPTIM.beta2), weight_decay=OPTIM.weight_decay
    )
    points, step = tiny.Points(), 0
    for epoch in range(2):
        points.set_epoch(epoch)
        for index, batch in enumerate(points):
            rate = OPTIM.lr * lr_factor(step, 12, warmup_share=OPTIM.warmup_share, final_share=OPTIM.final_lr_share)
            step += 1
            if (epoch, index) == (1, 2):
                continue
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            line(batch).total.backward()
            optimizer.step()
    torch.testing.assert_close(run.learner.weight, line.weight, rtol=0, atol=1e-7)
    assert run.state.step == 12


def test_skipping_gives_up(tmp_path, capsys):
    bad = [(0, n) for n in (0, 2, 3, 4)]
    with pytest.raises(UserError, match=r"step 4: .* step 3 skipped in a row.*E-TRAIN-NAN"):
        tiny.train(tmp_path, spoil=poison(*bad), on_nan="skip", nan_limit=3)
    assert capsys.readouterr().out.count("; skipped") == 3


def test_a_gradient_that_is_no_number_is_caught_before_the_step(tmp_path):
    class Kink(tiny.Line):
        def forward(self, batch):
            loss = super().forward(batch)
            return Loss(loss.total + (0 * self.weight).sum().abs().sqrt(), {})  # finite, with a slope of 0 * inf

    learner = Kink()
    with pytest.raises(UserError, match="step 0: the gradient's norm is nan after images point_0_0, point_0_1"):
        tiny.train(tmp_path, learner=learner)
    assert torch.equal(learner.weight.detach(), torch.zeros(4))


def test_on_nan_takes_two_words(tmp_path):
    with pytest.raises(UserError, match=r"training\.on_nan: expected stop or skip, got 'ignore'"):
        tiny.train(tmp_path, on_nan="ignore")


def test_a_nan_validation_is_never_the_best(tmp_path):
    values = iter([math.nan, 2.0, math.nan, 3.0])
    tiny.train(tmp_path, validate=lambda _: Evaluation({"error": next(values)}), epochs=4, patience=0)
    records = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [record["best"] for record in records] == [False, True, False, False]


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return accumulator


def test_a_leaping_gradient_is_told(tmp_path, capsys):
    def spoil(epoch, index, batch):
        if (epoch, index) == (4, 3):
            batch.images[:, 1] = 1e4
        return batch

    tiny.train(tmp_path, spoil=spoil, epochs=5, patience=0)
    lines = [line for line in capsys.readouterr().out.splitlines() if "times the running median" in line]
    assert any(line.startswith("step 27: gradient norm") and "point_4_6, point_4_7" in line for line in lines), lines
    accumulator = events(tmp_path)
    spikes = {event.step: event.value for event in accumulator.Scalars("training/gradient_norm_spike")}
    assert spikes[27] > 100
    assert len(accumulator.Scalars("training/gradient_norm_ratio")) == 10  # from the 21st step on


@pytest.mark.parametrize("kind", ["nothing", "everything"])
def test_a_collapse_is_told_after_k_validations(tmp_path, capsys, kind):
    shares = iter([1.0, 0.2, 1.0, 0.97, 1.0])
    validate = lambda _: Evaluation({"error": 1.0}, **{kind: next(shares)})  # noqa: E731
    tiny.train(tmp_path, validate=validate, epochs=5, patience=0, collapse_after=3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING: collapsed")]
    assert len(lines) == 1
    words = {"nothing": "without any defect", "everything": "as defect everywhere"}
    assert f"predicted {words[kind]}, in 3 validations in a row" in lines[0]
    assert "warning/text_summary" in events(tmp_path).Tags()["tensors"]


def test_the_evaluator_sees_maps_that_say_nothing_or_everything():
    truth, clean = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    truth[1:3, 1:3] = True
    maps = {"empty": 0.4, "full": 0.6, "half": None, "clean": 0.0}

    class Given:
        def predict(self, batch):
            half = torch.from_numpy(truth).float()
            return [half if maps[i] is None else torch.full((4, 4), maps[i]) for i in batch.ids]

        def describe(self):
            return {}

    names = list(maps)
    placements = [place((4, 4), (0, 0, 4, 4), 16, sample=i) for i in range(4)]
    batch = Batch(
        names, torch.zeros(4, 3, 16, 16), placements, class_names=["a"] * 4, truths=[truth, truth, truth, clean]
    )
    evaluation = Evaluator([batch], names, names=["mae"])(Given())
    assert (evaluation.nothing, evaluation.everything) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
