"""The loop on a learner of four numbers: schedule, accumulation, selection, early stop, exact resume, faults."""

import json
import math
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from samis.config import OptimConfig, TrainingConfig
from samis.core.contracts import Batch, Evaluation, Learner, Loss
from samis.core.geometry import place
from samis.errors import ConfigError, NotFiniteError, UserError
from samis.training.optim import build_optimizer, lr_factor
from samis.training.tracking import flattened
from samis.training.trainer import Selection, Trainer


class Line(torch.nn.Module):
    """Fits y = w . x by least squares, with dropout so that random state matters."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, batch):
        x = torch.nn.functional.dropout(batch.images[:, 0, 0], 0.2, self.training)
        error = ((x @ self.weight - batch.images[:, 1, 0, 0]) ** 2).mean()
        return Loss(error, {"error": error.detach()})

    def segmenter(self):
        raise AssertionError("the loop never calls it by itself")

    def parameter_groups(self):
        return [{"params": [self.weight, self.frozen], "lr_scale": 1.0, "decay": True}]

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": self.weight.detach()}, folder / "model.safetensors")

    def load(self, folder):
        self.load_state_dict(load_file(folder / "model.safetensors"), strict=False)


class Batches:
    def __init__(self, count=6, poison=None):
        self.count, self.poison, self.epoch, self.skip = count, poison, 0, 0

    def __len__(self):
        return self.count

    def set_epoch(self, epoch, *, skip=0):
        self.epoch, self.skip = epoch, skip

    def __iter__(self):
        for index in range(self.skip, self.count):
            images = torch.randn(3, 2, 1, 4, generator=torch.Generator().manual_seed(100 * self.epoch + index))
            images[:, 1] = (images[:, 0] * torch.tensor([1.0, -2.0, 3.0, 0.5])).sum(-1, keepdim=True)
            if self.poison == (self.epoch, index):
                images[0] = math.nan
            yield Batch([f"image_{self.epoch}_{index}"], images, [place((4, 4), (0, 0, 4, 4), 16)])


def trainer(folder, *, learner=None, loader=None, validate=None, optim=None, data=None, **training):
    torch.manual_seed(3)
    learner = learner or Line()
    return Trainer(
        learner,
        loader or Batches(),
        validate or (lambda trained: Evaluation({"error": float((trained.weight - 1).abs().sum())})),
        selection=Selection("error", higher_is_better=False),
        optim=optim or OptimConfig(lr=0.05),
        training=TrainingConfig(**{"epochs": 4, **training}),
        folder=folder,
        data=data,
    )


def test_a_learner_is_a_learner():
    assert isinstance(Line(), Learner)


def test_learns_and_keeps_the_best(tmp_path):
    values = iter([3.0, 1.0, 2.0, math.nan])
    run = trainer(tmp_path, validate=lambda _: Evaluation({"error": next(values)}))
    best = run.fit()
    assert best.metrics == {"error": 1.0}
    lines = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [line["best"] for line in lines] == [True, True, False, False]
    kept = load_file(tmp_path / "best" / "model.safetensors")["weight"]
    last = load_file(tmp_path / "last" / "model.safetensors")["weight"]
    assert not torch.equal(kept, last)
    assert torch.equal(last, run.learner.weight.detach())
    assert run.learner.frozen.item() == 1.0, "weight decay must not move frozen weights"


def test_early_stop(tmp_path):
    run = trainer(tmp_path, validate=lambda _: Evaluation({"error": 1.0}), epochs=10, patience=2)
    run.fit()
    assert run.state.epoch == 3


@pytest.mark.parametrize("stop_after", [1, 3])
def test_resume_equals_an_uninterrupted_run(tmp_path, stop_after):
    whole = trainer(tmp_path / "whole", accumulation=2)
    whole.fit()

    class Cut(Exception):
        pass

    seen = []

    def cut(_):
        seen.append(1)
        if len(seen) == stop_after:
            raise Cut
        return Evaluation({"error": float(len(seen))})

    first = trainer(tmp_path / "cut", validate=cut, accumulation=2, save_every_min=0.0)
    with pytest.raises(Cut):
        first.fit()
    second = trainer(tmp_path / "cut", accumulation=2)
    second.fit()
    assert torch.equal(second.learner.weight, whole.learner.weight)
    assert second.state.step == whole.state.step == 12


def test_resume_inside_an_epoch(tmp_path):
    """A cut between two steps loses nothing that the last resume point holds, dropout's random state included."""
    whole = trainer(tmp_path / "whole")
    whole.fit()

    class CutBatches(Batches):
        def __iter__(self):
            for index, batch in enumerate(super().__iter__()):
                if self.epoch == 1 and index == 4:
                    raise KeyboardInterrupt
                yield batch

    first = trainer(tmp_path / "cut", loader=CutBatches(), save_every_min=0.0)
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    second = trainer(tmp_path / "cut")
    second.fit()
    assert torch.equal(second.learner.weight, whole.learner.weight)


def test_accumulation_equals_a_larger_batch(tmp_path):
    class Plain(Line):
        def forward(self, batch):
            error = ((batch.images[:, 0, 0] @ self.weight - batch.images[:, 1, 0, 0]) ** 2).mean()
            return Loss(error, {})

    class Pairs(Batches):
        def __iter__(self):
            singles = list(super().__iter__())
            for one, two in zip(singles[::2], singles[1::2], strict=True):
                yield Batch(one.ids + two.ids, torch.cat([one.images, two.images]), one.placements)

        def __len__(self):
            return self.count // 2

    small = trainer(tmp_path / "small", learner=Plain(), accumulation=2)
    small.fit()
    large = trainer(tmp_path / "large", learner=Plain(), loader=Pairs())
    large.fit()
    torch.testing.assert_close(small.learner.weight, large.learner.weight)


def test_nan_names_step_and_images(tmp_path):
    run = trainer(tmp_path, loader=Batches(poison=(1, 2)))
    with pytest.raises(UserError, match=r"step 8: .*nan on images image_1_2.*E-TRAIN-NAN"):
        run.fit()
    assert math.isfinite(float(load_file(tmp_path / "best" / "model.safetensors")["weight"].sum()))


def test_the_run_folder_records_each_precision(tmp_path, monkeypatch):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    first = trainer(tmp_path, epochs=1, mixed_precision="bf16")
    first.fit()
    assert first.record()["mixed_precision"] == "bf16"
    second = trainer(tmp_path, epochs=2, mixed_precision="no")
    second.fit()
    assert second.record()["mixed_precision"] == "bf16 then no"
    assert "it computes in mixed_precision no, before in bf16" in second.run.resumed
    state = torch.load(tmp_path / "resume" / "state.pt", weights_only=True)
    assert (state["precisions"], state["plan"]["precision"]) == (["bf16", "no"], "no")


def test_unknown_selection_is_refused(tmp_path):
    run = trainer(tmp_path, validate=lambda _: Evaluation({"mae": 0.1}))
    with pytest.raises(UserError, match=r"\(mae\), got error.*E-TRAIN-METRIC"):
        run.fit()


def test_another_config_cannot_resume(tmp_path):
    trainer(tmp_path).fit()

    class Wider(Line):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(5))

    with pytest.raises(UserError, match="E-TRAIN-RESUME-MODEL"):
        trainer(tmp_path, learner=Wider(), epochs=9).fit()


def test_rate_is_a_function_of_the_step():
    factors = [lr_factor(step, 100, warmup_share=0.1, final_share=0.05) for step in range(100)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] == pytest.approx(0.05)
    assert factors[55] == pytest.approx(0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * 45 / 89)))


def test_groups_get_their_rate_and_decay():
    one, two = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [one], "lr_scale": 0.1, "decay": True}, {"params": [two], "lr_scale": 1.0, "decay": False}]
    optimizer = build_optimizer(groups, OptimConfig(lr=0.01, weight_decay=0.3))
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.001, 0.3), (0.01, 0.0)]
    with pytest.raises(ConfigError, match="E-TRAIN-FROZEN"):
        build_optimizer([{"params": [one.requires_grad_(False)], "lr_scale": 1.0, "decay": True}], OptimConfig())


def test_tensorboard_holds_what_the_run_did(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    validate = lambda _: Evaluation({"error": 0.5}, curves={"precision": [0.1] * 256, "recall": [0.2] * 256})  # noqa: E731
    trainer(tmp_path, validate=validate, log_every=2).fit()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"training/loss", "training/lr", "training/images_per_s", "validation/error"} <= set(tags["scalars"])
    assert "validation/pr" in tags["tensors"]
    assert [event.step for event in events.Scalars("validation/error")] == [6, 12, 18, 24]


def test_a_line_of_the_training_log_has_six_labelled_figures(tmp_path):
    trainer(tmp_path, log_every=6, epochs=1).fit()
    lines = [line for line in (tmp_path / "log.txt").read_text().splitlines() if line.startswith("step ")]
    assert lines and all(
        re.findall(r"([a-z][a-z ]*?) (?:\d|nan|inf|\?)", line)
        == ["step", "loss", "lr", "gradient norm", "data wait", "left"]
        for line in lines
    ), lines


def test_flattened():
    assert flattened({"a": {"b": None, "c": [1, 2]}, "d": 3}) == {"a.b": "null", "a.c": "1,2", "d": 3}


def test_a_map_of_the_validation_that_is_not_finite_is_the_learning_rates_doing(tmp_path):
    def validate(learner):
        raise NotFiniteError("a.png: expected a map of finite numbers, got NaN or infinity; check the weights")

    with pytest.raises(UserError, match=r"step \d+: a.png: .* optim.lr \(0.05\).*E-TRAIN-VALIDATION-NAN") as caught:
        trainer(tmp_path / "run", validate=validate, optim=OptimConfig(lr=0.05), epochs=1).fit()
    assert "check the weights" not in str(caught.value)
