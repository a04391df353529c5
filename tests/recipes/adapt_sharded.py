"""train/adapt.py in FSDP2 shards on CPU processes, which Accelerate itself does on GPUs alone; launched by test_sharded.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

import samis.jobs.train
from samis.cli import script

PLAIN = samis.jobs.train.open_accelerator


def sharded(requested):
    accelerator = PLAIN(requested)
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin()  # of the launch file, by the environment
    accelerator.state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    assert accelerator.is_fsdp2
    return accelerator


def main():
    samis.jobs.train.open_accelerator = sharded
    script("train")


if __name__ == "__main__":
    main()
