"""Cost of a segmenter: counted by hand, per image as predicted, timed without the warm-up."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from samis.baselines.complexity import count
from samis.baselines.learner import BaselineSegmenter
from samis.config import Experiment, apply_overrides
from samis.data import load_dataset
from samis.evaluation import cost
from samis.factory import build_batch_maker, build_learner, build_segmenter
from samis.tta import FlippedSegmenter

OPTIONS = {"surface": "steel", "count": 3}


class Tiny(nn.Module):
    """One 3 x 3 convolution to 4 channels, one 1 x 1 to the answer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1)

    def forward(self, images):
        return self.two(self.one(images))


PARAMETERS = (3 * 9 * 4 + 4) + (4 + 1)
ADDS_A_PIXEL = 3 * 9 * 4 + 4


def batches(*overrides):
    config = apply_overrides(Experiment(), ["data.name=procedural", "frame.frame_px=64", *overrides])
    dataset = load_dataset("procedural", split="test", **OPTIONS)
    return config, list(build_batch_maker(config)(dataset, batch_size=1))


def test_a_convolution_by_hand():
    _, single = batches()
    measured = cost.measure(BaselineSegmenter(Tiny(), name="tiny"), single, device="cpu")
    assert measured["parameters"] == PARAMETERS and measured["multiply_adds"] == ADDS_A_PIXEL * 64 * 64
    assert measured["views"] == 1 and measured["frame_px"] == 64 and measured["timed_images"] == 3
    assert 0 < measured["p50_ms"] <= measured["p95_ms"] and "thread" in measured["device"]


def test_tiles_and_mirrored_copies_count():
    _, single = batches("frame.tile_px=100")
    views = [len(batch.placements) for batch in single]
    assert min(views) > 1
    segmenter = BaselineSegmenter(Tiny(), name="tiny")
    plain = cost.measure(segmenter, single, device="cpu", latency=False)
    assert plain["multiply_adds"] == ADDS_A_PIXEL * 64 * 64 * sum(views) / len(views) and "p50_ms" not in plain
    flipped = cost.measure(FlippedSegmenter(segmenter), single, device="cpu", latency=False)
    assert flipped["multiply_adds"] == 4 * plain["multiply_adds"] and flipped["parameters"] == PARAMETERS


def test_a_baseline_is_what_the_page_of_baselines_says():
    config, single = batches("segmenter.name=unet", "frame.frame_px=256")
    measured = cost.measure(build_learner(config).segmenter(), single[:1], device="cpu", latency=False)
    assert (measured["parameters"], measured["multiply_adds"]) == tuple(count("unet", side=256))


def test_attention_counts_alike_whatever_the_kernel():
    """Two products of (N, d) and (N, N) a head; kernels that the counter does not know would leave them out."""

    class Attends(nn.Module):
        def forward(self, images):
            rows = images.mean(1, keepdim=True)  # (1, 1, 64, 64): 64 tokens of width 64
            return nn.functional.scaled_dot_product_attention(rows, rows, rows)

    segmenter = BaselineSegmenter(nn.ModuleDict({"a": Attends(), "weight": nn.Linear(1, 1)}), name="attends")
    segmenter.network.forward = segmenter.network["a"].forward
    _, single = batches()
    measured = cost.measure(segmenter, single[:1], device="cpu", latency=False)
    assert measured["multiply_adds"] == 2 * 64 * 64 * 64


def test_counting_leaves_the_choice_of_kernels_as_it_was():
    """cuDNN's attention is switched off for the process, since its gradient can be NaN; counting must not switch it on again."""
    before = torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cuda.flash_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    _, single = batches()
    cost.measure(BaselineSegmenter(Tiny(), name="tiny"), single[:1], device="cpu", latency=False)
    assert not torch.backends.cuda.cudnn_sdp_enabled() and torch.backends.cuda.flash_sdp_enabled() == before[1]
    torch.backends.cuda.enable_cudnn_sdp(before[0])


def test_a_module_that_an_adapter_replaces_is_not_counted_twice():
    base = build_learner(apply_overrides(Experiment(), ["segmenter.weights=random", "adapter.name=none"]))
    whole = [
        "segmenter.weights=random",
        "adapter.encoder=[q]",
        "adapter.decoder=[full]",
    ]  # peft keeps the copied decoder
    adapted = build_learner(apply_overrides(Experiment(), whole)).segmenter()
    added = sum(p.numel() for name, p in adapted.sam.named_parameters() if "lora_" in name)
    assert cost.count_parameters(adapted) == cost.count_parameters(base.segmenter()) + added > 5_000_000


def test_sam_costs_more_with_an_adapter_and_for_each_prompt():
    keys = ["segmenter.weights=random", "segmenter.mask_rule=single"]
    config, single = batches(*keys)
    plain = cost.measure(build_segmenter(config), single[:1], device="cpu", latency=False)
    adapted = build_learner(apply_overrides(config, ["adapter.encoder=[q,v]", "adapter.decoder=[attention]"]))
    tuned = cost.measure(adapted.segmenter(), single[:1], device="cpu", latency=False)
    assert tuned["parameters"] > plain["parameters"] and tuned["multiply_adds"] > plain["multiply_adds"] > 1e8
    config, single = batches(*keys, "prompt.kind=grid", "prompt.points_per_side=4", "segmenter.mask_rule=top_iou")
    grid = cost.measure(build_segmenter(config), single[:1], device="cpu", latency=False)
    assert grid["parameters"] == plain["parameters"] and grid["multiply_adds"] > 1.2 * plain["multiply_adds"]


def test_warm_up_is_not_timed_and_a_slow_one_ends_early(monkeypatch):
    _, single = batches()
    clock = iter(range(1000))  # a second between two looks at the clock
    monkeypatch.setattr(cost.time, "perf_counter", lambda: float(next(clock)))
    calls = []

    class Slow(BaselineSegmenter):
        def predict(self, batch):
            calls.append(batch.ids)
            return super().predict(batch)

    measured = cost.measure(Slow(Tiny(), name="tiny"), single * 9, device="cpu")
    assert (
        measured["p50_ms"] == measured["p95_ms"] == 1000 and measured["timed_images"] == 11
    )  # 11 s are past cost.SECONDS
    assert len(calls) == 1 + cost.WARM_UPS + 11 and torch.is_grad_enabled()


def test_an_empty_set_costs_nothing():
    assert cost.measure(BaselineSegmenter(Tiny(), name="tiny"), [], device="cpu") == {}


def test_json_holds_it():
    _, single = batches()
    measured = cost.measure(BaselineSegmenter(Tiny(), name="tiny"), single, device="cpu")
    assert json.loads(json.dumps(measured)) == pytest.approx(measured)
