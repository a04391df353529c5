"""train/adapt.py, then a check that every rank holds the same weights; launched by test_adapt.py with two processes."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import samis.training.trainer as loop
from samis.cli import script

LEARNERS = []


def main():
    started = loop.Trainer.fit

    def fit(self):
        LEARNERS.append(self.learner)
        return started(self)

    loop.Trainer.fit = fit
    script("train")
    mine = torch.cat([p.detach().flatten() for p in LEARNERS[0].parameters() if p.requires_grad])
    first = mine.clone()
    torch.distributed.broadcast(first, src=0)
    assert torch.equal(mine, first), "ranks differ"
    if torch.distributed.get_rank() == 0:
        print(f"ranks agree on {mine.numel()} trained numbers")
    torch.distributed.barrier()


if __name__ == "__main__":
    main()
