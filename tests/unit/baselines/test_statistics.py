"""Batch norm's statistics after training: those of the training images under the final weights, kept where they validate better."""

import json

import pytest
import torch

from samis.baselines import BaselineLearner, build_baseline
from samis.config import Experiment, LossConfig, apply_overrides
from samis.core.contracts import Batch
from samis.data.configured import load_split
from samis.factory import build_batch_maker, build_learner
from samis.jobs.train import recompute_statistics

LIGHT = "resnet10t"


def seen_by(norm, network, images):
    """Return the feature that reaches a norm in training mode."""
    caught = []
    handle = norm.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0].detach().clone()))
    with torch.no_grad():
        network.train()(images)
    handle.remove()
    return caught[0].transpose(0, 1).flatten(1)


def test_statistics_are_those_of_the_batches(draw_batch):
    torch.manual_seed(0)
    learner = BaselineLearner(build_baseline("unet", backbone=LIGHT), LossConfig(), name="unet").eval()
    batches = [draw_batch(seed=0), draw_batch(seed=1)]
    norms = [module for module in learner.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    each = [[seen_by(norm, learner.network, batch.images) for batch in batches] for norm in (norms[0], norms[-1])]
    learner.eval()
    assert learner.recompute_statistics(iter(batches)) and not learner.training
    for norm, features in zip((norms[0], norms[-1]), each, strict=True):
        torch.testing.assert_close(norm.running_mean, sum(f.mean(1) for f in features) / 2, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, sum(f.var(1) for f in features) / 2, rtol=1e-4, atol=1e-5)
        assert norm.momentum is not None


def test_nothing_to_recompute(draw_batch):
    learner = BaselineLearner(build_baseline("unet", backbone=LIGHT), LossConfig(), name="unet")
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    alone = Batch(["a"], draw_batch().images[:1], draw_batch().placements[:1])
    assert not learner.recompute_statistics([alone]) and not learner.recompute_statistics([])
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.state_dict().items())


@pytest.mark.parametrize("spoilt", [True, False])
def test_what_validates_better_is_kept(spoilt, tmp_path):
    """Statistics of another network are replaced; those that a copy of the training images gave already are not beaten."""
    config = apply_overrides(
        Experiment(),
        [
            "data.name=procedural", "data.options={count: 4}", "frame.frame_px=64", "segmenter.name=unet",
            f"segmenter.backbone={LIGHT}", "keep_best=mae", "metrics.names=[mae]",
        ],
    )  # fmt: skip
    learner, data = build_learner(config), load_split(config.data, "train")
    for module in learner.modules():
        if spoilt and isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean += 5.0
    if not spoilt:
        learner.recompute_statistics(build_batch_maker(config, training=True)(data))
    learner.save(tmp_path / "best")
    written = (tmp_path / "best" / "model.safetensors").read_bytes()
    result = recompute_statistics(config, learner, data, data, folder=tmp_path / "best")["batch_norm"]
    better = result["validation_after"]["mae"] < result["validation_before"]["mae"]
    assert result["recomputed"] is better and json.dumps(result)
    assert ((tmp_path / "best" / "model.safetensors").read_bytes() != written) is better
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best"]
    if not spoilt:
        assert not better


def test_a_learner_without_statistics_is_left_alone(tmp_path):
    assert recompute_statistics(Experiment(), torch.nn.Linear(1, 1), None, None, folder=tmp_path) == {}
