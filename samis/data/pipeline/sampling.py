"""Which images an epoch shows, in which order, and which of them a process takes: from seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from torch.utils.data import Sampler

from samis.core.contracts import Dataset
from samis.data.base import CLEAN
from samis.errors import UserError

MOST_CLEAN = 0.9
"""Largest ``data.clean_share``."""


class EpochDataset(Protocol):
    """A data set with a current epoch, such as ``samis.data.pipeline.framed_dataset.FramedDataset``."""

    @property
    def dataset(self) -> Dataset: ...

    @property
    def epoch(self) -> int: ...

    def __len__(self) -> int: ...


class EpochSampler(Sampler[int]):
    """Yields one process's share of the indices, shuffled by (seed, epoch); every process draws the same order itself.

    Process r of n takes places r, r + n, r + 2n ... of the epoch's order. No image counts twice. A training share that has a
    batch fewer than the first process's gets one more, of one image (`filler_batch`), so that all processes make equally
    many steps. Shares to be scored consist of complete batches of `batch_size`: each batch is one that a single process
    would have, and each map is equal to the last bit.

    With a `clean_share`, an epoch shows each defective image once, and as many defect-free ones as give that
    share: each equally often, or once more; which ones are shown once more is drawn again for each epoch. (An image that is
    shown twice in an epoch has the same changes, crop and prompt.)

    Args:
        dataset: the data set.
        shuffle: whether the order changes with the epoch.
        seed: of the order.
        rank: number of this process.
        world: how many processes share the epoch.
        even: whether all processes make equally many steps, as in training.
        batch_size: samples of a batch.
        clean_share: share of an epoch's images of class "clean", in [0, 0.9]; 0 shows all images once.

    Raises:
        UserError: a share outside [0, 0.9], or one of images that the data set does not have.
    """

    def __init__(
        self,
        dataset: EpochDataset,
        *,
        shuffle: bool,
        seed: int,
        rank: int = 0,
        world: int = 1,
        even: bool = False,
        batch_size: int = 1,
        clean_share: float = 0.0,
    ) -> None:
        self.dataset = dataset
        self.shuffle, self.seed = shuffle, seed
        self.rank, self.world, self.even, self.batch_size = rank, world, even, batch_size
        self.skip = 0
        self.clean_share = clean_share
        names = dataset.dataset.class_names
        self._clean = [index for index, name in enumerate(names) if name == CLEAN]
        self._defective = [index for index, name in enumerate(names) if name != CLEAN]
        if not 0 <= clean_share <= MOST_CLEAN:
            raise UserError(
                f"data.clean_share: expected a share in [0, {MOST_CLEAN}], got {clean_share}", code="E-DATA-CLEAN-SHARE"
            )
        for kind, images in (("defect-free", self._clean), ("defective", self._defective)):
            if clean_share and not images:
                raise UserError(
                    f"{dataset.dataset.name}, split '{dataset.dataset.split}': expected {kind} images for data.clean_share="
                    f"{clean_share:g}, got none; add some (docs/your-own-data.md says how), or set data.clean_share=0",
                    code="E-DATA-CLEAN-SHARE",
                )

    def __len__(self) -> int:
        return max(0, len(self._share()) - self.skip)

    def __iter__(self) -> Iterator[int]:
        return iter(self._share()[self.skip :])

    def _share(self) -> list[int]:
        order = self._epoch_images()
        count = len(order)
        if self.shuffle:
            places = np.random.default_rng((self.seed, self.dataset.epoch, count)).permutation(count)
            order = [order[place] for place in places.tolist()]
        if not self.even:
            return [item for place, item in enumerate(order) if place // self.batch_size % self.world == self.rank]
        share = order[self.rank :: self.world]
        return share + order[:1] if self._lacks_a_batch(count) else share

    def _lacks_a_batch(self, count: int) -> bool:
        """Return whether this process has a batch fewer than the first of `count` images."""
        own, first = len(range(self.rank, count, self.world)), len(range(0, count, self.world))
        return -(-own // self.batch_size) < -(-first // self.batch_size)

    @property
    def filler_batch(self) -> int | None:
        """Which batch of what is left of the epoch only fills up (the last one), or None."""
        if not self.even or not self._lacks_a_batch(len(self._epoch_images())):
            return None
        return -(-len(self) // self.batch_size) - 1

    def _epoch_images(self) -> list[int]:
        """Return the indices that the epoch shows, not yet shuffled; equally many in every epoch."""
        if not self.clean_share:
            return list(range(len(self.dataset)))
        count = max(1, round(len(self._defective) * self.clean_share / (1 - self.clean_share)))
        rounds, rest = divmod(count, len(self._clean))
        rng = np.random.default_rng((self.seed, self.dataset.epoch, len(self._clean), count))
        drawn = rng.permutation(len(self._clean))[:rest].tolist()
        return self._defective + rounds * self._clean + [self._clean[place] for place in drawn]
