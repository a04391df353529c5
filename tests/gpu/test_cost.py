"""What an image costs on the GPU: counted as on a CPU, timed with the device waited for, named as the driver names it."""

import pytest
import torch

from samis.config import Experiment, apply_overrides
from samis.data import load_dataset
from samis.evaluation import cost
from samis.factory import build_batch_maker, build_segmenter

pytestmark = pytest.mark.gpu


def test_counts_are_those_of_a_cpu_and_the_device_is_named(device, note):
    keys = ["data.name=procedural", "segmenter.weights=random", "segmenter.mask_rule=single"]
    config = apply_overrides(Experiment(), keys)
    dataset = load_dataset("procedural", split="test", surface="steel", count=4)
    single = list(build_batch_maker(config)(dataset, batch_size=1))
    segmenter = build_segmenter(config)
    row = cost.measure(segmenter, single, device=device)
    segmenter.sam.cpu()
    on_cpu = cost.measure(segmenter, single, device="cpu", latency=False)
    assert {key: row[key] for key in on_cpu} == on_cpu
    assert row["timed_images"] == 4 and 0 < row["p50_ms"] <= row["p95_ms"]
    if device == "cuda":
        assert row["device"] == torch.cuda.get_device_name()
    note(
        f"samis_lite, empty prompt, 256 px, one image: {row['p50_ms']:.1f} ms (p95 {row['p95_ms']:.1f}) on {row['device']}"
    )
