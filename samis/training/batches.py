"""The batches of the training loop: a loader, and its batches in groups of one step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from samis.core.contracts import Batch


class Loader(Protocol):
    """The trainer's source of batches: the same batches for the same seed and epoch, this process's share of them."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Batch]: ...

    def set_epoch(self, epoch: int, *, skip: int = 0) -> None: ...


def grouped(batches: Loader, size: int) -> Iterator[list[Batch]]:
    """Yield lists of `size` micro-batches; the last may be shorter."""
    group: list[Batch] = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
