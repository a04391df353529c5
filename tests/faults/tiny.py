"""A learner of four numbers, for faults that need many runs: a step costs a millisecond, and the loop is the real one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from samis.config import OptimConfig, TrainingConfig
from samis.core.contracts import Batch, Evaluation, Loss
from samis.core.geometry import place
from samis.training.trainer import Selection, Trainer

TRUTH = torch.tensor([1.0, -2.0, 3.0, 0.5])


class Line(torch.nn.Module):
    """Fits y = w . x by least squares, with dropout so that random state matters.

    Args:
        dropout: share of x that is left out. pause: seconds that a step takes besides.
    """

    def __init__(self, *, dropout: float = 0.2, pause: float = 0.0) -> None:
        super().__init__()
        self.dropout, self.pause = dropout, pause
        self.weight = torch.nn.Parameter(torch.zeros(4))

    def forward(self, batch: Batch) -> Loss:
        time.sleep(self.pause)
        x = torch.nn.functional.dropout(batch.images[:, 0, 0], self.dropout, self.training)
        error = ((x @ self.weight - batch.images[:, 1, 0, 0]) ** 2).mean()
        return Loss(error, {"error": error.detach()})

    def segmenter(self) -> Any:
        raise AssertionError("the loop never asks for it by itself")

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.weight], "lr_scale": 1.0, "decay": True}]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": self.weight.detach()}, folder / "model.safetensors")
        (folder / "record.json").write_text('{"name": "line"}\n')

    def load(self, folder: Path) -> None:
        self.load_state_dict(load_file(folder / "model.safetensors"))


class Points:
    """`images` random points an epoch, dealt to processes and batches as the project's own loader deals images.

    Args:
        spoil: called with (epoch, place in the epoch, batch) and returns the batch that is fed; for planted faults.
    """

    def __init__(
        self, *, images: int = 12, size: int = 2, rank: int = 0, world: int = 1,
        spoil: Callable[[int, int, Batch], Batch] | None = None,
    ) -> None:  # fmt: skip
        self.images, self.size, self.rank, self.world, self.spoil = images, size, rank, world, spoil
        self.epoch, self.skip = 0, 0

    def __len__(self) -> int:
        return -(-self.images // (self.size * self.world))

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None:
        self.epoch, self.skip = epoch, skip

    def __iter__(self) -> Iterator[Batch]:
        for index in range(self.skip, len(self)):
            first = index * self.size * self.world
            numbers = [(first + i * self.world + self.rank) % self.images for i in range(self.size)]
            points = []
            for number in numbers:
                drawn = torch.Generator().manual_seed(1000 * self.epoch + number)
                x = torch.randn(1, 4, generator=drawn)
                points.append(torch.stack([x, (x * TRUTH).sum(-1, keepdim=True).expand(1, 4)]))
            placements = [place((4, 4), (0, 0, 4, 4), 16, sample=i) for i in range(self.size)]
            batch = Batch([f"point_{self.epoch}_{n}" for n in numbers], torch.stack(points), placements)
            yield self.spoil(self.epoch, index, batch) if self.spoil else batch


def poisoned(batch: Batch) -> Batch:
    """Return the batch with a NaN in its first image."""
    images = batch.images.clone()
    images[0] = float("nan")
    return replace(batch, images=images)


def distance(learner: Any) -> Evaluation:
    """Validate: how far the weights are from the truth."""
    return Evaluation({"error": float((learner.weight.detach() - TRUTH).abs().sum())})


def train(
    folder: Path,
    *,
    learner: Any = None,
    images: int = 12,
    spoil: Any = None,
    validate: Any = distance,
    optim: OptimConfig | None = None,
    accelerator: Any = None,
    **training: Any,
) -> Trainer:
    """Run the loop to its end on this process's share; return the trainer."""
    from accelerate import Accelerator

    torch.manual_seed(3)
    accelerator = accelerator or Accelerator()
    settings = TrainingConfig(**{"epochs": 3, "batch_size": 2, "log_every": 1, "patience": 2, **training})
    rank, world = accelerator.process_index, accelerator.num_processes
    trainer = Trainer(
        learner or Line(),
        Points(images=images, size=settings.batch_size, rank=rank, world=world, spoil=spoil),
        validate,
        selection=Selection("error", higher_is_better=False),
        optim=optim or OptimConfig(lr=0.05),
        training=settings,
        folder=folder,
        accelerator=accelerator,
    )
    trainer.fit()
    return trainer
