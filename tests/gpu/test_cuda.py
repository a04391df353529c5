"""One short run of the main job on a CUDA device in bfloat16: make gpu machines prove the path that CI cannot."""

import pytest
import torch

from samis.build import load_run, train
from samis.config import Experiment, apply_overrides

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def test_tunes_and_reloads_on_cuda(tmp_path):
    config = apply_overrides(
        Experiment(),
        [
            "data.name=procedural", "data.options={surface: steel, count: 16}", "data.augment=light", "training.epochs=3",
            "adapter.encoder=[qkv, mlp]", "adapter.decoder=[full]", "training.mixed_precision=bf16",
            "metrics.names=[s_measure]", f"training.out={tmp_path / 'run'}",
        ],
    )  # fmt: skip
    run = load_run(train(config))
    assert (run.folder / "best").is_dir()
    assert next(run.segmenter.sam.parameters()).device.type == "cuda"
