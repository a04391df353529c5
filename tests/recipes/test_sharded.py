"""The shipped FSDP file on two gloo ranks: trained, saved, resumed, read back and merged as one process would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "configs/adapt/steel_lora.yaml", "data.name=procedural", "data.options={surface: steel, count: 8}",
    "data.augment=light", "frame.frame_px=64", "adapter.rank=2", "adapter.encoder=[q,v]", "training.log_every=1",
    "training.gallery=0", "training.validate_every=1", "training.mixed_precision=no", "metrics.names=[s_measure, mae]",
    "cache.embeddings=never",
]  # fmt: skip
NOISE = "k_proj.bias"
"""A softmax ignores what is added to every key alike: this gradient is rounding alone, which AdamW makes as large as any other."""
FSDP = ["-m", "accelerate.commands.launch", "--config_file", "configs/accelerate/fsdp.yaml", "--num_processes", "2"]


def launch(*command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Run folders of one process with batches of four, and of two ranks with two; both stopped after an epoch, and taken up."""
    place = tmp_path_factory.mktemp("runs")
    ways = {
        "one": ["training.batch_size=4"],
        "two": ["training.batch_size=2"],
    }
    for name, overrides in ways.items():
        start = [*FSDP, "--mixed_precision", "no", "--main_process_port", 29731] if name == "two" else []
        for epochs in (1, 2):
            script = "tests/recipes/adapt_sharded.py" if name == "two" else "train/adapt.py"
            printed = launch(
                *start,
                script,
                *SMALL,
                *overrides,
                f"training.epochs={epochs}",
                f"training.out={place / name}",
                "training.keep_resume=true",
            )
            assert ("resuming" in printed) == (epochs == 2)
    return place / "one", place / "two"


def test_it_was_sharded(folders):
    one, two = (json.loads((folder / "provenance.json").read_text()) for folder in folders)
    assert two["shards"] == 2 and "shards" not in one


def test_the_adapter_on_the_disk_is_whole_and_that_of_one_process(folders):
    from safetensors.torch import load_file

    for kept in ("last", "best"):
        one, two = (load_file(folder / kept / "adapter_model.safetensors") for folder in folders)
        assert one.keys() == two.keys() and len(one) > 20
        for name, tensor in one.items():
            if name.endswith(NOISE):
                continue
            torch.testing.assert_close(two[name], tensor, atol=2e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_it_reads_back_and_merges_into_a_stock_sam(folders):
    from samis.jobs.load import load_run
    from samis.sam.configured import configured_sam

    one, two = (load_run(folder) for folder in folders)
    merged = [run.learner.adapted.merged() for run in (one, two)]
    untuned = configured_sam(one.config.segmenter, one.config.frame)[0].state_dict()
    assert merged[0].keys() == merged[1].keys() == untuned.keys()
    moved = 0
    for name, tensor in merged[0].items():
        if name.endswith(NOISE):
            continue
        torch.testing.assert_close(merged[1][name], tensor, atol=3e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
        moved += not torch.equal(untuned[name], tensor)
    assert moved > 20, "the decoder was tuned"
    token = "mask_decoder.mask_tokens.weight"
    assert torch.equal(merged[1][token][1:], untuned[token][1:]), "masks 1 to 3 keep their tokens"
    assert not torch.equal(merged[1][token][0], untuned[token][0])
