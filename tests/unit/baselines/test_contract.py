"""The contract of every network in BASELINES: sizes, gradients, determinism, saving, half precision, processes, mistakes.

On a light backbone, since none of this depends on it; that each network runs on its own paper's is tested at the end and, by
learning, in test_overfit.py.
"""

import copy
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from samis.baselines import BASELINES, BaselineLearner, BaselineSegmenter, build_baseline, load_baseline
from samis.baselines.learner import main_logits
from samis.config import LossConfig
from samis.core.contracts import Learner, Segmenter
from samis.core.geometry import inside
from samis.errors import UserError

LIGHT = "resnet10t"
ROOT = Path(__file__).resolve().parents[3]


def test_all_fourteen_are_there():
    assert list(BASELINES)[-1] == "unet" and len(BASELINES) >= 14


@pytest.fixture(scope="module", params=list(BASELINES))
def built(request):
    """One network at a time: pytest runs all tests of one before it builds the next."""
    torch.manual_seed(0)
    return request.param, build_baseline(request.param, backbone=LIGHT)


@pytest.fixture
def name(built):
    return built[0]


@pytest.fixture
def network(built):
    """A copy of its own for each test, so that none sees what another did to it."""
    return copy.deepcopy(built[1])


def all_outputs(outputs):
    if isinstance(outputs, dict):
        return [tensor for value in outputs.values() for tensor in all_outputs(value)]
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def test_maps_have_the_files_sizes(name, network, draw_batch):
    segmenter = BaselineSegmenter(network, name=name)
    for given in (draw_batch(frame_px=96), draw_batch(tile_px=40)):  # three cells of the deepest feature, and two
        maps = segmenter.predict(given)
        assert [tuple(m.shape) for m in maps] == [(37, 53), (21, 90)]
        assert all(m.dtype == torch.float32 and m.min() >= 0 and m.max() <= 1 for m in maps)
    assert isinstance(segmenter, Segmenter)
    described = segmenter.describe()
    assert described["kind"] == "baseline" and described["prompt"] == "none" and described["oracle"] is False
    assert described["backbone"] == LIGHT and described["name"] == name


def test_the_answer_is_one_channel(network, draw_batch):
    """The side outputs are of the same views; the deepest feature of this frame is a single cell."""
    images = draw_batch(frame_px=32).images
    with torch.no_grad():
        outputs = network.eval()(images)
    logits = main_logits(outputs)
    assert logits.shape[:2] == (2, 1) and torch.isfinite(logits).all()
    assert all(len(output) == 2 and torch.isfinite(output).all() for output in all_outputs(outputs))


def test_gradients_reach_every_parameter(name, network, draw_batch):
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and not module.weight.any():
            torch.nn.init.ones_(module.weight)  # residual blocks that start as nothing hold back their own gradients
    learner = BaselineLearner(network, LossConfig(), name=name).train()
    loss = learner(draw_batch())
    loss.total.backward()
    assert isinstance(learner, Learner) and {"predicted_share", "truth_share"} <= set(loss.all_parts())
    assert all(value.ndim == 0 and not value.requires_grad for value in loss.all_parts().values())
    checked = 0
    for parameter_name, parameter in network.named_parameters():
        assert parameter.requires_grad and parameter.grad is not None and parameter.grad.any(), parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        checked += 1
    assert checked > 20
    held = [id(p) for group in learner.parameter_groups() for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in network.parameters())


def test_the_loss_is_per_view_and_never_sees_padding(name, network, draw_batch):
    learner = BaselineLearner(network, LossConfig(), name=name)
    given = draw_batch(frame_px=32)
    outside = ~inside(given.placements)
    assert outside.flatten(1).any(1).all()
    other = replace(given, masks=torch.where(outside, 1 - given.masks, given.masks))
    own = getattr(network, "loss", lambda outputs, batch, mask_loss: mask_loss(outputs, batch.masks, ~outside))
    with torch.no_grad():
        outputs = network.eval()(given.images)
        each, parts = own(outputs, given, learner.mask_loss)
        again, _ = own(outputs, other, learner.mask_loss)
    assert each.shape == (2,) and each.dtype == torch.float32 and torch.isfinite(each).all() and parts
    assert torch.equal(each, again)


def test_deterministic_and_independent_in_evaluation(name, network, draw_batch):
    segmenter = BaselineSegmenter(network.train(), name=name)
    given = draw_batch(frame_px=32)
    first, second = segmenter.predict(given), segmenter.predict(given)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert network.training  # the trainer's mode is restored
    alone = segmenter.predict(replace(given, ids=["a"], images=given.images[:1], placements=given.placements[:1]))
    assert torch.allclose(alone[0], first[0], atol=1e-5)


def test_save_load_equal(name, network, draw_batch, tmp_path, monkeypatch):
    learner = BaselineLearner(network, LossConfig(), name=name).train()
    given = draw_batch(frame_px=32)
    with torch.no_grad():
        learner(given)  # moves the norms' statistics
    learner.save(tmp_path)
    for draws in ("kaiming_uniform_", "kaiming_normal_"):  # what is loaded needs no random start, which takes seconds
        monkeypatch.setattr(torch.nn.init, draws, lambda tensor, *arguments, **options: tensor)
    loaded = load_baseline(tmp_path)
    expected = learner.segmenter().predict(given)
    assert all(torch.equal(a, b) for a, b in zip(loaded.predict(given), expected, strict=True))
    assert len(loaded.describe()["weights_sha256"]) == 64
    (tmp_path / "model.safetensors").unlink()  # pytest keeps the folders of three runs


def test_half_precision(network, draw_batch):
    images = draw_batch(frame_px=32).images
    network.eval()
    with torch.no_grad():
        whole = main_logits(network(images))
        with torch.autocast("cpu", torch.bfloat16):
            half = main_logits(network(images)).float()
    assert torch.isfinite(half).all()
    assert (half.sigmoid() - whole.sigmoid()).abs().mean() < 0.02


def test_a_side_that_the_strides_do_not_divide(network):
    """Either any side is accepted, or the error names sides that are."""
    try:
        with torch.no_grad():
            logits = main_logits(network.eval()(torch.zeros(1, 3, 71, 71)))
    except UserError as error:
        assert re.search(r"multiple of 32, got 71; use 64 or 96", str(error))
    else:
        assert logits.shape[:2] == (1, 1) and torch.isfinite(logits).all()


def two_processes(names, folder):
    """Run both ranks, gloo, without a launcher: each is one import of torch."""
    script = Path(__file__).with_name("two_processes.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    ranks = [
        subprocess.Popen(
            [sys.executable, script, str(rank), folder / "meet", *names],
            cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    for rank in ranks:
        output, _ = rank.communicate(timeout=1800)
        assert rank.returncode == 0, output[-3000:]
        assert [line.split()[0] for line in output.splitlines() if line.endswith(" equal")] == list(names)


def test_two_processes_equal_one(tmp_path):
    two_processes(["unet"], tmp_path)


@pytest.mark.slow
def test_two_processes_equal_one_for_all(tmp_path):
    two_processes(list(BASELINES), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", BASELINES)
def test_its_papers_backbone(name, draw_batch):
    torch.manual_seed(0)
    network = build_baseline(name)
    learner = BaselineLearner(network, LossConfig(), name=name).train()
    learner(draw_batch()).total.backward()
    missing = [key for key, parameter in network.named_parameters() if parameter.grad is None]
    assert network.encoder.backbone == BASELINES[name].backbone and not missing


def test_layout_in_memory_changes_no_answer(name, network, draw_batch):
    """The learner computes with the channels innermost; the plain layout is torch's own and gives the same numbers."""
    images = draw_batch(frame_px=64).images
    network.eval()
    with torch.no_grad():
        plain = main_logits(copy.deepcopy(network)(images))
    learner = BaselineLearner(network, LossConfig(), name=name)
    seen = []
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    answer = learner.segmenter().predict(draw_batch(frame_px=64))
    assert len(answer) == 2 and seen[0].is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        ours = main_logits(network(seen[0]))
    torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)
    weights = [p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 1 and p.shape[2] > 1]
    assert weights and all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
