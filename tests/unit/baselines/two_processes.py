"""Run as one of two gloo processes: python two_processes.py RANK MEETING_FILE NETWORK...

Each process differentiates its half of a batch through DistributedDataParallel; the gradients must be those that one process gets
from both halves.
"""

import runpy
import sys
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from samis.baselines import BaselineLearner, build_baseline
from samis.config import LossConfig

drawn = runpy.run_path(str(Path(__file__).with_name("conftest.py")))["drawn"]


def gradients(model, learner, batches):
    """Mean gradients over batches."""
    learner.zero_grad()
    for batch in batches:
        torch.manual_seed(0)
        (model(batch).total / len(batches)).backward()
    return {name: parameter.grad.clone() for name, parameter in learner.named_parameters()}


def main(rank, meeting, names):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    halves = [drawn(seed=seed) for seed in (0, 1)]
    for name in names:
        torch.manual_seed(0)
        learner = BaselineLearner(build_baseline(name, backbone="resnet10t"), LossConfig(), name=name).train()
        alone = gradients(learner, learner, halves)
        together = gradients(DistributedDataParallel(learner), learner, halves[rank : rank + 1])
        for key, expected in alone.items():
            scale = float(expected.abs().max())
            torch.testing.assert_close(
                together[key], expected, rtol=1e-3, atol=1e-4 * scale + 1e-7, msg=lambda m, k=key: f"{k}: {m}"
            )
        print(name, "equal", flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
