"""Which images an epoch shows, in which order, and which of them a process takes: by seed and epoch alone."""

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


class OfAnEpoch(Protocol):
    """A data set that knows which epoch it is in, such as ``samis.data.pipeline.loading.FramedDataset``."""

    @property
    def dataset(self) -> Dataset: ...

    @property
    def epoch(self) -> int: ...

    def __len__(self) -> int: ...


class EpochSampler(Sampler[int]):
    """Yields one process's share of the indices, shuffled by (seed, epoch); every process draws the same order itself.

    The shares are made of whole rounds: process r of n takes places r, r + n, r + 2n ... of the epoch's order. No image
    counts twice. A training share that has a batch fewer than the first process's gets one more, of one image
    (`filler_batch`), so that all processes make equally many steps. Shares to be scored are dealt out in whole batches of
    `batch_size`: each batch is one that a single process would have, and so is each map, to the last bit.

    With a `clean_share`, an epoch shows each defective image once, and so many defect-free ones that they make up that
    share: all of them equally often, or one time more, which ones being drawn again for each epoch. (One that comes twice in
    an epoch is changed, cropped and asked about alike.)

    Raises:
        UserError: a share outside [0, 0.9], or one of images that are not there.
    """

    def __init__(
        self,
        dataset: OfAnEpoch,
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
        for kind, there in (("defect-free", self._clean), ("defective", self._defective)):
            if clean_share and not there:
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
        """Tell whether this process has a batch fewer than the first of `count` images."""
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
        wanted = max(1, round(len(self._defective) * self.clean_share / (1 - self.clean_share)))
        rounds, rest = divmod(wanted, len(self._clean))
        rng = np.random.default_rng((self.seed, self.dataset.epoch, len(self._clean), wanted))
        drawn = rng.permutation(len(self._clean))[:rest].tolist()
        return self._defective + rounds * self._clean + [self._clean[place] for place in drawn]
