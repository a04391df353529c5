"""What the processes of a run decide together, so that none waits forever for one that has failed or stopped.

Each call is collective: every process must make it, in the same order. The numbers go from host to host (gloo), so that no
process waits for its GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from accelerate import Accelerator

from samis.errors import PeerError, UserError


def all_numbers(accelerator: Accelerator, *numbers: int) -> list[list[int]]:
    """Return every process's numbers, by rank; one all-reduce for all of them."""
    if accelerator.num_processes == 1:
        return [[int(number) for number in numbers]]
    group = _hosts()
    device = accelerator.device if group is None and torch.distributed.get_backend() != "gloo" else "cpu"
    table = torch.zeros(accelerator.num_processes, len(numbers), dtype=torch.int64)
    table[accelerator.process_index] = torch.tensor([int(number) for number in numbers])
    table = table.to(device)
    torch.distributed.all_reduce(table, group=group)
    return [[int(number) for number in row] for row in table.tolist()]


def largest(accelerator: Accelerator, *numbers: int) -> list[int]:
    """Return, for each number, the largest of all processes."""
    return [max(column) for column in zip(*all_numbers(accelerator, *numbers), strict=True)]


def gather(accelerator: Accelerator, value: Any) -> list[Any]:
    """Return every process's value, by rank."""
    if accelerator.num_processes == 1:
        return [value]
    values: list[Any] = [None] * accelerator.num_processes
    torch.distributed.all_gather_object(values, value, group=_hosts())
    return values


@contextmanager
def collective_guard(accelerator: Accelerator) -> Iterator[None]:
    """Complete a block on every process or fail on every process.

    Where it fails on some, the first of them raises its own error and all others ``PeerError``. Nothing inside may wait for
    another process.

    Raises:
        PeerError: the block failed on another process.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:
        failure = error
    if largest(accelerator, failure is not None)[0]:
        sync_error(accelerator, failure)


def sync_error(accelerator: Accelerator, failure: Exception | None) -> NoReturn:
    """Raise the first failing process's own error on that process, ``PeerError`` on all others; call it where one has failed."""
    messages = gather(accelerator, None if failure is None else getattr(failure, "message", str(failure)))
    first = next(rank for rank, text in enumerate(messages) if text is not None)
    if failure is not None and accelerator.process_index == first:
        raise failure
    raise PeerError(f"process {first}: {messages[first]}", code="E-TRAIN-PROCESS")


def peer_gone(error: BaseException) -> bool:
    """Return whether an error only says that another process has died."""
    message = str(error)
    return any(words in message for words in ("Connection closed by peer", "Connection reset by peer", "Broken pipe"))


_HOSTS: list[tuple[Any, Any]] = []


def _hosts() -> Any:
    """Return a gloo group of all processes; None, which is the default group, where that is gloo or there is no gloo."""
    if torch.distributed.get_backend() == "gloo" or not torch.distributed.is_gloo_available():
        return None
    world = torch.distributed.group.WORLD
    if not _HOSTS or _HOSTS[0][0] is not world:
        _HOSTS[:] = [(world, torch.distributed.new_group(backend="gloo"))]
    return _HOSTS[0][1]


def fail_all(accelerator: Accelerator, message: str, *, code: str) -> NoReturn:
    """End all processes for a reason that each of them knows; only the first prints it.

    Args:
        accelerator: the processes.
        message: the error's line.
        code: of the error.

    Raises:
        UserError: on the first process.
        PeerError: on the others.
    """
    raise UserError(message, code=code) if accelerator.is_main_process else PeerError(message, code=code)
