"""What the processes of one evaluation measured, put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from samis.errors import Interrupted, PeerError, code_of, text_of

Rows = dict[str, dict[str, dict[str, Any]]]
"""Name of a segmenter or mask rule -> image id -> what was measured."""


@dataclass
class RankResult:
    """What one process measured.

    Attributes:
        rows: of its images.
        seconds: spent predicting.
        signal: number of the signal that stopped it; 0 without one.
        failure: what ended it, or None.
    """

    rows: Rows = field(default_factory=dict)
    seconds: float = 0.0
    signal: int = 0
    failure: Exception | None = None


def several_processes() -> bool:
    """Return whether several processes share the evaluation."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def gather_results(mine: RankResult, *, alone: bool = False) -> tuple[Rows, float]:
    """Join the processes' rows by id (an id scored twice counts once) and their seconds.

    A failure or a stop of one ends all of them; no process waits for rows that will not come.

    Args:
        mine: of this process.
        alone: this process has all images, though there may be others.

    Returns:
        Rows, and seconds of all processes.

    Raises:
        PeerError: another process failed.
        Interrupted: a process was stopped by a signal.
    """
    results = [mine]
    if several_processes() and not alone:
        world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        failure = mine.failure
        if failure is not None:  # a class of the user's own may not survive the way to another process
            mine.failure = PeerError(text_of(failure), code=code_of(failure))
        gathered: list[Any] = [None] * world
        torch.distributed.all_gather_object(gathered, mine)
        results = gathered
        failed = [number for number, result in enumerate(results) if result.failure is not None]
        if failure is not None and failed[0] == rank:
            raise failure
        if failed:
            other = results[failed[0]].failure
            raise PeerError(f"process {failed[0]}: {text_of(other)}", code=code_of(other))
    signal = max(result.signal for result in results)
    if signal:
        raise Interrupted(signal)
    joined: Rows = {}
    for result in results:
        for name, its_rows in result.rows.items():
            joined.setdefault(name, {}).update(its_rows)
    return joined, float(sum(result.seconds for result in results))
