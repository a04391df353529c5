"""Each preset of the memory ladder makes a step within the memory that it asks for."""

import pytest
import torch

from samis.build import build_batches, build_learner
from samis.config import Experiment, apply_overrides
from samis.data import load_dataset
from samis.training.memory import LADDER, Preset

pytestmark = pytest.mark.gpu

CONTEXT_GB = 0.7
"""What CUDA itself and its libraries take beside torch's allocator."""


@pytest.mark.parametrize("step", LADDER, ids=[f"{step.free_gb:g}GB" for step in LADDER])
def test_a_preset_fits_the_memory_that_it_asks_for(device, small, note, step: Preset):
    if small and step is not LADDER[-1]:
        pytest.skip("too large for a trial on a CPU")
    if device == "cuda" and torch.cuda.mem_get_info()[0] / 1e9 < step.free_gb:
        pytest.skip(f"needs {step.free_gb:g} GB of free memory on the GPU")
    extra = ["segmenter.weights=random", "data.augment=light"]
    config = apply_overrides(Experiment(), [*step.overrides, *extra])
    learner = build_learner(config).to(device).train()
    dataset = load_dataset("procedural", split="train", surface="steel", count=config.training.batch_size)
    batch = next(iter(build_batches(config, dataset, training=True))).to(device)
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(2):
        with torch.autocast(device, torch.bfloat16):
            loss = learner(batch).total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.isfinite()
    if device == "cuda":
        held = torch.cuda.max_memory_reserved() / 1e9 + CONTEXT_GB
        note(f"preset from {step.free_gb:g} GB ({step.about}): {held:.1f} GB")
        assert held <= (step.free_gb or LADDER[-2].free_gb)
