"""``training.minutes``: a run by the clock ends with a finished schedule and a validation, and a cut one goes on."""

import json
import math

import pytest
import test_trainer
from safetensors.torch import load_file

from samis.config import OptimConfig, apply_overrides
from samis.core.contracts import Evaluation
from samis.errors import UserError
from samis.training.time_limit import TimeLimit

SECONDS, STEP = 2.0, 0.005


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the steps move, so that the machine's pace decides nothing."""
    now = [0.0]
    monkeypatch.setattr(TimeLimit, "now", staticmethod(lambda: now[0]))
    return now


def run(folder, clock, **training):
    rates = []
    learner = test_trainer.Line()
    made = test_trainer.trainer(
        folder, learner=learner, epochs=100_000, optim=OptimConfig(lr=1.0, warmup_share=0.1, final_lr_share=0.01),
        **{"minutes": SECONDS / 60, "validate_every": 100, "log_every": 10, **training},
    )  # fmt: skip

    def moved(*_):
        rates.append(made.optimizer.param_groups[0]["lr"])
        clock[0] += STEP

    learner.register_forward_pre_hook(moved)
    made.fit()
    return made, rates


def test_ends_in_time_with_schedule_validation_and_best(tmp_path, clock):
    made, rates = run(tmp_path, clock)
    assert made.state.step == pytest.approx(0.9 * SECONDS / STEP, abs=1), "a tenth is kept for the validation"
    assert rates.index(max(rates)) == pytest.approx(0.1 * len(rates), abs=2), "the warm-up takes its share of the time"
    assert rates[-1] == pytest.approx(0.01, abs=0.002), "the schedule is laid over the time, not over the epochs"
    records = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert records[-1]["step"] == made.state.step, "the last weights are validated"
    assert load_file(tmp_path / "best" / "model.safetensors")
    assert made.record()["minutes"] == SECONDS / 60


def test_ends_in_the_middle_of_an_epoch_before_the_last(tmp_path, clock):
    """Ten steps fit into the time; an epoch has six, and the run five of them."""
    learner = test_trainer.Line()

    def moved(*_):
        clock[0] += STEP

    learner.register_forward_pre_hook(moved)
    made = test_trainer.trainer(tmp_path, learner=learner, epochs=5, minutes=10 * STEP / 0.9 / 60)
    made.fit()
    assert made.state.step == pytest.approx(10, abs=1)


def test_a_finished_run_is_left_alone_and_more_time_trains_on(tmp_path, clock, capsys):
    first, _ = run(tmp_path, clock, minutes=0.5 / 60)
    again, _ = run(tmp_path, clock, minutes=0.5 / 60)
    assert again.finished and again.state.step == first.state.step
    assert "minutes are over: training.minutes=" in capsys.readouterr().out
    longer, rates = run(tmp_path, clock, minutes=1.0 / 60)
    assert first.state.step == pytest.approx(90, abs=1)
    assert longer.state.step == first.state.step + len(rates)
    assert len(rates) == pytest.approx((0.9 * 1.0 - 0.45) / STEP, abs=20), "only what was left of the time was used"


def test_a_cut_run_goes_on_with_what_is_left(monkeypatch):
    now = iter([0.0, 100.0, 130.0, 500.0, 510.0])  # built, started, read; built and started again
    monkeypatch.setattr(TimeLimit, "now", staticmethod(lambda: next(now)))
    first = TimeLimit(1.0)
    first.start()
    state = first.state()
    assert state == {"used_s": 30.0, "reserve_s": 6.0}
    second = TimeLimit(1.0)
    second.restore(state)
    assert (second.used_s, second.left_s, second.progress) == (30.0, 24.0, pytest.approx(30 / 54))


def test_the_last_validation_has_its_time():
    limit = TimeLimit(1.0)
    limit.update(53_900, limit.clock()[1])
    assert not limit.over, "a tenth is kept while nothing was measured"
    limit.reserve(10.0)
    limit.update(40_000, limit.clock()[1])
    assert limit.over, "a validation, and the search of the threshold after it, take 20 s"
    assert not TimeLimit(None).over


def test_epochs_may_end_it_first(tmp_path):
    made = test_trainer.trainer(tmp_path, epochs=2, minutes=60.0, validate=lambda _: Evaluation({"error": 1.0}))
    made.fit()
    assert made.state.epoch == 2


@pytest.mark.parametrize("minutes", [0.0, -3.0, math.nan, math.inf])
def test_other_times_are_refused(tmp_path, minutes):
    with pytest.raises(UserError, match=r"training\.minutes.*E-TRAIN-RANGE"):
        test_trainer.trainer(tmp_path, minutes=minutes)


def test_the_key_is_optional():
    from samis.config import Experiment

    assert apply_overrides(Experiment(), ["training.minutes=12"]).training.minutes == 12.0
    assert apply_overrides(Experiment(), ["training.minutes=null"]).training.minutes is None
