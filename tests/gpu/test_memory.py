"""Each memory preset makes a step within the memory that it needs."""

import gc

import pytest
import torch

from samis.config import Experiment, apply_overrides
from samis.data import load_dataset
from samis.factory import build_batch_maker, build_learner
from samis.training.memory import PRESETS, Preset

pytestmark = pytest.mark.gpu

CONTEXT_GB = 0.7
"""What CUDA itself and its libraries take in addition to torch's allocator: a margin, not measured here."""
ROUNDING = 1.1
"""Blocks are rounded up to 512 bytes, segments to 2 MB, and gaps stay between: what the allocator needs in addition to what it gave
out. Of the cache it frees what it can before it gives up, so the reserved memory says less about what fits."""


@pytest.mark.parametrize("step", PRESETS, ids=[f"{step.free_gb:g}GB" for step in PRESETS])
def test_a_preset_fits_the_memory_that_it_asks_for(device, small, note, step: Preset):
    if small and step is not PRESETS[-1]:
        pytest.skip("too large for a trial on a CPU")
    if device == "cuda" and torch.cuda.mem_get_info()[0] / 1e9 < step.free_gb:
        pytest.skip(f"needs {step.free_gb:g} GB of free memory on the GPU")
    before = emptied(device)
    extra = ["segmenter.weights=random", "data.augment=light"]
    config = apply_overrides(Experiment(), [*step.overrides, *extra])
    learner = build_learner(config).to(device).train()
    dataset = load_dataset("procedural", split="train", surface="steel", count=config.training.batch_size)
    batch = next(iter(build_batch_maker(config, training=True)(dataset))).to(device)
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    for _ in range(2):
        with torch.autocast(device, torch.bfloat16):
            loss = learner(batch).total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.isfinite()
    if device == "cuda":
        allocated, reserved = torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()
        own = (allocated - before[0]) / 1e9
        held = own * ROUNDING + CONTEXT_GB
        note(
            f"preset from {step.free_gb:g} GB ({step.about}): {held:.1f} GB, of which {own:.1f} allocated "
            f"({(reserved - before[1]) / 1e9:.1f} reserved); before the test {before[0] / 1e9:.1f} were held"
        )
        assert held <= (step.free_gb or PRESETS[-2].free_gb)


def emptied(device: str) -> tuple[int, int]:
    """Free what earlier tests left, begin to watch for the peaks, and return what is still allocated and reserved, in bytes."""
    gc.collect()
    if device != "cuda":
        return 0, 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
