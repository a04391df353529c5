"""Loader processes: their random numbers, and how they end."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import random
import signal

import numpy as np
import torch
from torch.utils.data import get_worker_info


@atexit.register
def _end_workers() -> None:
    """End the workers that still run when Python ends, since an iterator or a traceback still refers to them.

    Python would send SIGTERM and wait for ever, since ``seed_worker`` makes them ignore it.
    """
    left = [child for child in multiprocessing.active_children() if child.daemon]
    if left:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's own handler would report a failure
    for child in left:
        child.terminate()
    for child in left:
        child.join(1)
        child.kill()


def seed_worker(worker: int) -> None:
    """Give a worker its own random numbers, different on each rank (for code that uses the global generators).

    A worker ignores SIGINT and SIGTERM: the main process handles them, and needs batches until it has saved.

    Args:
        worker: number of the worker, as torch passes it.
    """
    if get_worker_info() is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    rank = int(os.environ.get("RANK", "0"))
    seed = np.random.SeedSequence((torch.initial_seed() % 2**63, rank)).generate_state(1)[0]
    random.seed(int(seed))
    np.random.seed(int(seed))  # noqa: NPY002 - the global generator is what is being seeded
    torch.manual_seed(int(seed))
