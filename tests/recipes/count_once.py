"""Trains four numbers on nine images with real loader and loop; the main process writes them. Launched by test_count_once.py."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

sys.path[:0] = [
    str(Path(__file__).resolve().parents[2]),
    str(Path(__file__).resolve().parents[1] / "unit" / "training"),
]

import test_trainer

from samis.config import OptimConfig
from samis.core.contracts import Loss, Sample
from samis.core.geometry import Framing
from samis.data.pipeline.loading import build_loader


class Nine:
    """Nine images of one grey each."""

    name, split, class_names = "nine", "train", ("crack",) * 9
    ids = tuple(f"image_{number}" for number in range(9))

    def __len__(self):
        return 9

    def __getitem__(self, index):
        return Sample(self.ids[index], np.full((8, 8, 3), 20 * index, np.uint8), np.eye(8) > 0, "crack")


class Curve(test_trainer.Line):
    """Fits a cubic to how bright an image is; a mean over the batch's images, as every learner's loss is."""

    def forward(self, batch):
        grey = batch.images[:, 0, :8, :8].mean((1, 2))
        powers = torch.stack([grey**power for power in range(4)], dim=1)
        return Loss(((powers @ self.weight - grey.sin()) ** 2).mean(), {})


def main():
    folder, batch_size, accumulation = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    state = PartialState(cpu=True)
    loader = build_loader(
        Nine(), Framing(16), None, batch_size=batch_size, shuffle=True, training=True,
        rank=state.process_index, world=state.num_processes,
    )  # fmt: skip
    learner = Curve()
    test_trainer.trainer(
        folder / "run", learner=learner, loader=loader, optim=OptimConfig(lr=0.05), batch_size=batch_size,
        accumulation=accumulation, epochs=2,
    ).fit()  # fmt: skip
    if state.is_main_process:
        (folder / "weights.json").write_text(json.dumps(learner.weight.tolist()))


if __name__ == "__main__":
    main()
