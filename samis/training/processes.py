"""The processes that ``accelerate launch`` or torchrun started for scoring or predicting, and the share of each."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState

from samis.errors import PeerError
from samis.training.precision import check_gpus, device_type
from samis.training.sync import peer_gone

T = TypeVar("T")
_TIMEOUT = timedelta(days=2)
"""How long a process waits for the others' share; torch's own ten minutes are less than a share may take."""


@dataclass(frozen=True)
class Processes:
    """Which process this is, and of how many.

    Attributes:
        process_index: its rank.
        num_processes: how many there are.
        device: its own.
    """

    process_index: int
    num_processes: int
    device: torch.device

    @property
    def is_main_process(self) -> bool:
        """Whether this is the one that writes files and prints."""
        return self.process_index == 0

    def note(self, line: str) -> None:
        """Print a line on stderr, on the main process alone; an empty one is left out."""
        if line and self.is_main_process:
            print(line, file=sys.stderr)

    def share(self, items: Sequence[T]) -> list[T]:
        """Return this process's part of the items, in order; together the parts are all of them, each once."""
        if self.num_processes == 1:
            return list(items)
        if self.process_index >= len(items):
            return []  # Accelerate would give the last item again
        with PartialState().split_between_processes(list(items)) as own:
            return list(own)


def open_processes() -> Processes:
    """Join the processes that were launched together with this one.

    Raises:
        UserError: as ``check_gpus``.
        PeerError: as ``check_gpus``.
    """
    check_gpus()
    kind = device_type() if device_type() == "cuda" else "cpu"
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes(0, 1, torch.device(kind))
    state = PartialState(cpu=kind == "cpu", timeout=_TIMEOUT)
    return Processes(state.process_index, state.num_processes, state.device)


@contextmanager
def report_dead_process(processes: Processes) -> Iterator[None]:
    """End this process without a traceback where another one has died; that one's own message has the reason.

    Raises:
        PeerError: another process has died.
    """
    try:
        yield
    except RuntimeError as error:
        if processes.num_processes > 1 and peer_gone(error):
            raise PeerError(
                "another process has died; its own message has the reason", code="E-TRAIN-PROCESS"
            ) from error
        raise
