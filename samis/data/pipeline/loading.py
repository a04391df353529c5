"""Turns samples into batches of framed views: reading, change, crop, frame, prompt, in worker processes.

A sample's change, crop and prompt depend on (seed, epoch, index of the sample) alone: the number of workers and
processes and the batch size leave them as they are, and a resumed run sees what an uninterrupted one would.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from samis.core.contracts import Batch, Dataset, Placement, Prompt, Sample
from samis.core.geometry import Framing, frame_image, frame_mask, view_key
from samis.data.base import subset
from samis.data.pipeline.augment import Augment, variants
from samis.data.pipeline.batching import FramedSample, collate, concat_prompts
from samis.data.pipeline.sampling import EpochSampler
from samis.errors import UserError

__all__ = ["FramedDataset", "FramedSample", "Prompter", "build_loader", "collate", "concat_prompts", "random_crop"]

Prompter = Callable[[Sample, list[Placement], np.random.Generator], Prompt]
"""Gives a prompt with one row for each of the sample's placements."""
Read = Callable[[torch.Tensor], "torch.Tensor | None"]
"""Gives the (V, C, g, g) embeddings kept under a sample's (V, 32) keys, or None where one is not there; picklable."""
DEFECT_SHARE = 0.7
"""Chance that a training crop is laid over a random defect pixel, if there is one."""


class LoadingError(UserError):
    """A user's mistake met in a worker process: torch wraps the message into a traceback, this keeps the one line."""

    def __init__(self, message: str = "", *, code: str = "") -> None:
        if message.startswith("Caught "):
            line = message.rstrip().splitlines()[-1].split(f"{type(self).__name__}: ", 1)[-1]
            coded = re.fullmatch(r"(.*) \[(E-[A-Z0-9-]+)\]", line)
            message, code = coded.groups() if coded else (line, "")
        super().__init__(message, code=code)


class FramedDataset(TorchDataset[FramedSample]):
    """A data set whose items are framed views with their prompt.

    Args:
        dataset: the samples.
        framing: how images enter the frame; where it cuts tiles, a training item shows one random crop of a tile's side, and
            evaluation all tiles.
        prompter: makes the prompt of a sample; None asks SAM's empty prompt.
        augment: changes image and mask first; see ``samis.data.pipeline.augment``.
        training: whether to crop at random; needs truth.
        seed: another seed gives other changes, crops and prompts.

    Attributes:
        keyed: whether views come again in a later epoch, and bear a key by which what is computed of them can be kept.
        read: gives what is kept of a sample's views; the sample is then not framed.
    """

    def __init__(
        self,
        dataset: Dataset,
        framing: Framing,
        prompter: Prompter | None = None,
        *,
        augment: Augment | None = None,
        training: bool = False,
        seed: int = 0,
    ) -> None:
        self.dataset = dataset
        self.framing = framing
        self.prompter = prompter
        self.augment = augment
        self.crop_px = framing.tile_px
        self.training = training
        self.keyed = not training or (not self.crop_px and variants(augment) is not None)
        self.read: Read | None = None
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # running workers see it change

    @property
    def epoch(self) -> int:
        """The epoch that the random changes belong to."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, before the loader is iterated; also for workers that run already."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> FramedSample:
        """Read, change and frame one sample.

        Raises:
            UserError: as the data set raises, or if training lacks the truth.
        """
        try:
            return self._framed(index)
        except UserError as error:
            raise LoadingError(" ".join(error.message.split()), code=error.code) from None

    def _framed(self, index: int) -> FramedSample:
        rng = np.random.default_rng((self.seed, self.epoch, index))
        sample = self.dataset[index]
        if self.training and sample.mask is None:
            raise UserError(
                f"{sample.image_path or sample.id}: expected a mask to train on, got none; add it or leave it out",
                code="E-DATA-NO-MASK",
            )
        if self.augment is not None:
            sample = _augmented(sample, self.augment, rng)
        hw = (sample.image.shape[0], sample.image.shape[1])
        if self.training and self.crop_px:
            placements = [self.framing.place(hw, random_crop(sample.mask, hw, self.crop_px, rng))]
        else:
            placements = self.framing.placements(hw)
        prompt = Prompt() if self.prompter is None else self.prompter(sample, placements, rng)
        keys = torch.stack([view_key(sample.image, placement) for placement in placements]) if self.keyed else None
        embeddings = None if keys is None or self.read is None else self.read(keys)
        if embeddings is None:
            images = torch.stack([frame_image(sample.image, placement) for placement in placements])
        else:
            images = torch.empty(len(placements), 3, self.framing.frame_px, self.framing.frame_px, device="meta")
        masks = None
        if sample.mask is not None:
            masks = torch.stack([frame_mask(sample.mask, placement) for placement in placements])
        return FramedSample(
            sample.id,
            sample.class_name,
            images,
            placements,
            prompt,
            masks,
            sample.mask,
            keys,
            embeddings,
            may_read=self.read is not None,
        )


def _augmented(sample: Sample, augment: Augment, rng: np.random.Generator) -> Sample:
    mask = np.zeros(sample.image.shape[:2], np.uint8) if sample.mask is None else sample.mask.astype(np.uint8)
    image, changed = augment(np.ascontiguousarray(sample.image), mask, rng)
    return replace(sample, image=image, mask=None if sample.mask is None else changed.astype(bool))


def random_crop(
    mask: np.ndarray | None, hw: tuple[int, int], crop_px: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Return a random crop (x0, y0, x1, y1) of at most `crop_px` a side, in 7 of 10 cases over a random defect pixel.

    Args:
        mask: (H, W) bool, or None.
        hw: size of the file.
        crop_px: side of the crop; a shorter side of the file is taken whole.
        rng: the generator.

    >>> random_crop(None, (4, 9), 10, np.random.default_rng(0))
    (0, 0, 9, 4)
    """
    height, width = min(crop_px, hw[0]), min(crop_px, hw[1])
    y_range, x_range = (0, hw[0] - height), (0, hw[1] - width)
    over_defect = rng.random() < DEFECT_SHARE
    if over_defect and mask is not None and mask.any():
        defects = np.flatnonzero(mask)
        y, x = divmod(int(defects[rng.integers(len(defects))]), hw[1])
        y_range = (max(0, y - height + 1), min(y, hw[0] - height))
        x_range = (max(0, x - width + 1), min(x, hw[1] - width))
    y0 = int(rng.integers(y_range[0], y_range[1] + 1))
    x0 = int(rng.integers(x_range[0], x_range[1] + 1))
    return x0, y0, x0 + width, y0 + height


class EpochLoader:
    """Batches of an epoch, and of the rest of one that was cut: what ``samis.training.batches.Loader`` asks for."""

    def __init__(self, loader: DataLoader[Any], dataset: FramedDataset, sampler: EpochSampler, batch_size: int) -> None:
        self._loader, self._dataset, self._sampler, self._batch_size = loader, dataset, sampler, batch_size
        self._batches = len(loader)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        filler = self._sampler.filler_batch
        for number, batch in enumerate(self._loader):
            yield batch if number != filler else replace(batch, filler=True)

    @property
    def images(self) -> int:
        """Images of the data set, over all processes."""
        return len(self._dataset)

    @property
    def views(self) -> int:
        """Framed views of the data set's images, over all processes, if all are as large as the first."""
        data = self._dataset.dataset
        return len(data) * len(self._dataset.framing.placements(data[0].image.shape[:2])) if len(data) else 0

    @property
    def views_an_image(self) -> int | None:
        """How many different views an image is shown as, over all epochs; None: a new one each time."""
        return variants(self._dataset.augment) if self._dataset.keyed else None

    def read_embeddings(self, read: Read) -> None:
        """Let the loader's processes read what is kept of a view instead of framing it; before the first iteration."""
        self._dataset.read = read

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None:
        """Choose the epoch's order, changes, crops and prompts; leave out its first `skip` batches."""
        self._dataset.set_epoch(epoch)
        self._sampler.skip = skip * self._batch_size


def build_loader(
    dataset: Dataset,
    framing: Framing,
    prompter: Prompter | None = None,
    *,
    batch_size: int,
    shuffle: bool = False,
    augment: Augment | None = None,
    workers: int = 0,
    prefetch: int = 2,
    seed: int = 0,
    training: bool = False,
    rank: int = 0,
    world: int = 1,
    clean_share: float = 0.0,
) -> EpochLoader:
    """Build one process's loader of one data set.

    Args:
        dataset: the samples.
        framing: how images enter the frame.
        prompter: makes the prompt of a sample; None asks SAM's empty prompt.
        batch_size: samples (not views) in a batch.
        shuffle: whether the order changes with the epoch.
        augment: changes image and mask; None leaves them.
        workers: processes that read; 0 reads in this one. prefetch: batches that each of them reads ahead.
        seed: of order, changes, crops and prompts.
        training: whether an item is one random crop (where tiles or crops are asked for) and needs truth.
        rank: which share of the epoch this process takes.
        world: how many processes share it.
        clean_share: share of an epoch's images drawn from those of class "clean", in [0, 0.9]; 0 shows all images once.

    Returns:
        A loader of ``samis.core.contracts.Batch``.

    Raises:
        UserError: if a batch would hold no sample.
    """
    if batch_size < 1:
        raise UserError(f"batch_size: expected at least 1, got {batch_size}", code="E-DATA-BATCH-SIZE")
    framed = FramedDataset(dataset, framing, prompter, augment=augment, training=training, seed=seed)
    sampler = EpochSampler(
        framed,
        shuffle=shuffle,
        seed=seed,
        rank=rank,
        world=world,
        even=training,
        batch_size=batch_size,
        clean_share=clean_share,
    )
    loader = DataLoader(
        framed,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=seed_worker,
        persistent_workers=workers > 0,
        prefetch_factor=prefetch if workers > 0 else None,
        generator=torch.Generator().manual_seed(seed),
    )
    return EpochLoader(loader, framed, sampler, batch_size)


@dataclass(frozen=True)
class BatchMaker:
    """How data sets become batches: framing, prompts and changes, built once and used for each data set.

    Attributes:
        framing, prompter, batch_size, augment, workers, prefetch, seed, training, clean_share: as ``build_loader`` takes them;
            training shuffles.
    """

    framing: Framing
    prompter: Prompter | None
    batch_size: int
    augment: Augment | None = None
    workers: int = 0
    prefetch: int = 2
    seed: int = 0
    training: bool = False
    clean_share: float = 0.0

    def __call__(
        self, dataset: Dataset, *, rank: int = 0, world: int = 1, batch_size: int | None = None, limit: int = 0
    ) -> EpochLoader:
        """Return one process's share of a data set's batches.

        Args:
            dataset: the samples.
            rank: which share.
            world: how many processes share them.
            batch_size: another one than the maker's own.
            limit: so many images alone, spread over the classes; 0 takes all.
        """
        return build_loader(
            subset(dataset, limit) if limit else dataset,
            self.framing,
            self.prompter,
            batch_size=batch_size or self.batch_size,
            shuffle=self.training,
            augment=self.augment,
            workers=self.workers,
            prefetch=self.prefetch,
            seed=self.seed,
            training=self.training,
            rank=rank,
            world=world,
            clean_share=self.clean_share,
        )


@atexit.register
def _end_workers() -> None:
    """Kill the workers that are left when Python ends: a kept iterator or traceback keeps them.

    Python would terminate them and wait, for ever, since ``seed_worker`` makes them deaf to that.
    """
    left = [child for child in multiprocessing.active_children() if child.daemon]
    if left:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's own handler would call it a failure
    for child in left:
        child.terminate()
    for child in left:
        child.join(1)
        child.kill()


def seed_worker(worker: int) -> None:
    """Give a worker its own random numbers, other ones on each rank (for code that uses the global generators).

    A worker does not hear of signals: the main process does, and needs its batches until it has saved.
    """
    if get_worker_info() is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    rank = int(os.environ.get("RANK", "0"))
    seed = np.random.SeedSequence((torch.initial_seed() % 2**63, rank)).generate_state(1)[0]
    random.seed(int(seed))
    np.random.seed(int(seed))  # noqa: NPY002 - the global generator is what is being seeded
    torch.manual_seed(int(seed))
