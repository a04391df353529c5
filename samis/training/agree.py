"""What the processes of a run settle together, so that none waits for ever for one that has failed or stopped.

Each call is a rendezvous: every process must make it, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from accelerate import Accelerator

from samis.contracts import PeerError, UserError


def largest(accelerator: Accelerator, *numbers: int) -> list[int]:
    """Return, for each number, the largest that some process brought."""
    if accelerator.num_processes == 1:
        return [int(number) for number in numbers]
    shared = torch.tensor(numbers, dtype=torch.int64, device=accelerator.device)
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
    return [int(number) for number in shared.tolist()]


def gather(accelerator: Accelerator, value: Any) -> list[Any]:
    """Return every process's value, by rank."""
    if accelerator.num_processes == 1:
        return [value]
    values: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(values, value)
    return values


def words(accelerator: Accelerator, word: str | None) -> str | None:
    """Return what the processes have to say, joined; None if none says anything."""
    if not largest(accelerator, word is not None)[0]:
        return None
    return "; ".join(said for said in gather(accelerator, word) if said is not None)


@contextmanager
def together(accelerator: Accelerator) -> Iterator[None]:
    """Leave a block on every process or on none.

    Where one fails, the first of those that did raises its own error and all others ``PeerError``. Nothing inside may wait
    for another process.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    if not largest(accelerator, failure is not None)[0]:
        return
    said = gather(accelerator, None if failure is None else str(failure))
    first = next(rank for rank, text in enumerate(said) if text is not None)
    if failure is not None and accelerator.process_index == first:
        raise failure
    raise PeerError(f"process {first}: {said[first]}")


def peer_gone(error: BaseException) -> bool:
    """Return whether an error only says that another process has died."""
    told = str(error)
    return any(words in told for words in ("Connection closed by peer", "Connection reset by peer", "Broken pipe"))


def fail(accelerator: Accelerator, message: str) -> NoReturn:
    """End all processes over something that each of them knows; only the first says it."""
    raise UserError(message) if accelerator.is_main_process else PeerError(message)
