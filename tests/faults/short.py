"""Every script of this folder in its short form, in one process: each prints one JSON line, which test_short_forms.py reads."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import harness  # noqa: F401 - sets the environment before anything else is imported
import long_run
import processes
from crash_points import every_moment
from kill_resume import kill_and_resume
from other_world import other_processes

SHORT: dict[str, Callable[[Path], str]] = {
    "sigkill_train_adapt": lambda f: kill_and_resume(1, epochs=2, folder=f),
    "sigkill": lambda f: kill_and_resume(3, learner="tiny", folder=f),
    "sigkill_two_processes_accumulating": lambda f: kill_and_resume(
        2, learner="tiny", processes=2, accumulation=2, folder=f
    ),
    "sigterm_two_processes": lambda f: kill_and_resume(1, learner="tiny", processes=2, number=signal.SIGTERM, folder=f),
    "sigint": lambda f: kill_and_resume(1, learner="tiny", number=signal.SIGINT, folder=f),
    "kill_while_writing": partial(every_moment, stride=9),
    "another_number_of_processes": other_processes,
    "flat_memory_of_steps": lambda f: long_run.in_a_process(long_run.steps, f, 200),
    "flat_memory_of_images": lambda f: long_run.in_a_process(long_run.images, 200),
    "leaks_are_found": long_run.leaks_are_found,
    **{check.__name__: check for check in processes.CHECKS},
}


def main() -> None:
    """Run those named, or all."""
    for name in sys.argv[1:] or SHORT:
        start = sum(os.times()[:4])
        with tempfile.TemporaryDirectory() as folder:
            try:
                message, fine = SHORT[name](Path(folder)), True
            except Exception as error:
                message, fine = f"{type(error).__name__}: {error}", False
        result = {"name": name, "fine": fine, "message": message, "cpu_seconds": round(sum(os.times()[:4]) - start, 1)}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
