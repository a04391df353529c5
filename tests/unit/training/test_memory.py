"""The memory presets: every preset is a config, and the error of a full memory names the setting to change."""

import pytest
import torch

from samis.config import Experiment, TrainingConfig, apply_overrides
from samis.errors import UserError
from samis.training.memory import PRESETS, advice, explain_out_of_memory, preset


def test_every_preset_is_a_config_and_they_go_down():
    assert len(PRESETS) > 3
    assert [step.free_gb for step in PRESETS] == sorted((step.free_gb for step in PRESETS), reverse=True)
    for step in PRESETS:
        apply_overrides(Experiment(), step.overrides)
        assert preset(step.free_gb) is step
    assert preset(1e4) is PRESETS[0] and preset(0) is PRESETS[-1]


def test_no_preset_asks_for_less_than_was_measured_of_it():
    for step in PRESETS:
        # The last is for a CPU too and needs no free memory; its peak is below what the one before needs.
        assert step.peak_gb <= (step.free_gb or PRESETS[-2].free_gb)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory"),
    ],
)
def test_names_the_knobs_that_are_left(error):
    config = apply_overrides(Experiment(), ["adapter.encoder=[q]", "training.batch_size=8"])
    with pytest.raises(UserError) as caught, explain_out_of_memory(config.training, config):
        raise error
    line = str(caught.value)
    assert "training.batch_size=4 training.accumulation=2, then segmenter.checkpoint_activations=true" in line
    assert "\n" not in line


def test_knobs_that_are_turned_already_are_not_named():
    lean = ["training.batch_size=1", "frame.frame_px=512", "adapter.encoder=[]"]
    config = apply_overrides(Experiment(), lean)
    assert advice(config.training, config) == ["a smaller segmenter.architecture, or a larger GPU"]


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="shape"), explain_out_of_memory(TrainingConfig()):
        raise RuntimeError("shape mismatch")
