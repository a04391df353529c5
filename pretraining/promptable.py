"""Loader of drawn scenes with prompts: the data of promptable pretraining, drawn for each step by seed.

Each scene has four groups of prompts (``pretraining.scene_prompts``). Scenes are drawn in the loader's workers and are sent to
the GPU as three tensors: one grey byte a pixel, one byte a cell of a target mask, and the coordinates as float32; the
image is normalised there. A batch of 64 scenes at 256 px with 11 prompts is 7 MB; as float32 RGB it would be 53 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pretraining.scene_prompts import PromptedScene, PromptMix, draw_prompts
from pretraining.scenes import SMALL, SmallObjects
from pretraining.textures import bank
from samis.core.contracts import Batch
from samis.core.geometry import place
from samis.core.preprocessing import PIXEL_MEAN, PIXEL_STD
from samis.data.pipeline.workers import seed_worker

__all__ = ["PromptMix", "PromptedScenes", "SceneBatch", "SceneLoader"]


@dataclass
class SceneBatch(Batch):
    """A batch of B scenes in compact form; ``to`` makes the ``Batch`` that a learner reads.

    Attributes:
        images: (B, 1, S, S) uint8, grey.
        extras: ``targets`` (B, P + 1, c, c) uint8, the union of all objects last; ``numbers`` (B, N) float32: factors of
            R, G and B, then boxes, points, clicks and the labels of the clicks.
        mix: how many prompts of each kind there are.
    """

    mix: PromptMix = field(default_factory=PromptMix)

    def to(self, device: torch.device | str) -> Batch:
        """Return a batch on `device` with normalised float32 images and the prompts by name; three copies."""
        grey = self.images.to(device, non_blocking=True)
        targets = self.extras["targets"].to(device, non_blocking=True)
        numbers = self.extras["numbers"].to(device, non_blocking=True)
        mix, each = self.mix, self.mix.clicks_each
        widths = [3, mix.boxes * 4, mix.points * 2, mix.clicks * each * 2, mix.clicks * each]
        gain, boxes, points, clicks, labels = torch.split(numbers, widths, dim=1)
        count = len(self.ids)
        extras = {
            "boxes_xyxy": boxes.reshape(count, mix.boxes, 4),
            "points_xy": points.reshape(count, mix.points, 1, 2),
            "clicks_xy": clicks.reshape(count, mix.clicks, each, 2),
            "clicks_labels": labels.reshape(count, mix.clicks, each).long(),
            "targets": targets[:, :-1],
            "salient": targets[:, -1:],
        }
        return Batch(self.ids, normalised(grey, gain), self.placements, class_names=self.class_names, extras=extras)

    def pin_memory(self) -> SceneBatch:
        """Return the batch in page-locked memory, from which a GPU copies while it computes."""
        extras = {name: tensor.pin_memory() for name, tensor in self.extras.items()}
        return replace(self, images=self.images.pin_memory(), extras=extras)


def normalised(grey: Tensor, gain: Tensor) -> Tensor:
    """Return (B, 3, S, S) float32 as SAM's preprocessing gives it for the tinted 8-bit picture.

    Args:
        grey: (B, 1, S, S) uint8.
        gain: (B, 3) float32, factors of R, G and B.
    """
    images = (grey * gain[:, :, None, None]).clamp_(0, 255).floor_()
    for channel, (mean, std) in enumerate(zip(PIXEL_MEAN, PIXEL_STD, strict=True)):
        # Numbers of Python, since a tensor made on the host would wait for the GPU.
        images[:, channel].sub_(mean).div_(std)
    return images


class PromptedScenes(IterableDataset[SceneBatch]):
    """Batches of scenes by seed: item (seed, epoch, batch index) is always the same picture.

    Args:
        side: of a scene, px.
        batch_size: scenes of this process.
        batches: of an epoch.
        seed: of the scenes.
        mix: prompts of a scene.
        small: how often objects are small.
        rank: number of this process.
        world: how many processes there are.
    """

    def __init__(
        self,
        *,
        side: int,
        batch_size: int,
        batches: int,
        seed: int,
        mix: PromptMix,
        small: SmallObjects = SMALL,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.side, self.batch_size, self.batches, self.seed, self.mix = side, batch_size, batches, seed, mix
        self.small, self.rank, self.world = small, rank, world
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        return self.batches - self.first

    def __iter__(self) -> Iterator[SceneBatch]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for index in range(self.first + worker, self.batches, workers):
            yield self.batch(index)

    def batch(self, index: int) -> SceneBatch:
        """Draw one batch."""
        first = (index * self.world + self.rank) * self.batch_size
        scenes = [
            draw_prompts(
                np.random.default_rng([self.seed, self.epoch, first + k]), self.side, self.mix, small=self.small
            )
            for k in range(self.batch_size)
        ]
        all_of_it = (0, 0, self.side, self.side)
        return SceneBatch(
            ids=[f"scene_{self.seed}_{self.epoch}_{index}_{k}" for k in range(self.batch_size)],
            images=torch.from_numpy(np.stack([scene.image[None] for scene in scenes])),
            placements=[place((self.side, self.side), all_of_it, self.side, sample=k) for k in range(self.batch_size)],
            class_names=["scene"] * self.batch_size,
            extras={
                "targets": torch.from_numpy(np.stack([np.concatenate([s.targets, s.salient]) for s in scenes])),
                "numbers": torch.from_numpy(np.stack([_numbers(scene) for scene in scenes])),
            },
            mix=self.mix,
        )


class SceneLoader:
    """A DataLoader of ``PromptedScenes`` with the trainer's interface: ``set_epoch``, ``skip``, ``len``, iteration.

    Args:
        dataset: draws the batches.
        workers: processes that draw; 0 draws in this one.
        prefetch: batches that each of them draws ahead.
    """

    def __init__(self, dataset: PromptedScenes, *, workers: int = 0, prefetch: int = 2) -> None:
        self.dataset, self.workers, self.prefetch = dataset, workers, prefetch

    def __len__(self) -> int:
        return self.dataset.batches

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None:
        """Choose the epoch's pictures; `skip` batches of it are left out (a resumed run has seen them)."""
        self.dataset.epoch, self.dataset.first = epoch, skip

    def __iter__(self) -> Iterator[SceneBatch]:
        bank(self.dataset.side)  # drawn before the workers are forked, so that they share it
        # Workers interleave batches round robin, so order does not depend on their number.
        loader = DataLoader(
            self.dataset,
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=self.prefetch if self.workers else None,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=seed_worker,
            generator=torch.Generator(),  # else each start would draw from the run's own random state
        )
        return cast(Iterator[SceneBatch], iter(loader))


def _numbers(scene: PromptedScene) -> np.ndarray:
    parts = (scene.gain, scene.boxes_xyxy, scene.points_xy, scene.clicks_xy, scene.clicks_labels)
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)
