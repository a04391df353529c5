"""Builds the loaders that give a data set's samples as batches, read and framed in worker processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from samis.core.contracts import Batch, Dataset
from samis.core.geometry import Framing
from samis.data.base import subset
from samis.data.pipeline.augment import Augment, variants
from samis.data.pipeline.batching import FramedSample, collate, concat_prompts
from samis.data.pipeline.framed_dataset import FramedDataset, Prompter, Read
from samis.data.pipeline.sampling import EpochSampler
from samis.data.pipeline.workers import seed_worker
from samis.errors import UserError

__all__ = ["BatchMaker", "EpochLoader", "FramedDataset", "FramedSample", "build_loader", "collate", "concat_prompts"]


class EpochLoader:
    """Batches of an epoch, or of the rest of an interrupted one; a ``samis.training.batches.Loader``.

    Args:
        loader: torch's loader of `dataset`.
        dataset: the framed samples.
        sampler: of `loader`.
        batch_size: samples in a batch.
    """

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
        """Let the loader's processes read the stored embeddings of a view instead of framing it; before the first iteration."""
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
        prompter: makes the prompt of a sample; None takes SAM's empty prompt.
        batch_size: samples (not views) in a batch.
        shuffle: whether the order changes with the epoch.
        augment: changes image and mask; None leaves them.
        workers: processes that read; 0 reads in this one.
        prefetch: batches that each of them reads ahead.
        seed: of order, changes, crops and prompts.
        training: whether an item is one random crop (where the framing has tiles) and needs truth.
        rank: number of this process.
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
    loader = _torch_loader(framed, sampler, batch_size=batch_size, workers=workers, prefetch=prefetch)
    return EpochLoader(loader, framed, sampler, batch_size)


def _torch_loader(
    framed: FramedDataset, sampler: EpochSampler, *, batch_size: int, workers: int, prefetch: int
) -> DataLoader[Any]:
    return DataLoader(
        framed,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=seed_worker,
        persistent_workers=workers > 0,
        prefetch_factor=prefetch if workers > 0 else None,
        generator=torch.Generator().manual_seed(framed.seed),
    )


@dataclass(frozen=True)
class BatchMaker:
    """How data sets become batches: framing, prompts and changes, built once and used for each data set.

    Attributes:
        framing: as of ``build_loader``.
        prompter: as of ``build_loader``.
        batch_size: as of ``build_loader``.
        augment: as of ``build_loader``.
        workers: as of ``build_loader``.
        prefetch: as of ``build_loader``.
        seed: as of ``build_loader``.
        training: as of ``build_loader``; training shuffles.
        clean_share: as of ``build_loader``.
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
            rank: number of this process.
            world: how many processes share them.
            batch_size: replaces the maker's own.
            limit: how many images, spread over the classes; 0 takes all.
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
