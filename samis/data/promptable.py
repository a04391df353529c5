"""Loader of drawn scenes with prompts: what promptable pretraining is fed, drawn anew for each step by seed.

Each scene asks four groups of questions, each with the soft mask (share of each cell that belongs to the object) that
answers it: boxes with jitter, single points, several points (some off the object), and the empty prompt, whose answer is
every object of the scene. Scenes are drawn in the loader's workers, so that the network never waits for a brush.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from samis.contracts import Batch
from samis.data.frame import frame_image, place
from samis.data.loading import seed_worker
from samis.data.scenes import draw_scene

Array = np.ndarray
Rng = np.random.Generator


@dataclass(frozen=True)
class PromptMix:
    """How many questions are asked about each scene.

    Attributes:
        boxes, points, clicks: prompts of each group: boxes, single points, several points.
        clicks_each: points of a prompt of the third group.
        jitter: deviation of a box side, as a share of the box's size.
        grid_px: frame pixels a cell of the answer covers.
    """

    boxes: int = 3
    points: int = 2
    clicks: int = 1
    clicks_each: int = 3
    jitter: float = 0.06
    grid_px: int = 2


class PromptedScenes(IterableDataset[Batch]):
    """Endless-by-seed batches of scenes: item (seed, epoch, batch index) is always the same picture."""

    def __init__(
        self, *, side: int, batch_size: int, batches: int, seed: int, mix: PromptMix, rank: int = 0, world: int = 1
    ) -> None:
        self.side, self.batch_size, self.batches, self.seed, self.mix = side, batch_size, batches, seed, mix
        self.rank, self.world = rank, world
        self.epoch = 0
        self.first = 0

    def __len__(self) -> int:
        return self.batches - self.first

    def __iter__(self):  # type: ignore[no-untyped-def]
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        for index in range(self.first + worker, self.batches, workers):
            yield self.batch(index)

    def batch(self, index: int) -> Batch:
        """Draw one batch."""
        scenes = []
        for k in range(self.batch_size):
            number = (index * self.world + self.rank) * self.batch_size + k
            scenes.append(_prompted(np.random.default_rng([self.seed, self.epoch, number]), self.side, self.mix))
        placements = [
            place((self.side, self.side), (0, 0, self.side, self.side), self.side, sample=k)
            for k in range(self.batch_size)
        ]
        extras = {
            name: torch.from_numpy(np.stack([scene[name] for scene in scenes])) for name in scenes[0] if name != "image"
        }
        images = torch.stack([frame_image(scene["image"], p) for scene, p in zip(scenes, placements, strict=True)])
        ids = [f"scene_{self.seed}_{self.epoch}_{index}_{k}" for k in range(self.batch_size)]
        return Batch(ids, images, placements, class_names=["scene"] * self.batch_size, extras=extras)


class SceneLoader:
    """A DataLoader of ``PromptedScenes`` that speaks the trainer's language: ``set_epoch``, ``skip``, ``len``, iteration."""

    def __init__(self, dataset: PromptedScenes, *, workers: int = 0) -> None:
        self.dataset, self.workers = dataset, workers

    def __len__(self) -> int:
        return self.dataset.batches

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None:
        """Choose the epoch's pictures; `skip` batches of it are left out (a resumed run has seen them)."""
        self.dataset.epoch, self.dataset.first = epoch, skip

    def __iter__(self):  # type: ignore[no-untyped-def]
        # Workers interleave batches round robin, so order does not depend on their number.
        return iter(
            DataLoader(
                self.dataset,
                batch_size=None,
                num_workers=self.workers,
                prefetch_factor=4 if self.workers else None,
                worker_init_fn=seed_worker,
                generator=torch.Generator(),  # else each start would draw from the run's own random state
            )
        )


def _prompted(rng: Rng, side: int, mix: PromptMix) -> dict[str, Array]:
    """Draw one scene that has an object, and its questions and answers."""
    scene = draw_scene(rng, side)
    while not len(scene.objects):
        scene = draw_scene(rng, side)
    image = np.repeat(scene.image[..., None], 3, axis=2)
    if rng.random() < 0.15:
        image = np.clip(image * rng.uniform(0.8, 1.2, 3), 0, 255).astype(np.uint8)
    cells = side // mix.grid_px
    picked = rng.integers(len(scene.objects), size=mix.boxes + mix.points + mix.clicks)
    answers = np.stack([_cells(scene.objects[k], cells) for k in picked])
    of_box, of_point, of_clicks = np.split(picked, [mix.boxes, mix.boxes + mix.points])
    points = np.stack([_inside(rng, scene.objects[k], 1) for k in of_point])
    clicked = [_clicks(rng, scene.objects[k], mix.clicks_each) for k in of_clicks]
    return {
        "image": image,
        "boxes_xyxy": np.stack([_box(rng, scene.objects[k], mix.jitter) for k in of_box]),
        "points_xy": points,
        "clicks_xy": np.stack([xy for xy, _ in clicked]),
        "clicks_labels": np.stack([labels for _, labels in clicked]),
        "answers": answers,
        "salient": _cells(scene.salient, cells)[None],
    }


def _cells(mask: Array, cells: int) -> Array:
    return cv2.resize(mask.astype(np.uint8) * 255, (cells, cells), interpolation=cv2.INTER_AREA)


def _box(rng: Rng, mask: Array, jitter: float) -> Array:
    rows, columns = np.nonzero(mask)
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2, np.float32)
    shift = rng.normal(0, jitter, 4).clip(-0.15, 0.15) * size
    return np.clip(box + shift, 0, mask.shape[0]).astype(np.float32)


def _inside(rng: Rng, mask: Array, count: int) -> Array:
    """Return (count, 2) float32 points on the object; half of the time its innermost point first."""
    rows, columns = np.nonzero(mask)
    picks = rng.integers(len(rows), size=count)
    points = np.stack([columns[picks], rows[picks]], 1).astype(np.float32)
    if rng.random() < 0.5:
        depth = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(int(depth.argmax()), depth.shape)
        points[0] = (x, y)
    return points


def _clicks(rng: Rng, mask: Array, count: int) -> tuple[Array, Array]:
    """Return several points and their labels: on the object, and sometimes just off it."""
    points, labels = _inside(rng, mask, count), np.ones(count, np.int64)
    reach = cv2.dilate(mask.astype(np.uint8), np.ones((31, 31), np.uint8)).astype(bool) & ~mask
    rows, columns = np.nonzero(reach)
    for k in range(1, count):
        if len(rows) and rng.random() < 0.4:
            pick = rng.integers(len(rows))
            points[k], labels[k] = (columns[pick], rows[pick]), 0
    return points, labels
